"""`simulate`: every system under every load, on a simulated clock."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from elasticranker.evaluation.journal import Journal
from elasticranker.extras import missing
from experiments.online import report
from experiments.online.arrivals import ARRIVALS, requests
from experiments.online.folder import REPLICAS, RUNGS, SIMULATED, Job, opened
from experiments.online.outcome import COLUMNS, GREEDY, System, join, summary, systems
from experiments.online.planning import plan_replicas
from experiments.online.quality import Rungs, as_rungs, measure_rungs
from experiments.online.simulation import Service, simulate

LOADS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
SLO = 5.0  # times a query in full takes
FEWEST, MOST_RUNS, MOST_REQUESTS = 2_000, 1_000, 200_000  # requests a point; runs that they are made of; bounds


def run_simulation(
    job: Job,
    *,
    output: str | Path,
    loads: Sequence[float] = LOADS,
    arrivals: Sequence[str] = tuple(ARRIVALS),
    seconds: float = 60.0,
    slo: float | None = None,
    to: float | None = None,
    keep: float = 0.95,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure the rungs (once), simulate, and write tables, figure and report.

    Args:
        job: what is served.
        output: folder for the results; the measurement of the rungs in it is reused, and goes on where it was killed.
        loads: arrival rates, as multiples of what the full model sustains.
        arrivals: names of `ARRIVALS`.
        seconds: length of a run; each point is as many runs as give 2,000 requests.
        slo: the latency objective in seconds; by default 5 times what a query takes in full.
        to: plan replicas for 1, 10, 100 ... and this many requests a second.
        keep: share of the full model's nDCG@10 that a plan keeps.
        seed: of the arrivals.
        progress: whether to show bars on standard error.

    Returns:
        One row a kind of arrivals, load and system; columns as in `outcome.COLUMNS`.

    Raises:
        ValueError: an argument that makes no sense, or `output` holds another experiment.
        OSError: `output` cannot be written, or another process is writing it.
    """
    check_loads(loads, arrivals, seconds, slo)
    need("simpy")
    if to is not None and not (to > 0 and math.isfinite(to)):
        raise ValueError(f"to={to!r}: give requests a second, above 0")
    with opened(output, job) as folder:
        journal = Journal(folder.path / "rungs.jsonl")
        table = measure_rungs(job.ranker, job.shares, job.candidates, journal, rel=job.rel, progress=progress)
        folder.write(RUNGS, table)
        rungs = as_rungs(table)
        service = Service(SLO * rungs.full_seconds if slo is None else slo)
        results = _table(rungs, service, loads, arrivals, seconds, seed, progress)
        folder.write(SIMULATED, results)
        if to is None:
            (folder.path / REPLICAS).unlink(missing_ok=True)  # of another objective, perhaps
        else:
            plan = plan_replicas(rungs, _rates(to), service, keep=keep, seed=seed, progress=progress)
            folder.write(REPLICAS, plan)
        facts = {"seconds": seconds, "slo": service.slo, "full_seconds": rungs.full_seconds, "keep": keep, "seed": seed}
        folder.note("simulate", facts)
        report.write(folder)
    return results


def need(package: str) -> None:
    """Say how to install a package of the extra `online`, before anything is measured.

    Raises:
        ImportError: it is not there.
    """
    if importlib.util.find_spec(package) is None:
        raise missing("this experiment", "online", package)


def check_loads(loads: Sequence[float], arrivals: Sequence[str], seconds: float, slo: float | None) -> None:
    """Refuse what makes no sense before anything is measured.

    Raises:
        ValueError: the argument is named.
    """
    if not loads or not all(load > 0 and math.isfinite(load) for load in loads) or len(set(loads)) < len(loads):
        raise ValueError(f"loads={list(loads)}: give multiples of the full model's capacity above 0, each once")
    if not arrivals or not set(arrivals) <= set(ARRIVALS) or len(set(arrivals)) < len(arrivals):
        raise ValueError(f"arrivals={list(arrivals)}: choose from {', '.join(ARRIVALS)}, each once")
    for name, value in (("seconds", seconds), ("slo", 1.0 if slo is None else slo)):
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name}={value!r}: give seconds above 0")


def _table(
    rungs: Rungs,
    service: Service,
    loads: Sequence[float],
    arrivals: Sequence[str],
    seconds: float,
    seed: int,
    progress: bool,
) -> pd.DataFrame:
    from tqdm import tqdm

    points = [
        (kind, load, system) for kind in arrivals for load in loads for system in (*systems(rungs.shares), GREEDY)
    ]
    rows: list[dict[str, Any]] = []
    for kind, load, system in tqdm(points, unit=" simulations", disable=not progress):
        rate = load / rungs.full_seconds
        numbers = _point(rungs, service, kind, rate, system, seconds, seed)
        rows.append({"arrivals": kind, "system": system.name, "load": load, "rate": rate, **numbers})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _point(
    rungs: Rungs, service: Service, kind: str, rate: float, system: System, seconds: float, seed: int
) -> dict[str, Any]:
    """One system at one rate: independent runs, each from an idle server, taken together."""
    runs = min(MOST_RUNS, max(1, math.ceil(FEWEST / (rate * seconds))))
    if runs * rate * seconds > MOST_REQUESTS:
        raise ValueError(
            f"seconds={seconds:g}: {rate * seconds:.0f} requests at {rate:.3g} a second are more than the "
            f"{MOST_REQUESTS} that are simulated a point: give fewer seconds or lower loads"
        )
    outcomes = []
    for run in range(runs):
        times, queries = requests(kind, rate, seconds, queries=len(rungs.full_cost), seed=seed * MOST_RUNS + run)
        outcomes.append(simulate(rungs, times, queries, system, service))
    return summary(join(outcomes), service.slo)


def _rates(to: float) -> list[float]:
    """1, 10, 100 ... and `to`."""
    decades = [10.0**power for power in range(max(0, math.ceil(math.log10(to))))]
    return [*(rate for rate in decades if rate < to), to]
