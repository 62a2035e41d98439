"""How long so many FLOPs take here: what turns a budget in milliseconds into one in FLOPs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from elasticranker.progress import bar

if TYPE_CHECKING:
    from elasticranker.model.engine import Engine
    from elasticranker.planning.ladder import Ladder

TIME_MARGIN = 0.9  # share of the time left that is planned for; the rest covers a slow moment
SHARES = (0.01, 0.05, 0.25, 1.0)  # of the full cost: small budgets run at fewer FLOPs a second than large ones


@dataclass(frozen=True)
class SpeedProfile:
    """Seconds that queries of so many FLOPs take, both rising.

    Example:
        >>> SpeedProfile((1e9, 4e9), (0.01, 0.02)).flops_in(0.015)
        2500000000.0
    """

    flops: tuple[float, ...]
    seconds: tuple[float, ...]

    def flops_in(self, seconds: float) -> float:
        """FLOPs that fit into `seconds`: linear between the measured points, at the nearest one's rate beyond them."""
        if seconds <= self.seconds[0]:
            return max(0.0, seconds) * self.flops[0] / self.seconds[0]
        if seconds >= self.seconds[-1]:
            return seconds * self.flops[-1] / self.seconds[-1]
        return float(np.interp(seconds, self.seconds, self.flops))

    def seconds_of(self, flops: float) -> float:
        """Seconds that `flops` take: the inverse of `flops_in`."""
        if flops <= self.flops[0]:
            return max(0.0, flops) * self.seconds[0] / self.flops[0]
        if flops >= self.flops[-1]:
            return flops * self.seconds[-1] / self.flops[-1]
        return float(np.interp(flops, self.flops, self.seconds))


def measure_speed(
    engine: Engine, ladder: Ladder, *, candidates: int = 100, tokens: int = 96, runs: int = 3
) -> SpeedProfile:
    """Time one query of made-up candidates at several budgets, after a warm-up; the median of `runs` runs each.

    Args:
        engine: what will run.
        ladder: its plans.
        candidates: of the made-up query; their lengths vary around `tokens`.
        tokens: of a pair, on average.
        runs: timed runs a budget.
    """
    from elasticranker.model.engine import Query
    from elasticranker.model.pairs import Pair

    random = np.random.default_rng(0)
    pairs_of, vocabulary = engine.pairs, engine.encoder.shape.vocabulary
    query = random.integers(0, vocabulary, min(6, pairs_of.max_query_length))
    most = pairs_of.max_length - pairs_of.extra - len(query)
    lengths = random.integers(tokens // 2, tokens * 3 // 2, candidates).clip(1, max(1, most))
    pairs = [Pair(query, random.integers(0, vocabulary, int(length))) for length in lengths]
    whole = engine.full_cost(pairs)
    prior = -np.arange(candidates, dtype=float)
    flops, seconds = [], []
    with bar(name="measuring speed", total=len(SHARES) * (runs + 1), unit="runs") as moving:
        for share in SHARES:
            job = Query(pairs, prior, ladder.plan(share), int(share * whole))
            times = []
            for _ in range(runs + 1):
                started = time.perf_counter()
                (ranking,) = engine.rank([job])
                times.append(time.perf_counter() - started)
                moving.update()
            flops.append(float(ranking.spend.sum()))
            seconds.append(float(np.median(times[1:])))
    # A slow moment must not make a larger budget look faster than a smaller one.
    return SpeedProfile(tuple(flops), tuple(float(s) for s in np.maximum.accumulate(seconds) + 1e-9 * np.arange(4)))
