"""Run files: what is written is what is read, and nothing malformed gets through."""

import bz2
import gzip
import lzma

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticranker.trec import read_run, write_run
from tests.oddframes import odd_frames

NAMES = st.text(
    st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], exclude_characters="\ufeff"),
    min_size=1,
    max_size=8,
)
SCORES = st.floats(allow_nan=False, allow_infinity=False)
RUNS = st.dictionaries(NAMES, st.dictionaries(NAMES, SCORES, min_size=1, max_size=5), min_size=1, max_size=5)


def frame_of(run: dict[str, dict[str, float]]) -> pd.DataFrame:
    rows = [(qid, docno, score) for qid, scores in run.items() for docno, score in scores.items()]
    return pd.DataFrame(rows, columns=["qid", "docno", "score"])


def write(path, text: str):
    path.write_text(text)
    return path


@settings(deadline=None)  # it writes to a disk
@given(run=RUNS, suffix=st.sampled_from([".trec", ".trec.gz", ".trec.bz2", ".trec.xz"]))
def test_reading_gives_what_was_written(tmp_path_factory, run, suffix):
    path = tmp_path_factory.mktemp("runs") / f"run{suffix}"
    write_run(path, frame_of(run), "tag")
    read = read_run(path)
    assert {qid: dict(zip(rows["docno"], rows["score"], strict=True)) for qid, rows in read.groupby("qid")} == run
    assert list(read["qid"].unique()) == list(run)
    for _, rows in read.groupby("qid"):
        assert list(rows["rank"]) == list(range(len(rows)))
        assert rows["score"].is_monotonic_decreasing


def test_the_score_orders_and_equal_scores_keep_the_order_of_the_file(tmp_path):
    path = write(tmp_path / "run.trec", "1 Q0 low 1 0.5 t\n1 Q0 tie1 2 2 t\n1 Q0 high 9 3.5 t\n1 Q0 tie2 7 2.0 t\n")
    assert list(read_run(path)["docno"]) == ["high", "tie1", "tie2", "low"]


def test_rank_decides_between_equal_scores_when_writing(tmp_path):
    frame = pd.DataFrame({"qid": "1", "docno": ["b", "a"], "score": [1.0, 1.0], "rank": [1, 0]})
    write_run(tmp_path / "run.trec", frame, "tag")
    assert (tmp_path / "run.trec").read_text() == "1 Q0 a 1 1.0 tag\n1 Q0 b 2 1.0 tag\n"


def test_gzip_is_by_suffix_when_writing_and_by_content_when_reading(tmp_path):
    write_run(tmp_path / "run.trec.gz", frame_of({"1": {"a": 1.0}}), "tag")
    assert gzip.decompress((tmp_path / "run.trec.gz").read_bytes()) == b"1 Q0 a 1 1.0 tag\n"
    (tmp_path / "run.trec.gz").rename(tmp_path / "packed-without-suffix")
    assert list(read_run(tmp_path / "packed-without-suffix")["docno"]) == ["a"]


@pytest.mark.parametrize("open_", [bz2.open, lzma.open, gzip.open, open])
def test_other_tools_read_what_the_name_says(tmp_path, open_):
    path = tmp_path / {bz2.open: "run.bz2", lzma.open: "run.xz", gzip.open: "run.gz", open: "run"}[open_]
    write_run(path, frame_of({"1": {"a": 1.0}}), "tag")
    with open_(path, "rt") as file:
        assert file.read() == "1 Q0 a 1 1.0 tag\n"


def test_an_unknown_form_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"run\.trec\.zip: \.zip is not .* \.gz, \.bz2, \.xz"):
        write_run(tmp_path / "run.trec.zip", frame_of({"1": {"a": 1.0}}), "tag")
    assert list(tmp_path.iterdir()) == []


def test_a_byte_order_mark_is_no_part_of_a_qid(tmp_path):
    path = tmp_path / "run.trec"
    path.write_bytes("\ufeff007 Q0 a 1 1.0 t\n".encode())
    assert list(read_run(path)["qid"]) == ["007"]


def test_whole_numbers_are_names(tmp_path):
    frame = pd.DataFrame({"qid": [7, 7], "docno": [12, 3], "score": [1, 2]})
    write_run(tmp_path / "run.trec", frame, "tag")
    assert (tmp_path / "run.trec").read_text() == "7 Q0 3 1 2.0 tag\n7 Q0 12 2 1.0 tag\n"
    with pytest.raises(ValueError, match=r"'docno' has neither text nor a whole number in 2 of 2 rows.*with 12\.0"):
        write_run(tmp_path / "other.trec", frame.astype({"docno": float}), "tag")


@given(odd_frames(only_names=True))
def test_every_row_is_written_once_whatever_its_types(tmp_path_factory, odd):
    path = tmp_path_factory.mktemp("runs") / "run.trec"
    places = range(len(odd.rows))
    frame = odd.frame.drop(columns="rank", errors="ignore").assign(docno=places, score=[-float(n) for n in places])
    qids = [str(row["qid"]) for row in odd.rows]
    if not all(qid.split() == [qid] and qid[0] != "\ufeff" for qid in qids):
        with pytest.raises(ValueError, match="a run file cannot hold it"):
            write_run(path, frame, "tag")
        return
    write_run(path, frame, "tag")
    read = read_run(path)
    assert list(read["qid"].unique()) == list(dict.fromkeys(qids))
    written = zip(read["qid"], read["docno"], read["score"], strict=True)
    assert sorted(written) == sorted((qid, str(place), -float(place)) for place, qid in enumerate(qids))


def test_equal_runs_are_equal_bytes(tmp_path):
    for name in ("one.trec.gz", "two.trec.gz"):
        write_run(tmp_path / name, frame_of({"1": {"a": 1.0}}), "tag")
    assert (tmp_path / "one.trec.gz").read_bytes() == (tmp_path / "two.trec.gz").read_bytes()


def test_an_empty_file_is_an_empty_run(tmp_path):
    read = read_run(write(tmp_path / "run.trec", "\n"))
    assert list(read.columns) == ["qid", "docno", "score", "rank"]
    assert read.empty


@pytest.mark.parametrize(
    ("second_line", "complaint"),
    [
        ("1 Q0 b 2 0.5", "line 2: expected .* got 5 fields"),
        ("1 Q0 b 2 0.5 my tag", "line 2: expected .* got 7 fields"),
        ("1 Q0 b 2 high t", "line 2: the score 'high' is not a finite number"),
        ("1 Q0 b 2 nan t", "line 2: the score 'nan' is not a finite number"),
        ("1 Q0 a 2 0.5 t", "line 2: a comes a second time for the query 1"),
    ],
)
def test_a_malformed_line_is_named(tmp_path, second_line, complaint):
    with pytest.raises(ValueError, match=complaint) as error:
        read_run(write(tmp_path / "run.trec", f"1 Q0 a 1 1.0 t\n{second_line}\n"))
    assert "run.trec" in str(error.value)


def test_torn_gzip_data_is_named(tmp_path):
    path = tmp_path / "run.trec.gz"
    write_run(path, frame_of({"1": {f"d{n}": float(n) for n in range(500)}}), "tag")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="damaged gzip data"):
        read_run(path)


def test_text_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "run.trec"
    path.write_bytes(b"1 Q0 a 1 1.0 t\n1 Q0 \xff 2 0.5 t\n")
    with pytest.raises(ValueError, match="line 2: not UTF-8"):
        read_run(path)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"qid": "1", "docno": "a b", "score": 1.0}, "docno 'a b'"),
        ({"qid": "", "docno": "a", "score": 1.0}, "qid ''"),
        ({"qid": "1", "docno": "a", "score": float("nan")}, "score of a for the query 1 is nan"),
        ({"qid": None, "docno": "a", "score": 1.0}, "the column 'qid' has no name in 1 of 1 rows"),
        ({"qid": "1", "docno": None, "score": 1.0}, "the column 'docno' has no name in 1 of 1 rows"),
        ({"qid": "\ufeff1", "docno": "a", "score": 1.0}, "qid '.ufeff1' .* is no UTF-8"),
        ({"qid": "1", "docno": "\ud800", "score": 1.0}, "docno '.ud800' .* is no UTF-8"),
    ],
)
def test_what_a_run_cannot_hold_is_not_written(tmp_path, row, complaint):
    with pytest.raises(ValueError, match=complaint):
        write_run(tmp_path / "run.trec", pd.DataFrame([row], dtype=object), "tag")
    assert list(tmp_path.iterdir()) == []


def test_a_candidate_is_not_written_twice(tmp_path):
    frame = pd.DataFrame({"qid": pd.Series(["1", 1], dtype=object), "docno": ["a", "a"], "score": [1.0, 2.0]})
    with pytest.raises(ValueError, match="a comes a second time for the query 1"):
        write_run(tmp_path / "run.trec", frame, "tag")
