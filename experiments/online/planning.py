"""How many servers a rate needs: past one machine, by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from experiments.online.arrivals import requests
from experiments.online.outcome import Outcome, System, summary, within
from experiments.online.quality import Rungs
from experiments.online.simulation import Service, simulate

# Behind one balancer. More replicas are planned as several such cells, each with its part of the requests: what one
# larger pool can do is a little more, and no simulation grows with the rate.
CELL = 32
WANTED, EXACT = 0.99, 0.01  # of the requests in time (their p99 is then within the objective); of a cell's rate
OBJECTIVES, FEWEST, MOST = 20, 5_000, 100_000  # length of a simulation: in objectives, and in requests
SHOWN = ("p50", "p99", "within", "nDCG@10", "RR@10", "budget")
COLUMNS = ("rate", "system", "replicas", *SHOWN)

Meets = Callable[[Outcome], bool]


def plan_replicas(
    rungs: Rungs, rates: Sequence[float], service: Service, *, keep: float = 0.95, seed: int = 0, progress: bool = True
) -> pd.DataFrame:
    """The fewest replicas for which 99 % of Poisson arrivals are answered within the objective.

    Args:
        rungs: what was measured of each query at each rung.
        rates: requests a second.
        service: the objective and how requests are grouped; its replicas play no part.
        keep: share of the full model's mean nDCG@10 that the second elastic row of each rate must keep.
        seed: of the arrivals.
        progress: whether to show a bar on standard error.

    Returns:
        Three rows a rate: static full, elastic, and elastic that keeps so much of the quality. Columns as in `COLUMNS`;
        `replicas` is empty where no number of them meets the objective, as when one request alone takes longer.

    Raises:
        ValueError: an argument that makes no sense.
    """
    from tqdm import tqdm

    if not rates or not all(rate > 0 and math.isfinite(rate) for rate in rates):
        raise ValueError(f"rates={list(rates)}: give requests a second, above 0")
    if not 0 <= keep <= 1:
        raise ValueError(f"keep={keep!r}: give a share of the full model's quality")
    floor = keep * float(rungs.ndcg[:, -1].mean())
    wanted = {
        "static full": (System("static full", 1.0), partial(_in_time, slo=service.slo, floor=0.0)),
        "elastic": (System("elastic", None), partial(_in_time, slo=service.slo, floor=0.0)),
        f"elastic, {keep:.0%} of nDCG@10": (System("elastic", None), partial(_in_time, slo=service.slo, floor=floor)),
    }
    rows = []
    with tqdm(total=len(wanted) * len(rates), unit=" plans", disable=not progress) as bar:
        for name, (system, meets) in wanted.items():
            runs = _Runs(rungs, system, service, seed)
            most = _most_for_a_cell(runs, meets)
            for rate in rates:
                row = {"rate": rate, "system": name, "replicas": float("nan")}
                if most > 0:
                    replicas = _fewest(runs, meets, rate, most)
                    numbers = summary(runs.run(rate, replicas), service.slo)
                    row |= {"replicas": replicas, **{column: numbers[column] for column in SHOWN}}
                rows.append(row)
                bar.update()
    table = pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("rate", kind="stable", ignore_index=True)
    return table.astype({"replicas": "Int64"})


def _in_time(outcome: Outcome, *, slo: float, floor: float) -> bool:
    return within(outcome, slo) >= WANTED and float(np.nanmean(outcome.ndcg)) >= floor


class _Runs:
    """Simulations of one system at any rate and number of replicas."""

    def __init__(self, rungs: Rungs, system: System, service: Service, seed: int) -> None:
        self.rungs, self.system, self.service, self.seed = rungs, system, service, seed

    @property
    def least_seconds(self) -> float:
        """A mean request's service at the cheapest budget that the system may give."""
        rung = self.rungs.shares.index(self.system.static) if self.system.static else 0
        return float(np.mean([self.rungs.profile.seconds_of(flops) for flops in self.rungs.spend[:, rung]]))

    def run(self, rate: float, replicas: int) -> Outcome:
        """So many replicas at a rate; the first cell of them where there are more than one holds."""
        if replicas > CELL:
            rate, replicas = rate * CELL / replicas, CELL
        seconds = min(max(OBJECTIVES * self.service.slo, FEWEST / rate), MOST / rate)
        times, queries = requests("poisson", rate, seconds, queries=len(self.rungs.full_cost), seed=self.seed)
        return simulate(self.rungs, times, queries, self.system, replace(self.service, replicas=replicas))


def _most_for_a_cell(runs: _Runs, meets: Meets) -> float:
    """The highest rate that a cell can take; 0 where it cannot take any."""
    high = CELL / runs.least_seconds  # the cheapest budget without a pause
    low = high / 1000
    if not meets(runs.run(low, CELL)):
        return 0.0
    while high > (1 + EXACT) * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if meets(runs.run(middle, CELL)) else (low, middle)
    return low


def _fewest(runs: _Runs, meets: Meets, rate: float, most: float) -> int:
    """The fewest replicas for a rate, given the highest that a cell can take."""
    if rate > most:
        return max(CELL + 1, math.ceil(CELL * rate / most))
    low, high = 0, CELL
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if meets(runs.run(rate, middle)) else (middle, high)
    return high
