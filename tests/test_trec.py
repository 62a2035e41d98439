"""Run files: what is written is what is read, and nothing malformed gets through."""

import gzip

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticranker.trec import read_run, write_run

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1, max_size=8)
SCORES = st.floats(allow_nan=False, allow_infinity=False)
RUNS = st.dictionaries(NAMES, st.dictionaries(NAMES, SCORES, min_size=1, max_size=5), min_size=1, max_size=5)


def frame_of(run: dict[str, dict[str, float]]) -> pd.DataFrame:
    rows = [(qid, docno, score) for qid, scores in run.items() for docno, score in scores.items()]
    return pd.DataFrame(rows, columns=["qid", "docno", "score"])


def write(path, text: str):
    path.write_text(text)
    return path


@settings(deadline=None)  # it writes to a disk
@given(run=RUNS, suffix=st.sampled_from([".trec", ".trec.gz"]))
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
    ],
)
def test_what_a_run_cannot_hold_is_not_written(tmp_path, row, complaint):
    with pytest.raises(ValueError, match=complaint):
        write_run(tmp_path / "run.trec", pd.DataFrame([row]), "tag")
    assert list(tmp_path.iterdir()) == []
