"""Arrival times: how many, when, and the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.online.arrivals import ARRIVALS, bursty, daily, poisson, requests

KINDS = sorted(ARRIVALS)


def dispersion(times: np.ndarray, seconds: float) -> float:
    """Variance over mean of the counts in intervals: 1 for a Poisson process."""
    counts, _ = np.histogram(times, bins=int(seconds / 2), range=(0, seconds))
    return float(counts.var() / counts.mean())


@given(st.sampled_from(KINDS), st.floats(0.01, 50), st.floats(0.1, 100), st.integers(0, 2**32))
def test_times_rise_within_the_run_and_depend_on_the_seed_alone(kind, rate, seconds, seed):
    times, queries = requests(kind, rate, seconds, queries=7, seed=seed)
    assert np.all(np.diff(times) >= 0)
    assert np.all((times >= 0) & (times < seconds))
    again, same = requests(kind, rate, seconds, queries=7, seed=seed)
    assert np.array_equal(times, again)
    assert np.array_equal(queries, same)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_rate_is_what_was_asked_for(kind):
    runs = [len(requests(kind, 20, 100, queries=1, seed=seed)[0]) for seed in range(100)]
    assert np.mean(runs) == pytest.approx(2000, rel=0.03)


def test_other_seeds_give_other_times():
    assert not np.array_equal(*(requests("poisson", 1, 100, queries=1, seed=seed)[0][:5] for seed in (0, 1)))


def test_poisson_gaps_are_exponential():
    gaps = np.diff(poisson(50, 1000, np.random.default_rng(0)))
    assert gaps.mean() == pytest.approx(1 / 50, rel=0.02)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)


def test_bursts_are_burstier_than_poisson():
    random = np.random.default_rng(0)
    assert dispersion(poisson(20, 1000, random), 1000) == pytest.approx(1, abs=0.2)
    assert dispersion(bursty(20, 1000, random), 1000) > 3


def test_a_day_is_busiest_at_noon():
    times = daily(100, 100, np.random.default_rng(0))
    night, noon = (np.sum((times >= start) & (times < start + 10)) for start in (0, 45))
    assert noon > 5 * night


def test_every_query_comes_before_any_comes_again():
    _, queries = requests("poisson", 10, 10, queries=8, seed=0)
    for start in range(0, len(queries) - 8, 8):
        assert sorted(queries[start : start + 8]) == list(range(8))
    assert not np.array_equal(queries[:8], queries[8:16])


@pytest.mark.parametrize(
    ("kind", "rate", "seconds", "name"),
    [("steady", 1, 1, "arrivals="), ("poisson", 0, 1, "rate="), ("day", 1, float("inf"), "seconds=")],
)
def test_nonsense_is_refused(kind, rate, seconds, name):
    with pytest.raises(ValueError, match=name):
        requests(kind, rate, seconds, queries=1, seed=0)
