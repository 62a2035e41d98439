"""What each rung does to each query, measured once: its cost, its time and its effectiveness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from elasticranker.evaluation.interleaved import measure, measured, run_of
from elasticranker.evaluation.journal import Journal
from elasticranker.evaluation.measures import effectiveness
from elasticranker.model.speed import SpeedProfile
from experiments.online.arrivals import Floats, Integers

if TYPE_CHECKING:
    from elasticranker.evaluation.candidates import Candidates
    from elasticranker.ranker import ElasticRanker

COLUMNS = ("qid", "share", "full_cost", "spend", "ms", "RR@10", "nDCG@10")


@dataclass(frozen=True)
class Rungs:
    """Every query at every rung.

    Attributes:
        shares: budgets, rising, the last 1.
        full_cost: `[queries]` FLOPs of the whole model.
        spend: `[queries, rungs]` FLOPs executed.
        rr: `[queries, rungs]` RR@10.
        ndcg: `[queries, rungs]` nDCG@10.
        profile: seconds that FLOPs took.
    """

    shares: tuple[float, ...]
    full_cost: Integers
    spend: Integers
    rr: Floats
    ndcg: Floats
    profile: SpeedProfile

    @property
    def full_seconds(self) -> float:
        """Mean seconds of a query in full, by the profile."""
        return float(np.mean([self.profile.seconds_of(flops) for flops in self.spend[:, -1]]))


def measure_rungs(
    ranker: ElasticRanker,
    shares: Sequence[float],
    candidates: Candidates,
    journal: Journal,
    *,
    rel: int,
    progress: bool = True,
) -> pd.DataFrame:
    """Rerank every query at every rung once; a killed measurement goes on where it was.

    Args:
        ranker: made with `trace=True`; the rungs are siblings of it.
        shares: budgets, rising, the last 1.
        candidates: what to rerank.
        journal: keeps what is finished.
        rel: lowest relevant label.
        progress: whether to show a bar on standard error.

    Returns:
        One row a query and rung, columns as in `COLUMNS`: FLOPs, milliseconds, effectiveness.

    Raises:
        ValueError: the ranker doesn't trace.
    """
    systems = {f"{share:g}": ranker.with_budget(f"{100 * share:.12g}%") for share in shares}
    measure(systems, candidates, journal, progress=progress)
    known = measured(journal)
    rows = []
    for name, share in zip(systems, shares, strict=True):
        quality = effectiveness(run_of(known[name], candidates), candidates.qrels, rel=rel)
        for qid in candidates.frame["qid"].unique():
            own, full = known[name][qid], known[list(systems)[-1]][qid]
            values = quality.loc[qid] if qid in quality.index else {"RR@10": 0.0, "nDCG@10": 0.0}
            costs = (int(full["flops"]), int(own["flops"]), own["ms"])
            rows.append((qid, share, *costs, values["RR@10"], values["nDCG@10"]))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def as_rungs(table: pd.DataFrame) -> Rungs:
    """The table of `measure_rungs` as arrays, with the speed profile that its times make.

    The profile's points are the rungs: mean FLOPs of the queries, and their mean time.
    """

    def square(name: str) -> pd.DataFrame:
        return table.pivot(index="qid", columns="share", values=name)

    spend, ms = square("spend"), square("ms")
    flops = spend.mean().to_numpy(dtype=float)
    seconds = ms.mean().to_numpy(dtype=float) / 1e3
    # A rung that affords nothing, or nothing more, is no point; and a slow moment must not make more work faster.
    kept = np.flatnonzero(np.diff(np.concatenate([[0.0], flops])) > 0)
    rising = np.maximum.accumulate(seconds[kept]) + 1e-9 * np.arange(len(kept))
    return Rungs(
        tuple(float(share) for share in spend.columns),
        square("full_cost").iloc[:, 0].to_numpy(dtype=np.int64),
        spend.to_numpy(dtype=np.int64),
        square("RR@10").to_numpy(dtype=float),
        square("nDCG@10").to_numpy(dtype=float),
        SpeedProfile(tuple(flops[kept].tolist()), tuple(rising.tolist())),
    )
