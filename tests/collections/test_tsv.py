import gzip
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elasticranker.collections.tsv import read_corpus, read_qrels, read_queries

no_mark = st.characters(
    codec="utf-8", exclude_characters="\ufeff"
)  # a file may begin with one; it is no part of a name
names = st.text(no_mark, min_size=1, max_size=8).filter(lambda name: name.split() == [name])
texts = st.text(st.characters(codec="utf-8", exclude_characters="\n")).map(lambda text: text.rstrip("\r"))
in_any_order = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@in_any_order
@given(st.dictionaries(names, texts), st.booleans())
def test_any_text_of_one_line_survives(tmp_path, documents, zipped):
    path = tmp_path / ("corpus.tsv.gz" if zipped else "corpus.tsv")
    with (gzip.open if zipped else open)(path, "wb") as file:
        file.writelines(f"{docno}\t{text}\n".encode() for docno, text in documents.items())
    assert {document["docno"]: document["text"] for document in read_corpus(path)} == documents


@in_any_order
@given(st.lists(st.sampled_from("abcdefgh"), min_size=1))
def test_a_docno_that_comes_twice_is_an_error_that_names_both_lines(tmp_path, docnos):
    path = tmp_path / "corpus.tsv"
    path.write_text("".join(f"{docno}\ttext\n" for docno in docnos))
    if max(Counter(docnos).values()) == 1:
        assert [document["docno"] for document in read_corpus(path)] == docnos
        return
    second = next(number for number in range(len(docnos)) if docnos[number] in docnos[:number])
    first = docnos.index(docnos[second])
    with pytest.raises(ValueError, match=f"line {second + 1}: docno '{docnos[second]}' was .* on line {first + 1}"):
        list(read_corpus(path))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"d1\tone\nd2 two\n", "line 2: expected docno <tab> text, found no tab in 'd2 two'"),
        (b"\ttext\n", "line 1: a docno cannot be empty"),
        (b"d 1\ttext\n", "line 1: a docno cannot be empty or hold white space: 'd 1'"),
        (b"d1\tone\n\n\nd2\t\xff\n", "line 4: not UTF-8"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, content, complaint):
    (tmp_path / "corpus.tsv").write_bytes(content)
    with pytest.raises(ValueError, match=f"corpus.tsv, {complaint}"):
        list(read_corpus(tmp_path / "corpus.tsv"))


@pytest.mark.parametrize("content", [b"no gzip at all", gzip.compress(b"d1\tone\n" * 9)[:-12]])
def test_a_damaged_gzip_file_is_named(tmp_path, content):
    (tmp_path / "corpus.tsv.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"corpus\.tsv\.gz, after line \d+: damaged gzip data"):
        list(read_corpus(tmp_path / "corpus.tsv.gz"))


def test_tabs_after_the_first_empty_texts_blank_lines_and_windows_line_ends_are_fine(tmp_path):
    (tmp_path / "corpus.tsv").write_bytes(b"\xef\xbb\xbfd1\tone\ttwo\r\n\r\nd2\t\n\nd3\ta\rb\n")
    assert list(read_corpus(tmp_path / "corpus.tsv")) == [
        {"docno": "d1", "text": "one\ttwo"},
        {"docno": "d2", "text": ""},
        {"docno": "d3", "text": "a\rb"},
    ]


def test_queries_keep_their_order(tmp_path):
    (tmp_path / "queries.tsv").write_text("q2\tsecond\nq1\tfirst\n")
    assert read_queries(tmp_path / "queries.tsv").values.tolist() == [["q2", "second"], ["q1", "first"]]


def test_a_repeated_query_is_named(tmp_path):
    (tmp_path / "queries.tsv").write_text("q1\tone\nq1\ttwo\n")
    with pytest.raises(ValueError, match=r"queries\.tsv, line 2: qid 'q1'"):
        read_queries(tmp_path / "queries.tsv")


def test_qrels_are_parted_by_any_white_space(tmp_path):
    (tmp_path / "qrels.txt").write_text("q1 0 d1 1\nq1\tQ0\td2\t-2\n")
    qrels = read_qrels(tmp_path / "qrels.txt")
    assert qrels.values.tolist() == [["q1", "d1", 1], ["q1", "d2", -2]]
    assert qrels["label"].dtype == "int64"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [("q1 d1 1", "expected qid 0 docno label"), ("q1 0 d2 good", "expected qid"), ("q1 0 d1 0", "judged twice")],
)
def test_a_malformed_judgement_is_named(tmp_path, line, complaint):
    (tmp_path / "qrels.txt").write_text(f"q1 0 d1 1\n{line}\n")
    with pytest.raises(ValueError, match=rf"qrels\.txt, line 2: .*{complaint}"):
        read_qrels(tmp_path / "qrels.txt")


def test_empty_files_give_empty_frames_with_columns(tmp_path):
    (tmp_path / "empty").touch()
    assert read_queries(tmp_path / "empty").columns.tolist() == ["qid", "query"]
    assert read_qrels(tmp_path / "empty").columns.tolist() == ["qid", "docno", "label"]
    assert list(read_corpus(tmp_path / "empty")) == []
