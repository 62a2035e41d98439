"""Methods on one checkpoint: within their budgets, what they are named for, and compared at equal cost."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tqdm import tqdm

from elasticranker.evaluation.journal import Journal
from elasticranker.planning.ladder import untuned
from elasticranker.planning.plan import SubNet
from experiments.peers import methods
from experiments.peers.methods import DEPTH, FULL, OURS, SEE, TOP_K, compared, points, rerank

LADDER = untuned([SubNet(depth) for depth in range(4)])
DEPTHS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def ranker(setup):
    return setup.ranker(dtype="float32")


def one(method: str, budget: str = "50%"):
    return next(point for point in points(LADDER, DEPTHS, [budget]) if point.method == method)


def test_every_method_at_every_budget_and_full_once() -> None:
    made = points(LADDER, DEPTHS, ["100%", "30%", "70%"])
    assert [point.name for point in made] == [
        "ours, 30%",
        "ours, 70%",
        "fixed top-k, 30%",
        "fixed top-k, 70%",
        "SEE, 30%",
        "SEE, 70%",
        "fixed depth, 1 layer",
        "fixed depth, 2 layers",
        "full, 100%",
    ]


def test_a_checkpoint_without_an_exit_at_the_embeddings_has_no_filter() -> None:
    assert SEE not in {point.method for point in points(untuned([SubNet(1), SubNet(3)]), (1, 3), ["50%"])}


def test_only_shares_are_budgets_of_methods() -> None:
    with pytest.raises(ValueError, match="10 ms"):
        points(LADDER, DEPTHS, ["25%", "10 ms"])


@settings(max_examples=25)
@given(share=st.floats(0.01, 0.99), number=st.integers(0, 1))
def test_no_method_spends_more_than_its_budget(ranker, candidates, share: float, number: int) -> None:
    frame = candidates.frame[candidates.frame["qid"] == f"q{number}"].reset_index(drop=True)
    whole = int(ranker.full_cost(frame).iloc[0])
    for point in points(LADDER, DEPTHS, [f"{100 * share:.6f}%"]):
        _, spent, allowed = rerank(ranker, point, frame)
        assert spent <= allowed <= whole
        if point.share is not None:
            assert allowed <= point.share * whole


def trace(ranker, point, frame) -> pd.Series:
    """The last sub-network of every candidate, by docno."""
    from elasticranker.model.engine import Query

    ((_, pairs),) = ranker.pairs(frame)
    allowance = point.allowance(ranker.engine, pairs)
    (ranking,) = ranker.engine.rank([Query(pairs, frame["score"].to_numpy(), point.plan, allowance)])
    return pd.Series(ranking.subnets, index=frame["docno"])


def test_methods_score_what_they_are_named_for(ranker, candidates) -> None:
    frame = candidates.frame[candidates.frame["qid"] == "q0"].reset_index(drop=True)
    shallow = next(point for point in points(LADDER, DEPTHS, ["30%"]) if point.method == DEPTH)
    assert set(trace(ranker, shallow, frame)) == {SubNet(1)}
    first = trace(ranker, one(TOP_K), frame)
    scored = [subnet is not None for subnet in first]
    assert set(first.dropna()) == {SubNet(3)}
    assert scored[0]
    assert not all(scored)
    filtered = trace(ranker, one(SEE), frame)
    assert set(filtered) == {SubNet(0), SubNet(3)}
    assert set(trace(ranker, one(FULL), frame)) == {SubNet(3)}


def test_measured_once_and_tabled(ranker, candidates, tmp_path) -> None:
    chosen, journal = points(LADDER, DEPTHS, ["25%", "50%"]), Journal(tmp_path / "journal.jsonl")
    methods.measure_methods(ranker, chosen, candidates, journal, bar=tqdm(disable=True))
    entries = list(journal)
    methods.measure_methods(ranker, chosen, candidates, journal, bar=tqdm(disable=True))
    assert list(journal) == entries
    table = methods.summary(chosen, candidates, journal, rel=1)
    assert tuple(table.columns) == methods.COLUMNS
    assert list(table["system"]) == [OURS] * 2 + [TOP_K] * 2 + [SEE] * 2 + [DEPTH] * 2 + [FULL]
    full = table[table["system"] == FULL].iloc[0]
    assert (table["gflops_max"] <= full["gflops_max"]).all()
    expected = ranker.transform(candidates.frame)
    order = expected[expected["qid"] == "q0"]["docno"].tolist()
    assert entries[0]["systems"]["full, 100%"]["docnos"] == order


def curves(rows: list[tuple[str, float, float, float]]) -> pd.DataFrame:
    """Rows of method, cost (GFLOPs and ms alike), and nDCG@10 and RR@10 of the better of two queries 0.2 apart."""
    made = pd.DataFrame(rows, columns=["system", "gflops_mean", "nDCG@10", "RR@10"])
    for measure in ("nDCG@10", "RR@10"):
        made[measure] = [np.array([value, value - 0.2]) for value in made[measure]]
    return compared(made.assign(ms_p50=made["gflops_mean"], gflops_max=made["gflops_mean"], budget="b"))


def test_ours_is_read_off_at_the_same_cost() -> None:
    table = curves([(OURS, 1, 0.4, 0.4), (FULL, 100, 0.6, 0.6), (DEPTH, 10, 0.45, 0.45), (TOP_K, 10, 0.55, 0.2)])
    assert np.isnan(table["ours_at_gflops"][0])
    assert table["ours_at_gflops"][2] == pytest.approx(0.4)  # the mean of 0.5 and 0.3
    assert list(table["ours_not_below"]) == ["", "", "yes", "NO"]
    (sentence,) = methods.verdicts(table)
    assert sentence.startswith("ours is below fixed top-k at b (10 GFLOPs, 10 ms)")
    assert "nDCG@10 0.4500 there; ours 0.4000 at the same GFLOPs, 0.4000 at the same ms" in sentence


def test_differences_are_tested_query_by_query() -> None:
    rows = [(name, cost, 0.5, 0.5) for name, cost in ((OURS, 1), (FULL, 100), (TOP_K, 5), (SEE, 5))]
    table = pd.DataFrame(rows, columns=["system", "gflops_mean", "nDCG@10", "RR@10"])
    values = [[0.5] * 4, [0.5] * 4, [0.61, 0.6, 0.62, 0.6], [0.5] * 4]
    table = table.assign(ms_p50=table["gflops_mean"], gflops_max=table["gflops_mean"], budget="b")
    for measure in ("nDCG@10", "RR@10"):
        table[measure] = [np.array(one) for one in values]
    p_values = compared(table)["p_value"]
    assert p_values[2] < 0.001
    assert p_values[3] == 1
    assert p_values[:2].isna().all()


def test_a_worse_reciprocal_rank_alone_is_named_too() -> None:
    table = curves([(OURS, 1, 0.4, 0.4), (FULL, 100, 0.6, 0.6), (SEE, 10, 0.45, 0.51)])
    assert table["ours_not_below"][2] == "NO"


def test_nowhere_below_is_one_sentence() -> None:
    table = curves([(OURS, 1, 0.4, 0.4), (FULL, 100, 0.6, 0.6), (SEE, 10, 0.5, 0.5)])
    (sentence,) = methods.verdicts(table)
    assert sentence.startswith("ours is nowhere below another method")


def test_what_is_cheaper_than_our_cheapest_is_not_compared() -> None:
    table = curves([(OURS, 1, 0.4, 0.4), (FULL, 100, 0.6, 0.6), (TOP_K, 0.95, 0.3, 0.3), (TOP_K, 0.5, 0.3, 0.3)])
    assert list(table["ours_not_below"]) == ["", "", "yes", "?"]
    assert np.isnan(table["ours_at_ms"][3])
    assert methods.verdicts(table)[-1].startswith("1 points of other methods, marked ?")
