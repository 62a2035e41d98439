"""The simulation against queueing theory, and the schedule inside it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.online.arrivals import requests
from experiments.online.outcome import ANSWERED, GREEDY, REJECTED, System, summary, systems
from experiments.online.simulation import Service, simulate
from tests.experiments.online.made import NDCG, SECONDS, SHARES, one_rung, rungs

FULL, SMALLEST, ELASTIC = System("static full", 1.0), System("static smallest", SHARES[0]), System("elastic", None)
CAPACITY = 1 / SECONDS[-1]
SLO = 5 * SECONDS[-1]


def served(system: System, load: float, *, seconds: float = 300.0, kind: str = "poisson", **settings) -> dict:
    times, queries = requests(kind, load * CAPACITY, seconds, queries=1, seed=1)
    return summary(simulate(rungs(), times, queries, system, Service(SLO, **settings)), SLO)


@pytest.mark.parametrize("rho", [0.3, 0.5, 0.7])
def test_one_static_rung_waits_as_long_as_queueing_theory_says(rho):
    times, queries = requests("poisson", rho, 60_000 / rho, queries=1, seed=4)
    outcome = simulate(one_rung(1.0), times, queries, FULL, Service(5.0, group_seconds=0.0))
    waits = outcome.latency - 1.0
    assert waits.mean() == pytest.approx(rho / (2 * (1 - rho)), rel=0.05)  # M/D/1, service of 1 s


def test_several_replicas_wait_less_than_one_and_more_than_a_shared_queue_would():
    times, queries = requests("poisson", 4 * 0.8, 5_000, queries=1, seed=0)
    service = Service(5.0, group_seconds=0.0, replicas=4)
    waits = (simulate(one_rung(1.0), times, queries, FULL, service).latency - 1.0).mean()
    assert 0 < waits < 0.8 / (2 * (1 - 0.8)) / 4


@given(
    st.lists(st.floats(0, 2), min_size=1, max_size=40), st.sampled_from([*systems(SHARES), GREEDY]), st.integers(1, 3)
)
def test_every_request_is_answered_or_rejected_and_none_before_its_service(gaps, system, replicas):
    times = np.cumsum(gaps)
    outcome = simulate(rungs(), times, np.zeros(len(times), dtype=np.int64), system, Service(SLO, replicas=replicas))
    answered = outcome.status == ANSWERED
    assert np.all(answered | (outcome.status == REJECTED))
    least = np.interp(outcome.share[answered], SHARES, SECONDS)
    assert np.all(outcome.latency[answered] >= least - 1e-9)
    assert np.array_equal(outcome.ndcg[answered], np.interp(outcome.share[answered], SHARES, NDCG))


def test_at_four_times_its_capacity_full_is_far_too_late_and_elastic_in_time():
    full, elastic = served(FULL, 4), served(ELASTIC, 4)
    assert full["p99"] > 10e3 * SLO
    assert elastic["p99"] <= 1e3 * SLO
    assert elastic["rejects"] == 0
    assert elastic["nDCG@10"] > served(SMALLEST, 4)["nDCG@10"]


def test_at_a_tenth_of_its_capacity_elastic_serves_nearly_the_full_quality():
    assert served(ELASTIC, 0.1)["nDCG@10"] >= 0.99 * NDCG[-1]
    assert served(GREEDY, 0.1)["budget"] == 1.0


def test_leaving_room_is_better_and_faster_than_greed():
    elastic, greedy = served(ELASTIC, 2), served(GREEDY, 2)
    assert elastic["nDCG@10"] > greedy["nDCG@10"]
    assert elastic["p99"] < greedy["p99"]


@pytest.mark.parametrize("kind", ["bursty", "day"])
def test_elastic_keeps_the_objective_where_the_rate_varies(kind):
    assert served(ELASTIC, 1.5, kind=kind)["within"] >= 0.99
    assert served(FULL, 1.5, kind=kind)["within"] < 0.5


def test_beyond_the_cheapest_rung_requests_are_rejected_and_the_rest_bounded():
    overload = served(ELASTIC, 20, seconds=60)
    assert overload["rejects"] > 0
    assert overload["p99"] < 1e3 * 2.2 * SLO  # objective and max_wait, and the group it is answered with


def test_a_group_is_answered_together():
    times = np.array([0.0, 0.001, 0.002])
    outcome = simulate(rungs(), times, np.zeros(3, dtype=np.int64), SMALLEST, Service(SLO, group_seconds=1.0))
    first, *others = (times + outcome.latency).tolist()
    assert first == pytest.approx(SECONDS[0])
    assert others == pytest.approx([3 * SECONDS[0]] * 2)


def test_a_ladder_of_one_rung_has_one_static_system():
    assert [system.name for system in systems((1.0,))] == ["static full", "elastic"]
    assert [system.name for system in systems((0.2, 1.0))] == ["static full", "static smallest", "elastic"]
    names = ["static full", "static middle", "static smallest", "elastic"]
    assert [system.name for system in systems(SHARES)] == names


def test_no_replicas_are_refused():
    with pytest.raises(ValueError, match="replicas="):
        simulate(rungs(), np.zeros(1), np.zeros(1, dtype=np.int64), ELASTIC, Service(SLO, replicas=0))
