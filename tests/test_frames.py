"""The order that candidates come in, ties, and missing texts."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.frames import check_texts, in_incoming_order, ranked_by, strictly_decreasing

SCORES = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 1.0, 1.0 + 1e-9, 2.5])), max_size=30)


def test_rank_goes_before_score_and_score_before_the_order_of_rows():
    rows = {"qid": ["1", "1", "1"], "docno": ["a", "b", "c"]}
    assert in_incoming_order(pd.DataFrame(rows))["docno"].tolist() == ["a", "b", "c"]
    scored = rows | {"score": [1.0, 3.0, 2.0]}
    assert in_incoming_order(pd.DataFrame(scored))["docno"].tolist() == ["b", "c", "a"]
    ranked = in_incoming_order(pd.DataFrame(scored | {"rank": [2, 5, 4]}))
    assert ranked["docno"].tolist() == ["a", "c", "b"] and ranked["rank"].tolist() == [0, 1, 2]


@given(SCORES)
def test_queries_keep_their_order_and_no_two_scores_tie_in_single_precision(rows):
    frame = pd.DataFrame(rows, columns=["qid", "score"]).assign(docno=range(len(rows)))
    ranked = strictly_decreasing(ranked_by(frame, -frame["score"].to_numpy()))
    assert ranked["qid"].unique().tolist() == frame["qid"].unique().tolist()
    assert sorted(ranked["docno"]) == list(range(len(rows)))
    for qid, mine in ranked.groupby("qid"):
        assert mine["rank"].tolist() == list(range(len(mine)))
        assert (np.diff(mine["score"].to_numpy(dtype=np.float32)) < 0).all()
        before = frame[frame["qid"] == qid].sort_values("score", ascending=False, kind="stable")
        assert mine["docno"].tolist() == before["docno"].tolist()


def test_scores_that_already_fall_are_untouched():
    frame = pd.DataFrame({"qid": ["1", "1"], "docno": ["a", "b"], "score": [0.1, 0.05]})
    assert strictly_decreasing(in_incoming_order(frame))["score"].tolist() == [0.1, 0.05]


def test_the_first_row_without_a_text_is_named():
    frame = pd.DataFrame({"qid": ["1"], "query": ["q"], "docno": ["d7"], "text": [None]})
    with pytest.raises(ValueError, match=r"1 rows have no 'text'.*'d7' of query '1'"):
        check_texts(frame, "text")
