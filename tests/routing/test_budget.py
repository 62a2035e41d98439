import math

import pandas as pd
import pyterrier as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticranker.planning.budget import Budget
from elasticranker.routing import EnergyRouter
from tests.judges import COLUMNS, Bomb, Judge, Priced, backwards, by_margin, frame, margins, routes

# A mean budget for a whole frame.


@given(
    queries=st.lists(st.lists(st.integers(0, 40), min_size=1, max_size=5), min_size=1, max_size=8),
    budget=st.integers(10, 100).map("{}%".format) | st.floats(1e-8, 1e-6).map("{} GFLOPs".format),
    swift=st.sampled_from(["1%", "10%", "1e-8 GFLOPs"]),
    depth=st.none() | st.integers(1, 3),
    threshold=st.none() | st.floats(-9, 9),
)
@settings(max_examples=100)
def test_the_mean_spend_of_a_frame_never_exceeds_the_budget(queries, budget, swift, depth, threshold):
    pairs = [(q, d, length) for q, lengths in enumerate(queries) for d, length in enumerate(lengths)]
    rows = [(f"q{q}", "x", f"d{d}", "y" * length, -float(d), d) for q, d, length in pairs]
    candidates = pd.DataFrame(rows, columns=COLUMNS)
    light, heavy = Priced(swift), Priced("full")
    full = heavy.full_cost(candidates)
    limit = Budget(budget)
    allowed = limit.value * (full.mean() if limit.kind == "share" else 1)
    router = EnergyRouter(light, heavy, energy="random", budget=budget, super_depth=depth, threshold=threshold)
    try:
        ranked = router.transform(candidates)
    except ValueError as error:
        assert "swift alone" in str(error) and not light.asked
        return
    assert len(ranked) == len(candidates)
    assert (light.spent + heavy.spent) / len(queries) <= allowed * (1 + 1e-12)


def test_a_budget_goes_to_the_queries_of_highest_energy():
    router = by_margin(margins(a=4, b=1, c=3, d=2), Judge(), budget="50%", swift_cost=0, super_cost=1)
    assert routes(router, frame("a", "b", "c", "d")) == {"a": "swift", "b": "super", "c": "swift", "d": "super"}


def test_swift_is_paid_out_of_the_budget():
    router = by_margin(margins(a=4, b=1, c=3, d=2), Judge(), budget="50%", swift_cost=0.2, super_cost=1)
    assert list(routes(router, frame("a", "b", "c", "d")).values()).count("super") == 1


def test_costs_that_come_twice_for_a_query_are_refused():
    def cost(candidates):
        return pd.Series([1.0, 2.0], index=["a", "a"])

    router = by_margin(Judge(), Bomb(), budget="50%", swift_cost=0, super_cost=cost)
    with pytest.raises(ValueError, match="super_cost gives 2 costs for 1 queries: give each query's once, by qid"):
        router.transform(frame("a"))


def test_costs_may_be_functions_of_the_frame():
    def cost(candidates):
        return pd.Series({"a": 30.0, "b": 10.0})

    # a has the higher energy but would alone take three quarters of what Super costs
    router = by_margin(margins(a=1, b=2), Judge(), budget="50%", swift_cost=0, super_cost=cost)
    assert routes(router, frame("a", "b")) == {"a": "swift", "b": "super"}


def test_a_swift_dearer_than_the_budget_is_refused_before_it_runs():
    with pytest.raises(ValueError, match="swift alone may cost 4 on average, but the mean budget 25% is 1"):
        EnergyRouter(Bomb(), Bomb(), budget="25%", swift_cost=1, super_cost=1).transform(frame("a"))


def test_a_budget_needs_to_know_the_costs():
    with pytest.raises(ValueError, match="give super_cost"):
        EnergyRouter(pt.Transformer.identity(), Bomb(), budget="25%").transform(frame("a"))
    router = EnergyRouter(pt.Transformer.identity(), Bomb(), budget="25%", super_cost=lambda _: pd.Series({"a": 1.0}))
    with pytest.raises(ValueError, match="super_cost gives nan for query 'b'"):
        router.transform(frame("a", "b"))


def test_calibrating_for_a_budget_sets_a_threshold_and_keeps_the_promise_for_other_frames():
    router = by_margin(margins(a=4, b=1, c=3, d=2), Judge(), swift_cost=0, super_cost=1)
    assert router.calibrate(frame("a", "b", "c", "d"), budget="50%") is router
    assert router.threshold == -2.5 and router.budget == Budget("50%")
    assert routes(router, frame("b", "d")) == {"b": "super", "d": "swift"}
    assert routes(router, frame("a", "c")) == {"a": "swift", "c": "swift"}


# Calibration with labels.


def test_labels_stop_where_super_no_longer_helps():
    candidates = frame("a", "b", "c", sizes=2)
    qrels = pd.DataFrame([("a", "d0", 1), ("b", "d1", 1), ("c", "d0", 1)], columns=["qid", "docno", "label"])
    router = by_margin(margins(a=5, b=1, c=3), Judge(backwards))
    assert routes(router.calibrate(candidates, qrels), candidates) == {"a": "swift", "b": "super", "c": "swift"}
    assert router.calibrate(candidates, qrels, super_share=0.0).threshold == math.inf


def test_labels_choose_by_the_given_measure():
    candidates = frame("a", sizes=3)
    qrels = pd.DataFrame([("a", "d0", 1), ("a", "d1", 2)], columns=["qid", "docno", "label"])
    judge = Judge({("a", "d1"): 2, ("a", "d2"): 1})
    graded = EnergyRouter(Judge(), judge).calibrate(candidates, qrels, measure="nDCG@10")
    binary = EnergyRouter(Judge(), judge).calibrate(candidates, qrels, measure="RR@10")
    assert (graded.threshold, binary.threshold) == (-math.inf, math.inf)


def test_labels_of_other_queries_are_refused():
    qrels = pd.DataFrame([("z", "d0", 1)], columns=["qid", "docno", "label"])
    with pytest.raises(ValueError, match="judge none"):
        EnergyRouter(Judge(), Judge()).calibrate(frame("a"), qrels)
