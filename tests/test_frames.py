"""The order that candidates come in, ties, and what a frame is refused for."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.frames import Lists, as_text, check, floats, for_ir_measures, in_incoming_order

SCORES = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 1.0, 1.0 + 1e-9, 2.5])), max_size=30)


def test_rank_goes_before_score_and_score_before_the_order_of_rows():
    rows = {"qid": ["1", "1", "1"], "docno": ["a", "b", "c"]}
    assert in_incoming_order(pd.DataFrame(rows)).frame["docno"].tolist() == ["a", "b", "c"]
    scored = rows | {"score": [1.0, 3.0, 2.0]}
    assert in_incoming_order(pd.DataFrame(scored)).frame["docno"].tolist() == ["b", "c", "a"]
    ranked = in_incoming_order(pd.DataFrame(scored | {"rank": [2, 5, 4]})).frame
    assert ranked["docno"].tolist() == ["a", "c", "b"] and ranked["rank"].tolist() == [0, 1, 2]


@given(SCORES)
def test_queries_keep_their_order_and_no_two_scores_tie_in_single_precision(rows):
    frame = pd.DataFrame(rows, columns=["qid", "score"]).assign(docno=range(len(rows)))
    ranked = Lists.by(frame, -frame["score"].to_numpy(dtype=float)).untied()
    assert ranked["qid"].unique().tolist() == frame["qid"].unique().tolist()
    assert sorted(ranked["docno"]) == list(range(len(rows)))
    for qid, mine in ranked.groupby("qid"):
        assert mine["rank"].tolist() == list(range(len(mine)))
        assert (np.diff(mine["score"].to_numpy(dtype=np.float32)) < 0).all()
        before = frame[frame["qid"] == qid].sort_values("score", ascending=False, kind="stable")
        assert mine["docno"].tolist() == before["docno"].tolist()


def test_scores_that_already_fall_are_untouched():
    frame = pd.DataFrame({"qid": ["1", "1"], "docno": ["a", "b"], "score": [0.1, 0.05]})
    assert in_incoming_order(frame).untied()["score"].tolist() == [0.1, 0.05]


@pytest.mark.parametrize("scores", [[np.inf, np.inf], [-np.inf, -np.inf], [1e300, 1e200], [-1e200, -1e300]])
def test_scores_beyond_single_precision_do_not_tie_either(scores):
    frame = pd.DataFrame({"qid": ["1", "1"], "docno": ["a", "b"], "score": scores})
    single = in_incoming_order(frame).untied()["score"].to_numpy(dtype=np.float32)
    assert np.isfinite(single).all() and single[1] < single[0]


def test_lists_know_their_rows():
    lists = in_incoming_order(pd.DataFrame({"qid": ["b", "a", "b"], "docno": [1, 2, 3]}, index=[7, 7, 7]))
    assert len(lists) == 2 and lists.qids == ["b", "a"]
    assert list(lists) == [slice(0, 2), slice(2, 3)] and lists.numbers.tolist() == [0, 0, 1]
    assert [frame["docno"].tolist() for frame in lists.frames()] == [[1, 3], [2]]
    assert lists.head(1).frame["docno"].tolist() == [1, 2]
    again = lists.by_score(np.asarray([0.0, 1.0, 2.0]))
    assert again.frame["docno"].tolist() == [3, 1, 2] and again.frame["rank"].tolist() == [0, 1, 0]


def test_no_rows_are_no_lists():
    lists = in_incoming_order(pd.DataFrame({"qid": [], "docno": []}))
    assert len(lists) == 0 and list(lists) == [] and lists.qids == []


def test_the_first_row_without_a_text_is_named():
    frame = pd.DataFrame({"qid": ["1"], "query": ["q"], "docno": ["d7"], "text": [None]})
    with pytest.raises(
        ValueError, match=r"'text' has no text in 1 of 1 rows, .* row 0 \(from 0, qid '1', docno 'd7'\)"
    ):
        check(frame, texts=["text"])


def test_a_name_that_cannot_be_looked_up_is_refused():
    with pytest.raises(ValueError, match=r"the column 'qid' has no name in 1 of 2 rows, the first is row 1 .*\[2\]"):
        check(pd.DataFrame({"qid": ["1", [2]], "docno": ["a", "b"]}))


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1, 2.5, None], "float64"),
        ([1, 2.5, None], "Float64"),
        ([1, 2.5, pd.NA], "object"),
        (["1", "2.5", "high"], "object"),
        (["1", "2.5", ""], "category"),
    ],
)
def test_numbers_are_read_from_columns_of_any_type(values, dtype):
    read = floats(pd.DataFrame({"score": pd.Series(values, dtype=dtype)}), "score")
    assert read.tolist()[:2] == [1.0, 2.5] and np.isnan(read[2])


def test_whole_numbers_are_names_by_their_digits():
    frame = pd.DataFrame({"qid": [1, 2], "docno": pd.Series([7, "d8"], dtype=object), "score": [0.5, 1.5]})
    assert as_text(frame, "docno") == ["7", "d8"]
    assert for_ir_measures(frame, "score").values.tolist() == [["1", "7", 0.5], ["2", "d8", 1.5]]


@pytest.mark.parametrize("odd", [7.0, True, b"d7", ("d", 7)])
def test_other_names_are_not_guessed(odd):
    with pytest.raises(ValueError, match=r"'docno' has neither text nor a whole number in 1 of 2 rows.*astype\(str\)"):
        as_text(pd.DataFrame({"docno": pd.Series(["d1", odd], dtype=object)}), "docno")
