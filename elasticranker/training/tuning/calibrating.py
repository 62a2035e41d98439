"""Fitting a calibration: what a raw score of each sub-network says of relevance, learnt on judged queries.

Calibrated means observed: of candidates that are given 0.3, three of ten were judged relevant. Observed where, then? In
what a reranker meets: a first stage's candidates, at their own rate of relevance, and beside them *strangers*,
candidates of other queries, since a first stage's own list never shows a passage on another subject. What nobody judged
counts as not relevant, so probabilities err on the low side. Nothing is reweighted: positives are rare there too.

Scores don't depend on a list's other candidates, so neither do the probabilities; a first stage with a much higher or
lower rate of relevance deserves a calibration of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from elasticranker.planning.calibration import Calibration, Floats, Line
from elasticranker.planning.plan import SubNet
from elasticranker.training.tuning.tables import Table

FOLDS = 5
BINS = 10
LIKELY = 0.1
LEAST_SLOPE = 0.01  # per standard deviation of a sub-network's scores: no map may be flat or fall
RIDGE = 0.01  # on that slope: too little to be seen, but it keeps scores that part all candidates from an endless slope


@dataclass(frozen=True)
class Reliability:
    """Expected calibration errors of one sub-network: how far probabilities are from what was judged, on average.

    Attributes:
        before: of the raw score's sigmoid.
        after: of the calibrated probability, on queries that it was not fitted on.
        likely: the same, of the candidates that it gives at least `LIKELY`: most have next to nothing, and rightly.
    """

    before: float
    after: float
    likely: float


def calibrate(tables: Sequence[Table], strangers: Sequence[Table], *, level: float = 1) -> Calibration:
    """Fit a line for every sub-network.

    Args:
        tables: of judged queries and a first stage's candidates.
        strangers: of the same queries, in the same order, and candidates of others.
        level: lowest gain that counts as relevant.

    Raises:
        ValueError: too few queries, or nothing is relevant.
    """
    pool = _Pool(tables, strangers, level)
    everywhere = np.ones(len(pool.relevant), dtype=bool)
    lines = {subnet: pool.fit(subnet, everywhere) for subnet in pool.subnets}
    rate = pool.relevant[~pool.strange].mean()
    return Calibration(lines, float(logit(min(rate, 0.5))))


def reliability(
    tables: Sequence[Table], strangers: Sequence[Table], *, level: float = 1, seed: int = 0
) -> dict[SubNet, Reliability]:
    """How well calibrations keep what they say: each query's probabilities come from lines fitted on others.

    Args:
        tables: as for `calibrate`.
        strangers: likewise.
        level: likewise.
        seed: of the folds.
    """
    pool = _Pool(tables, strangers, level)
    fold = np.random.default_rng(seed).permutation(len(tables))[pool.query] % min(FOLDS, len(tables))
    found = {}
    for subnet in pool.subnets:
        raw = pool.scores(subnet)
        probabilities = np.empty(len(raw))
        for part in np.unique(fold):
            line = pool.fit(subnet, fold != part)
            probabilities[fold == part] = expit(line.slope * raw[fold == part] + line.intercept)
        likely = probabilities >= LIKELY
        found[subnet] = Reliability(
            calibration_error(expit(raw), pool.relevant),
            calibration_error(probabilities, pool.relevant),
            calibration_error(probabilities[likely], pool.relevant[likely]),
        )
    return found


def calibration_error(probabilities: Floats, relevant: Floats) -> float:
    """Expected calibration error over ten bins of equal width (Naeini et al. 2015); NaN of nothing.

    Example:
        >>> round(calibration_error(np.array([0.9, 0.9, 0.1, 0.1]), np.array([1.0, 1.0, 0.0, 0.0])), 3)
        0.1
    """
    if not len(probabilities):
        return math.nan
    bins = np.minimum((probabilities * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, probabilities - relevant, BINS)
    return float(np.abs(gaps).sum() / len(probabilities))


class _Pool:
    """The candidates of all queries, strangers at the end, in arrays."""

    def __init__(self, tables: Sequence[Table], strangers: Sequence[Table], level: float) -> None:
        if len(tables) < 2 or len(tables) != len(strangers):
            raise ValueError(
                f"{len(tables)} queries and strangers of {len(strangers)}: a calibration needs at least 2 queries, and "
                "strangers for each"
            )
        self.tables = [*tables, *strangers]
        self.subnets = [subnet for subnet in sorted(tables[0].scores) if subnet.tokens is None]
        sizes = [len(table.labels) for table in self.tables]
        self.query = np.repeat(np.arange(len(self.tables)) % len(tables), sizes)
        self.strange = np.repeat(np.arange(len(self.tables)) >= len(tables), sizes)
        self.relevant = (np.concatenate([table.labels for table in self.tables]) >= level).astype(np.float64)
        if not self.relevant.any():
            raise ValueError(
                f"no candidate of the {len(tables)} queries is judged relevant (label {level:g} or above): calibrate "
                "on queries whose relevant documents the first stage finds"
            )

    def scores(self, subnet: SubNet) -> Floats:
        """`[n]` raw scores."""
        return np.concatenate([table.scores[subnet] for table in self.tables])

    def fit(self, subnet: SubNet, chosen: np.ndarray) -> Line:
        """Logistic regression of relevance on the raw score, over the chosen candidates; its slope is above 0.

        Labels are Platt's: a little short of 1 and above 0, as if one more candidate of each kind had been seen.
        """
        raw, relevant = self.scores(subnet)[chosen], self.relevant[chosen]
        centre, spread = float(raw.mean()), float(raw.std()) or 1.0
        scores = (raw - centre) / spread
        positives = float(relevant.sum())
        negatives = len(relevant) - positives
        labels = np.where(relevant > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))

        def loss(line: Floats) -> tuple[float, Floats]:
            odds = line[0] * scores + line[1]
            wrong = expit(odds) - labels
            value = (np.logaddexp(0, odds) - labels * odds).sum() + RIDGE * line[0] ** 2
            return float(value), np.array([wrong @ scores + 2 * RIDGE * line[0], wrong.sum()])

        bounds = [(LEAST_SLOPE, None), (None, None)]
        slope, intercept = minimize(loss, [1.0, 0.0], jac=True, method="L-BFGS-B", bounds=bounds).x
        return Line(float(slope / spread), float(intercept - slope * centre / spread))
