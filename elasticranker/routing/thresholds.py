"""Thresholds: from energies (and costs, and gains) to who goes to Super. Pure arithmetic, without pandas or PyTerrier.

A threshold always means "Super if energy > threshold". The functions work on arrays with one entry an input (for the
router, a query), so that router, joint inference and experiments on stored outputs decide by the same code.
"""

import math
from fractions import Fraction

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def cut(energies: Floats, count: int) -> float:
    """The threshold that sends the `count` highest energies to Super.

    It lies half-way between the last energy above and the first below. Where those two are equal no threshold separates
    them, and all that equal them stay with Swift: fewer than `count` go to Super, never more.

    Example:
        >>> cut(np.array([0.1, 0.9, 0.5]), 1)
        0.7
    """
    if count <= 0:
        return math.inf
    if count >= len(energies):
        return -math.inf
    descending = np.sort(energies)[::-1]
    high, low = float(descending[count - 1]), float(descending[count])
    middle = low / 2 + high / 2
    return middle if low <= middle < high else low  # neighbouring floats have no middle


def above(energies: Floats, *, threshold: float | None, share: float | None) -> npt.NDArray[np.bool_]:
    """Who goes to Super: by the threshold; without one, the share of highest energy; with neither, all.

    Example:
        >>> above(np.array([0.1, 0.9, 0.5]), threshold=None, share=0.5)
        array([False,  True, False])
    """
    if threshold is None:
        threshold = -math.inf if share is None else cut(energies, count_of_share(share, len(energies)))
    return energies > threshold


def checked_share(share: float | None) -> float | None:
    """The same share, if it is one.

    Raises:
        ValueError: It isn't between 0 and 1.
    """
    if share is not None and not 0 <= share <= 1:
        raise ValueError(f"super_share must be between 0 and 1 (0.3 is 30 % of the inputs), but is {share!r}")
    return share


def count_of_share(share: float, queries: int) -> int:
    """How many of `queries` a share is, rounded down (0.29 of 100 is 29, whatever binary fractions make of it)."""
    return math.floor(share * queries + 1e-9)


def count_within(energies: Floats, super_costs: Floats, allowance: float) -> int:
    """How many queries, from the highest energy down, Super can take for at most `allowance` in all."""
    totals = np.cumsum(super_costs[_descending(energies)])
    return int(np.searchsorted(totals, allowance, side="right"))


def best_count(energies: Floats, gains: Floats, at_most: int) -> int:
    """How many inputs, from the highest energy down, Super should take for the largest total gain.

    Only counts that a threshold can bring about are considered; of equally good ones the smallest, which is cheapest.

    Args:
        energies: one per input.
        gains: Super's effectiveness less Swift's, per input.
        at_most: the largest count allowed.
    """
    return int(np.argmax(_total_gains(energies, gains)[: at_most + 1]))


def cheapest_count(energies: Floats, gains: Floats, tolerance: float, at_most: int) -> int | None:
    """How few inputs, from the highest energy down, Super must take to be within a tolerance of taking all.

    Args:
        energies: one per input.
        gains: Super's quality less Swift's, per input.
        tolerance: how far the mean quality may stay below Super's.
        at_most: the largest count allowed.

    Returns:
        The smallest such count that a threshold can bring about, or None where `at_most` is too few.

    Example:
        >>> cheapest_count(np.array([3.0, 2.0, 1.0, 0.0]), np.array([1.0, 0.0, 1.0, 0.0]), 0.25, at_most=4)
        1
    """
    totals = _total_gains(energies, gains)
    enough = np.flatnonzero(totals[: at_most + 1] >= totals[-1] - tolerance * len(energies) - 1e-9)
    return int(enough[0]) if len(enough) else None


def _total_gains(energies: Floats, gains: Floats) -> Floats:
    """Total gain for every count from 0 to all; -inf for counts that no threshold can bring about."""
    order = _descending(energies)
    totals = np.concatenate([[0.0], np.cumsum(gains[order])]).round(9)  # equal gains are equal, whatever their order
    descending = energies[order]
    separable = np.concatenate([[True], descending[:-1] > descending[1:], [True]])
    totals[~separable] = -math.inf
    return totals


def affordable(
    energies: Floats, super_costs: Floats, allowance: Fraction, eligible: npt.NDArray[np.bool_]
) -> npt.NDArray[np.bool_]:
    """Which of the eligible queries Super takes: highest energy first, while the allowance lasts.

    A query that would cost more than what is left is passed over; cheaper ones after it may still go. Sums are exact
    (fractions), so that the promise "never above the allowance" doesn't depend on rounding.
    """
    chosen = np.zeros(len(energies), dtype=bool)
    for query in _descending(energies):
        cost = Fraction(super_costs[query])
        if eligible[query] and cost <= allowance:
            chosen[query] = True
            allowance -= cost
    return chosen


def _descending(energies: Floats) -> npt.NDArray[np.int64]:
    return np.argsort(-energies, kind="stable")
