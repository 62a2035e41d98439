"""Routing evaluated on tables: by hand, and that no query is reported by a threshold that has seen it."""

import numpy as np
import pandas as pd
import pytest

from elasticranker.evaluation.measures import MEASURES
from experiments.routed import (
    TESTS,
    Outcome,
    route,
    route_across,
    route_by_oracle,
    routed,
    routing_table,
    split_in_halves,
    uniform_at,
)

QIDS = pd.Index([f"q{n}" for n in range(8)])
HALVES = (QIDS[:4], QIDS[4:])


def series(*values):
    return pd.Series(values, index=QIDS[: len(values)], dtype=float)


def outcome(values, gflops=1.0, ms=10.0):
    table = pd.DataFrame(dict.fromkeys(MEASURES, values))
    return Outcome(table, pd.DataFrame({"gflops": gflops, "ms": ms}, index=values.index))


SWIFT, SUPER = outcome(series(1, 1, 1, 1, 0, 0, 0, 0), gflops=1, ms=10), outcome(series(*[1] * 8), gflops=20, ms=100)
ENERGIES = pd.DataFrame({"good": series(1, 2, 9, 8, 9.5, 8.5, 3, 4), "constant": series(*[1] * 8)})


def table(**settings):
    return routing_table(SWIFT, SUPER, {}, ENERGIES, shares=[0.5], halves=HALVES, **settings).set_index("system")


def test_the_halves_are_disjoint_complete_and_the_same_for_a_seed():
    one, other = split_in_halves(list(QIDS), seed=1)
    assert sorted([*one, *other]) == list(QIDS)
    assert len(one) == len(other) == 4
    assert (split_in_halves(list(QIDS), seed=1)[0] == one).all()
    assert (split_in_halves(list(QIDS), seed=2)[0] != one).any()


def test_too_few_queries_cannot_be_halved():
    with pytest.raises(ValueError, match="only 3 queries"):
        split_in_halves(["a", "b", "c"], seed=0)


def test_calibrating_and_reporting_on_the_same_query_is_refused():
    with pytest.raises(ValueError, match="1 queries, such as 'q3', would be both calibrated and reported on"):
        route(ENERGIES["good"], 0.5, calibrate_on=QIDS[:4], report_on=QIDS[3:])


def test_a_threshold_comes_from_the_other_half_alone():
    there = route(ENERGIES["good"], 0.5, calibrate_on=QIDS[:4], report_on=QIDS[4:])
    assert there.to_dict() == {"q4": True, "q5": True, "q6": False, "q7": False}  # above (2 + 8) / 2
    changed = ENERGIES["good"].copy()
    changed["q4"] = 1e9
    assert route(changed, 0.5, calibrate_on=QIDS[:4], report_on=QIDS[4:]).equals(there)


def test_every_query_is_reported_once():
    assert sorted(route_across(ENERGIES["good"], 0.25, HALVES).index) == list(QIDS)


def test_swift_is_paid_for_every_query_and_super_on_top_where_it_ranks():
    mixed = routed(SWIFT, SUPER, series(0, 0, 0, 0, 1, 1, 0, 0).astype(bool))
    assert mixed.values["nDCG@10"].tolist() == [1, 1, 1, 1, 1, 1, 0, 0]
    assert mixed.costs["gflops"].tolist() == [1, 1, 1, 1, 21, 21, 1, 1]
    assert mixed.costs["ms"].tolist() == [10, 10, 10, 10, 110, 110, 10, 10]


def test_a_judged_query_without_candidates_counts_but_costs_nothing():
    judged = series(*[1] * 8)
    judged["without"] = 0.0
    swift = Outcome(outcome(judged).values, SWIFT.costs)
    mixed = routed(swift, swift, series(*[1] * 8).astype(bool))
    assert mixed.values["RR@10"].mean() == pytest.approx(8 / 9)
    assert len(mixed.costs) == 8


def test_the_oracle_takes_gains_only_largest_first():
    gains = series(0.1, -0.5, 0.4, 0.0, 0.3, 0.0, 0.0, 0.0)
    assert list(QIDS[route_by_oracle(gains, 0.25)]) == ["q2", "q4"]
    assert list(QIDS[route_by_oracle(gains, 1.0)]) == ["q0", "q2", "q4"]


def test_the_table_by_hand():
    rows = table()
    assert list(rows.index) == ["swift", "super", "random", "good", "constant", "oracle"]
    assert rows["nDCG@10"].to_dict() == {
        "swift": 0.5, "super": 1.0, "random": 0.75, "good": 0.75, "constant": 0.5, "oracle": 1.0
    }  # fmt: skip
    assert rows["super_share"].tolist()[2:] == [0.5, 0.5, 0.0, 0.5]
    assert rows["gflops_mean"].to_dict() == {
        "swift": 1, "super": 20, "random": 11, "good": 11, "constant": 1, "oracle": 11
    }  # fmt: skip
    assert rows.loc["good", ["gflops_max", "ms_mean", "ms_p95"]].tolist() == [21, 60, 110]
    assert rows.loc["random", ["gflops_max", "ms_p95"]].isna().all()


def test_between_uniform_budgets_values_are_interpolated():
    cheap, dear = outcome(series(0, 1), gflops=10), outcome(series(1, 1), gflops=30)
    assert [uniform_at([cheap, dear], gflops)["q0"] for gflops in (5, 10, 15, 30, 99)] == [0, 0, 0.25, 1, 1]
    assert uniform_at([cheap, outcome(series(0.5, 1), gflops=20), dear], 25)["q0"] == 0.75


def test_energies_are_tested_against_random_and_uniform_spending_at_their_own_cost():
    rng = np.random.default_rng(0)
    qids = pd.Index([f"q{n}" for n in range(80)])
    gains = pd.Series(rng.random(80) * (np.arange(80) % 2), index=qids)
    swift, super, uniform = outcome(0 * gains, gflops=0), outcome(gains, gflops=8), outcome(0 * gains, gflops=4)
    energies = pd.DataFrame({"knowing": gains, "blind": pd.Series(rng.random(80), index=qids)})
    halves = (qids[:40], qids[40:])
    rows = routing_table(swift, super, {0.5: uniform}, energies, shares=[0.5], halves=halves).set_index("system")
    knowing = rows.loc["knowing"]
    assert knowing["gflops_mean"] == 8 * knowing["super_share"]
    assert knowing["over_random"] == pytest.approx(gains.mean() * (1 - knowing["super_share"]), abs=0.01)
    assert max(knowing["p_random"], knowing["p_uniform"]) < 0.01
    assert rows.loc["blind", "p_random"] > 0.05
    assert rows.loc[["uniform", "random", "oracle"], list(TESTS)].isna().all(axis=None)
