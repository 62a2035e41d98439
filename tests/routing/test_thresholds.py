import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.routing.thresholds import (
    above,
    affordable,
    best_count,
    cheapest_count,
    count_of_share,
    count_within,
    cut,
)

finite = st.floats(allow_nan=False, allow_infinity=False)
energy_lists = st.lists(finite, min_size=1, max_size=30).map(np.array)
different_energies = st.lists(finite, min_size=1, max_size=30, unique=True).map(np.array)


@given(energies=different_energies, data=st.data())
def test_a_cut_sends_exactly_so_many_where_energies_differ(energies, data):
    count = data.draw(st.integers(0, len(energies)))
    assert (energies > cut(energies, count)).sum() == count


@given(energies=energy_lists, data=st.data())
def test_a_cut_never_sends_more_whatever_the_energies(energies, data):
    count = data.draw(st.integers(0, len(energies)))
    above = energies > cut(energies, count)
    assert above.sum() <= count
    assert above.all() or not above.any() or energies[above].min() > energies[~above].max()


def test_a_cut_lies_half_way_so_that_small_differences_dont_matter():
    assert cut(np.array([0.1, 0.9, 0.5]), 1) == pytest.approx(0.7)
    assert cut(np.array([0.1, 0.9]), 0) == math.inf
    assert cut(np.array([0.1, 0.9]), 2) == -math.inf


@pytest.mark.parametrize(
    ("share", "queries", "count"),
    [(0.3, 10, 3), (0.29, 100, 29), (0.3, 43, 12), (0.99, 1, 0), (1.0, 7, 7), (0.0, 7, 0)],
)
def test_shares_are_rounded_down(share, queries, count):
    assert count_of_share(share, queries) == count


def test_the_count_within_an_allowance_walks_down_the_energies():
    energies, costs = np.array([1.0, 3.0, 2.0]), np.array([5.0, 10.0, 20.0])
    assert [count_within(energies, costs, allowance) for allowance in (9, 10, 29, 30, 35)] == [0, 1, 1, 2, 3]


def test_the_best_count_takes_gains_and_leaves_losses():
    energies = np.array([4.0, 3.0, 2.0, 1.0])
    assert best_count(energies, np.array([0.1, 0.2, -0.5, 0.1]), at_most=4) == 2
    assert best_count(energies, np.array([0.1, 0.2, -0.5, 0.1]), at_most=1) == 1
    assert best_count(energies, np.array([-0.1, 0.1, 0.0, 0.0]), at_most=4) == 0
    assert best_count(energies, np.zeros(4), at_most=4) == 0


def test_the_best_count_is_one_that_a_threshold_can_bring_about():
    assert best_count(np.array([2.0, 2.0, 1.0]), np.array([0.5, -0.4, 0.0]), at_most=3) == 2
    assert best_count(np.array([2.0, 2.0, 1.0]), np.array([0.5, -0.4, 0.0]), at_most=1) == 0


@given(
    outputs=st.lists(st.tuples(st.integers(0, 9), st.integers(-3, 3)), min_size=1, max_size=20),
    tolerance=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_the_cheapest_count_is_the_first_threshold_within_the_tolerance(outputs, tolerance):
    energies, gains = (np.array(column, dtype=float) for column in zip(*outputs, strict=True))
    everyone = len(energies)
    count = cheapest_count(energies, gains, tolerance, at_most=everyone)
    lost = [gains[energies <= cut(energies, sent)].sum() / everyone for sent in range(everyone + 1)]
    enough = [sent for sent in range(everyone + 1) if lost[sent] <= tolerance + 1e-12]
    assert (energies > cut(energies, count)).sum() == count
    assert lost[count] <= tolerance + 1e-12
    assert min((energies > cut(energies, sent)).sum() for sent in enough) == count


def test_no_count_is_within_the_tolerance_where_too_few_are_allowed():
    energies, gains = np.array([3.0, 2.0, 1.0]), np.array([0.0, 0.0, 1.0])
    assert [cheapest_count(energies, gains, 0.0, at_most=most) for most in (0, 2, 3)] == [None, None, 3]


def test_who_is_above_by_threshold_by_share_or_all():
    energies = np.array([0.1, 0.9, 0.5])
    assert above(energies, threshold=0.5, share=1.0).tolist() == [False, True, False]
    assert above(energies, threshold=None, share=0.7).tolist() == [False, True, True]
    assert above(energies, threshold=None, share=None).all()


@given(
    queries=st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 1e15), st.booleans()), min_size=1, max_size=20),
    allowance=st.fractions(min_value=0, max_value=10**16),
)
def test_what_is_affordable_never_costs_more_than_the_allowance(queries, allowance):
    energies, costs, eligible = (np.array(column) for column in zip(*queries, strict=True))
    chosen = affordable(energies, costs, allowance, eligible)
    left = allowance - sum(map(Fraction, costs[chosen]))
    assert left >= 0
    assert eligible[chosen].all()
    assert all(Fraction(cost) > left for cost in costs[eligible & ~chosen])  # nothing that still fits is left out


def test_the_affordable_ones_are_those_of_highest_energy_and_a_dear_one_is_passed_over():
    energies, costs = np.array([1.0, 4.0, 3.0, 2.0]), np.array([1.0, 2.0, 9.0, 2.0])
    everyone = np.ones(4, dtype=bool)
    assert affordable(energies, costs, Fraction(4), everyone).tolist() == [False, True, False, True]
