"""Text files: what is written under a name is what is read from it, and other forms are refused by name."""

import bz2
import gzip
import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.textfiles import ENDINGS, compressed, compression, find, plain_name, read_lines

OPEN = {"": open, ".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
lines = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\n\ufeff")).map(lambda text: text.rstrip("\r"))
)


def write(path, content: bytes, ending: str):
    with open(path, "wb") as file, compressed(file, f"x{ending}") as packed:
        packed.write(content)
    return path


@given(lines, st.sampled_from(sorted(OPEN)), st.sampled_from(["\n", "\r\n"]))
def test_lines_survive_in_every_form_under_a_name_that_says_so_or_nothing(tmp_path_factory, texts, ending, end):
    folder = tmp_path_factory.mktemp("texts")
    content = "".join(text + end for text in texts).encode()
    expected = [(number, text) for number, text in enumerate(texts, 1) if text.strip()]
    for path in (write(folder / f"named.txt{ending}", content, ending), write(folder / "unnamed", content, ending)):
        assert list(read_lines(path)) == expected
        with OPEN[ending](path, "rb") as file:  # as others read it
            assert file.read() == content


@pytest.mark.parametrize("ending", ["", *ENDINGS])
def test_equal_content_gives_equal_bytes(tmp_path, ending):
    one, two = (write(tmp_path / name, b"1 Q0 a 1 1.0 tag\n" * 99, ending).read_bytes() for name in "ab")
    assert one == two


def test_the_case_of_an_ending_does_not_matter():
    assert compression("RUN.TREC.GZ") == ".gz"
    assert plain_name("RUN.TREC.GZ") == "RUN.TREC"


@pytest.mark.parametrize("ending", [".zip", ".zst", ".Z", ".7z", ".tgz"])
def test_other_compressed_forms_are_refused_with_the_known_ones(tmp_path, ending):
    path = tmp_path / f"run.trec{ending}"
    path.write_bytes(b"PK")
    for attempt in (lambda: list(read_lines(path)), lambda: write(path, b"", ending)):
        with pytest.raises(ValueError, match=rf"x?{ending}: {ending.lower()} is not .* \.gz, \.bz2, \.xz"):
            attempt()


def test_a_byte_order_mark_is_no_part_of_a_line_wherever_files_were_joined(tmp_path):
    path = tmp_path / "joined"
    path.write_bytes("\ufeff007\tone\n".encode() * 2 + "a\ufeffb\n".encode())
    assert list(read_lines(path)) == [(1, "007\tone"), (2, "007\tone"), (3, "a\ufeffb")]


def test_compressed_files_may_be_joined_too(tmp_path):
    for ending in ENDINGS:
        part = write(tmp_path / f"part{ending}", b"a\n", ending).read_bytes()
        (tmp_path / f"joined{ending}").write_bytes(part * 2)
        assert list(read_lines(tmp_path / f"joined{ending}")) == [(1, "a"), (2, "a")]


@pytest.mark.parametrize(("ending", "name"), [(".gz", "gzip"), (".bz2", "bzip2"), (".xz", "xz")])
def test_damage_is_named(tmp_path, ending, name):
    path = write(tmp_path / f"torn{ending}", b"".join(b"%d line\n" % number for number in range(5000)), ending)
    path.write_bytes(path.read_bytes()[:-20])
    false = tmp_path / f"false{ending}"
    false.write_bytes(b"no such thing\n")
    for wrong in (path, false):
        with pytest.raises(ValueError, match=rf"{wrong.name}, after line \d+: damaged {name} data \(.*\); the file is"):
            list(read_lines(wrong))


def test_a_text_may_begin_like_a_compressed_file(tmp_path):
    (tmp_path / "text").write_text("BZh1 is how bzip2 begins\n")
    assert list(read_lines(tmp_path / "text")) == [(1, "BZh1 is how bzip2 begins")]


def test_other_encodings_are_named_with_the_line(tmp_path):
    (tmp_path / "latin").write_bytes(b"fine\nna\xefve\n")
    with pytest.raises(ValueError, match="latin, line 2: not UTF-8"):
        list(read_lines(tmp_path / "latin"))


def test_a_folder_is_the_disks_trouble(tmp_path):
    with pytest.raises(IsADirectoryError):
        list(read_lines(tmp_path))


def test_a_file_is_found_under_its_own_name_first(tmp_path):
    assert find(tmp_path / "corpus.tsv") is None
    for name in ("corpus.tsv.xz", "corpus.tsv.gz", "corpus.tsv"):
        (tmp_path / name).touch()
        assert find(tmp_path / "corpus.tsv") == tmp_path / name
