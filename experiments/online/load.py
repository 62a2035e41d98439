"""`load`: every system under real load, each point against a fresh server in a process of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from elasticranker.evaluation.journal import Journal
from elasticranker.files import refuse_other_job
from experiments.online import report
from experiments.online.arrivals import requests
from experiments.online.client import Workload, as_outcome, send, workload
from experiments.online.folder import MEASURED, Job, opened
from experiments.online.outcome import COLUMNS, SYSTEMS, System, summary, systems
from experiments.online.server import serving
from experiments.online.simulated import SLO, check_loads, need

if TYPE_CHECKING:
    from elasticranker.ranker import ElasticRanker

LOADS = (0.1, 0.5, 1.0, 2.0, 4.0)
ALONE, WARM_UP = 20, 3  # queries that are sent one after the other to time the full model, and before that
MOST_REQUESTS = 20_000  # a point
Server = Callable[[Sequence[str], Path], AbstractContextManager[str]]


def run_load(
    job: Job,
    *,
    output: str | Path,
    loads: Sequence[float] = LOADS,
    compared: Sequence[str] = SYSTEMS,
    arrivals: str = "poisson",
    seconds: float = 60.0,
    drain: float = 60.0,
    slo: float | None = None,
    threads: int | None = None,
    seed: int = 0,
    progress: bool = True,
    serve: Server = serving,
) -> pd.DataFrame:
    """Send requests to the real server on loopback, and write the table, figure and report.

    The client needs a little of the machine that the server computes on: leave a core free where there are some to
    spare (`threads`). A killed measurement goes on with the first point that is missing.

    Args:
        job: what is served.
        output: folder for the results; with a simulation in it, the figure shows both.
        loads: arrival rates, as multiples of what static full sustains: the inverse of its mean latency, one at a time.
        compared: names of `SYSTEMS`. Others can be added later under the same output, like other loads.
        arrivals: a name of `ARRIVALS`.
        seconds: how long requests are sent at each point.
        drain: how many seconds more answers are waited for. What is unanswered then counts as at least that late.
        slo: the latency objective in seconds; by default 5 times the mean latency of static full, one at a time.
        threads: that the model computes with.
        seed: of the arrivals.
        progress: whether to show a bar on standard error.
        serve: what starts a server from its arguments and log file.

    Returns:
        One row a load and system; columns as in `outcome.COLUMNS`.

    Raises:
        ValueError: an argument that makes no sense, or `output` holds another experiment.
        OSError: `output` cannot be written, another process is writing it, or a server doesn't start.
    """
    from tqdm import tqdm

    check_loads(loads, [arrivals], seconds, slo)
    need("httpx")
    if not compared or not set(compared) <= set(SYSTEMS):
        raise ValueError(f"compared={list(compared)}: choose from {', '.join(SYSTEMS)}")
    if not (drain >= 0 and math.isfinite(drain)):
        raise ValueError(f"drain={drain!r}: give seconds from 0")
    work = workload(job.candidates)
    with opened(output, job) as folder:
        log, journal = folder.path / "server.log", Journal(folder.path / "load.jsonl")
        model = _model_arguments(job.ranker, threads)
        settings = {"arrivals": arrivals, "seconds": seconds, "drain": drain, "slo given": slo, "seed": seed}
        settings["threads given"] = threads
        done = list(journal)
        if not done:
            with serve([*model, "--static", "100%", "--slo", _time(3600.0)], log) as url:
                alone = _mean_latency(url, work)
            journal.append({"settings": settings, "full_seconds": alone, "slo": SLO * alone if slo is None else slo})
            done = list(journal)
        remedy = f"delete {journal.path}, or choose another --output"
        refuse_other_job(done[0]["settings"], settings, place=journal.path, remedy=remedy)
        full_seconds, objective = done[0]["full_seconds"], done[0]["slo"]
        if max(loads) * seconds / full_seconds > MOST_REQUESTS:
            raise ValueError(
                f"loads={list(loads)}: {max(loads) / full_seconds:.3g} requests a second for {seconds:g} s are more "
                f"than the {MOST_REQUESTS} that are sent a point: give fewer seconds or lower loads"
            )
        known = {(row["system"], row["load"]) for row in done[1:]}
        chosen = [system for system in systems(job.shares) if system.name in compared]
        points = [(load, system) for load in loads for system in chosen]
        missing = [(load, system) for load, system in points if (system.name, load) not in known]
        bar = tqdm(missing, initial=len(points) - len(missing), total=len(points), unit=" points", disable=not progress)
        for load, system in bar:
            rate = load / full_seconds
            times, queries = requests(arrivals, rate, seconds, queries=len(work.bodies), seed=seed)
            with serve([*model, *_system_arguments(system, objective)], log) as url:
                send(url, work, np.zeros(1), np.zeros(1, dtype=np.int64), drain=60.0)  # connections, caches
                replies = send(url, work, times, queries, drain=drain)
            found = summary(as_outcome(replies, work, queries, rel=job.rel), objective)
            numbers = {name: None if value != value else value for name, value in found.items()}  # JSON knows no NaN
            journal.append({"arrivals": arrivals, "system": system.name, "load": load, "rate": rate, **numbers})
        results = _table(list(journal)[1:])
        folder.write(MEASURED, results)
        folder.note("load", {"settings": settings, "full_seconds": full_seconds, "slo": objective})
        report.write(folder)
    return results


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """By load, and within it in the order in which they were measured."""
    rows = [{name: math.nan if value is None else value for name, value in row.items()} for row in rows]
    return pd.DataFrame(rows, columns=list(COLUMNS)).sort_values("load", kind="stable", ignore_index=True)


def _mean_latency(url: str, work: Workload) -> float:
    """Seconds of a request when nobody else is there, over evenly spaced queries."""
    chosen = np.linspace(0, len(work.bodies), min(ALONE, len(work.bodies)), endpoint=False).astype(np.int64)
    latencies = []
    for query in [*chosen[:WARM_UP], *chosen]:
        (reply,) = send(url, work, np.zeros(1), np.array([query]), drain=600.0)
        if reply.status != 200:
            raise OSError(f"the server answered a request with status {reply.status}: {reply.body[:200]!r}")
        latencies.append(reply.latency)
    return float(np.mean(latencies[len(chosen[:WARM_UP]) :]))


def _model_arguments(ranker: ElasticRanker, threads: int | None) -> list[str]:
    """The server's model, set up as the ranker is; and room for all connections of an overloaded run."""
    arguments = ["--model", ranker.model, "--dtype", ranker.dtype, "--batch-size", str(ranker.batch_size)]
    if ranker.revision is not None:
        arguments += ["--revision", ranker.revision]
    if ranker.max_length is not None:
        arguments += ["--max-length", str(ranker.max_length)]
    if ranker.device is not None:
        arguments += ["--device", str(ranker.device)]
    if threads is not None:
        arguments += ["--threads", str(threads)]
    return [*arguments, "--max-connections", str(MOST_REQUESTS + 1)]


def _system_arguments(system: System, slo: float) -> list[str]:
    static = [] if system.static is None else ["--static", f"{100 * system.static:.12g}%"]
    return ["--slo", _time(slo), *static]


def _time(seconds: float) -> str:
    return f"{1e3 * seconds:.6g} ms"
