"""Measures against trec_eval and formulas written out by hand; significance against tables worked out on paper."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.evaluation.measures import MEASURES, effectiveness, holm, paired_t

QRELS = pd.DataFrame(
    [("1", "a", 3), ("1", "b", 1), ("1", "c", 2), ("2", "a", 2), ("3", "a", 0), ("4", "a", 2)],
    columns=["qid", "docno", "label"],
)
RUN = pd.DataFrame(
    [
        ("1", "b", 3.0),
        ("1", "x", 2.0),
        ("1", "a", 1.0),
        ("2", "x", 2.0),
        ("2", "a", 1.0),
        ("3", "a", 1.0),
        ("9", "a", 1.0),
    ],
    columns=["qid", "docno", "score"],
)


def test_the_measures_by_hand():
    table = effectiveness(RUN, QRELS, rel=2)
    assert list(table.columns) == list(MEASURES)
    assert list(table.index) == ["1", "2", "3", "4"]  # 9 is not judged; 4 was not answered
    assert list(table["RR@10"]) == pytest.approx([1 / 3, 1 / 2, 0, 0])
    assert list(table["AP"]) == pytest.approx([(1 / 3) / 2, 1 / 2, 0, 0])
    assert list(table["R@100"]) == pytest.approx([1 / 2, 1, 0, 0])
    gain, ideal = 1 + 3 / math.log2(4), 3 + 2 / math.log2(3) + 1 / math.log2(4)
    assert list(table["nDCG@10"]) == pytest.approx([gain / ideal, 1 / math.log2(3), 0, 0])


def test_the_measures_are_those_of_trec_eval():
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="trec_eval's Python binding is not installed")
    qrels = {qid: dict(zip(rows["docno"], rows["label"], strict=True)) for qid, rows in QRELS.groupby("qid")}
    run = {qid: dict(zip(rows["docno"], rows["score"], strict=True)) for qid, rows in RUN.groupby("qid")}
    evaluator = pytrec_eval.RelevanceEvaluator(
        qrels, {"map", "ndcg_cut.10", "recall.100", "recip_rank"}, relevance_level=2
    )
    names = {"map": "AP", "ndcg_cut_10": "nDCG@10", "recall_100": "R@100", "recip_rank": "RR@10"}
    table = effectiveness(RUN, QRELS, rel=2)
    for qid, values in evaluator.evaluate(run).items():
        for name, ours in names.items():
            assert table.loc[qid, ours] == pytest.approx(values[name])


def test_names_are_compared_as_text():
    whole = {"qid": int, "docno": int}
    run = RUN.replace({"docno": {"a": "1", "b": "2", "c": "3", "x": "4"}})
    qrels = QRELS.replace({"docno": {"a": "1", "b": "2", "c": "3", "x": "4"}})
    expected = effectiveness(run, qrels)
    pd.testing.assert_frame_equal(effectiveness(run.astype(whole), qrels), expected)
    pd.testing.assert_frame_equal(effectiveness(run, qrels.astype(whole)), expected)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.04]) == [0.04]


def test_what_was_not_tested_is_no_test():
    assert holm([float("nan"), 0.02, 0.03])[1:] == pytest.approx([0.04, 0.04])
    assert math.isnan(holm([float("nan"), 0.02])[0])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_only_ever_raises_and_keeps_the_order(values):
    adjusted = holm(values)
    assert all(value <= raised <= 1 for value, raised in zip(values, adjusted, strict=True))
    assert [raised for _, raised in sorted(zip(values, adjusted, strict=True))] == sorted(adjusted)


def test_the_paired_t_test_by_hand():
    """Differences 1, 2, 3: mean 2, standard deviation 1, so t = 2 * sqrt(3) with two degrees of freedom."""
    t = 2 * math.sqrt(3)
    by_hand = 1 - t / math.sqrt(t * t + 2)
    assert paired_t(pd.Series([1.0, 3.0, 5.0]), pd.Series([0.0, 1.0, 2.0])) == pytest.approx(by_hand)


def test_queries_are_paired_by_name_not_by_place():
    ours, theirs = pd.Series([1.0, 3.0, 5.0], ["a", "b", "c"]), pd.Series([2.0, 1.0, 0.0], ["c", "b", "a"])
    assert paired_t(ours, theirs) == pytest.approx(paired_t(ours, theirs[["a", "b", "c"]]))


def test_equal_systems_do_not_differ():
    assert paired_t(pd.Series([0.1, 0.2]), pd.Series([0.1, 0.2])) == 1.0


def test_one_query_proves_nothing():
    assert math.isnan(paired_t(pd.Series([0.1]), pd.Series([0.2])))
