"""Part A: runtimes on the same pairs and the same weights, interleaved in one process. `standings` reads the results.

First every peer's batch size is swept on a slice. Then rounds of the bench slice, all its queries together (batch),
and one pass over every query alone (online), systems in rotating order after a warm-up, so that a slow moment of the
machine falls on all alike. The online pass is also what effectiveness is measured on: nothing is scored for that alone.
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from elasticranker.evaluation.candidates import Candidates
from elasticranker.evaluation.journal import Journal
from elasticranker.frames import in_incoming_order
from experiments.peers.memory import peak_memory
from experiments.peers.roofline import product_rates
from experiments.peers.setup import Setup
from experiments.peers.systems import (
    DEFAULT_BATCH,
    FULL,
    FULL_FLOAT32,
    PEER_DEFAULT,
    PEER_FLOAT32,
    Ours,
    Peer,
    System,
    ranked,
)

if TYPE_CHECKING:
    from tqdm import tqdm

BATCHES = (4, 8, 16, 32, 64)  # pairs; swept for every peer that has the choice
SWEPT_PAIRS = 64
WORSE = 1.2  # times the least seconds so far: larger batches are slower still
SETTLE = 0.1  # seconds before a timed call: runtimes' threads spin for a while after their last work


def bench_slice(frame: pd.DataFrame, queries: int) -> pd.DataFrame:
    """The candidates of `queries` queries, evenly spaced."""
    qids = frame["qid"].unique()
    chosen = qids[np.linspace(0, len(qids), min(queries, len(qids)), endpoint=False).astype(int)]
    return frame[frame["qid"].isin(chosen)].reset_index(drop=True)


def measure_runtimes(
    systems: Sequence[System],
    setup: Setup,
    candidates: Candidates,
    journal: Journal,
    *,
    rounds: int,
    bench_queries: int,
    bar: tqdm,
) -> list[System]:
    """Time systems into a journal; what the journal holds already isn't measured again.

    Args:
        systems: from `open_systems`.
        setup: what they were opened with.
        candidates: what to rerank.
        journal: gets entries of the parts "sweep", "batch", "online", "memory".
        rounds: of the bench slice.
        bench_queries: queries of the bench slice.
        bar: told what is going on.

    Returns:
        The systems that were timed: peers at their best batch size, sentence-transformers at its default too.
    """
    chosen = swept(systems, candidates, journal, bar)
    slice_ = bench_slice(candidates.frame, bench_queries)
    first = next(iter(_queries(slice_)))[1]
    done = list(journal)
    timed = {entry["round"] for entry in done if entry["part"] == "batch"}
    known = {entry["qid"] for entry in done if entry["part"] == "online"}
    pending = [(place, qid, rows) for place, (qid, rows) in enumerate(_queries(candidates.frame)) if qid not in known]
    if len(timed) < rounds or pending:
        for system in chosen:
            _step(bar, f"warm-up: {system.name}")
            system.rerank(first.head(SWEPT_PAIRS))
    sitting = uuid.uuid4().hex[:8]
    for turn in (number for number in range(rounds) if number not in timed):
        entry: dict[str, Any] = {"part": "batch", "round": turn, "sitting": sitting, "pairs": len(slice_)}
        entry["systems"] = _in_turn(chosen, slice_, turn, bar, f"batch, round {turn + 1}")
        for result in entry["systems"].values():  # the rankings come from the online pass
            del result["docnos"], result["scores"]
        entry["rates"] = {ours.name: _rates(ours) for ours in chosen if ours.name in (FULL, FULL_FLOAT32)}
        journal.append(entry)
    for place, qid, rows in pending:
        results = _in_turn(chosen, rows, place, bar, f"query {place + 1}")
        journal.append({"part": "online", "qid": qid, "sitting": sitting, "systems": results})
    _remember(chosen, setup, first, journal, bar)
    return chosen


def _queries(frame: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    lists = in_incoming_order(frame)
    yield from zip(map(str, lists.qids), lists.frames(), strict=True)


def _step(bar: tqdm, what: str) -> None:
    bar.set_description(what)
    bar.update()


def swept(systems: Sequence[System], candidates: Candidates, journal: Journal, bar: tqdm) -> list[System]:
    """Every peer at its fastest batch size of `BATCHES`, and sentence-transformers at its default before that.

    Where its fastest is its default, there is one of the two, by the name of the default.
    """
    slice_ = candidates.frame.head(SWEPT_PAIRS)
    known = {entry["system"]: entry["seconds"] for entry in journal if entry["part"] == "sweep"}
    chosen: list[System] = []
    for system in systems:
        if not isinstance(system, Peer) or not system.takes_batches:
            chosen.append(system)
            continue
        if system.name not in known:
            _step(bar, f"batch size: {system.name}")
            known[system.name] = _sweep(system, slice_)
            journal.append({"part": "sweep", "system": system.name, "seconds": known[system.name]})
        seconds = known[system.name]
        best = int(min(seconds, key=lambda size: seconds[size]))
        if system.name == PEER_FLOAT32:
            chosen.append(replace(system, name=PEER_DEFAULT, batch=DEFAULT_BATCH))
            if best == DEFAULT_BATCH:  # its best and its default are one
                continue
        chosen.append(replace(system, batch=best))
    return chosen


def _sweep(peer: Peer, slice_: pd.DataFrame) -> dict[str, float]:
    """Seconds by rising batch size, until larger ones get slower; after a short call to warm up."""
    peer.rerank(slice_.head(BATCHES[0]))
    seconds: dict[str, float] = {}
    for size in BATCHES:
        started = time.perf_counter()
        replace(peer, batch=size).rerank(slice_)
        seconds[str(size)] = time.perf_counter() - started
        if seconds[str(size)] > WORSE * min(seconds.values()):
            break
    return seconds


def _in_turn(systems: Sequence[System], frame: pd.DataFrame, turn: int, bar: tqdm, what: str) -> dict[str, Any]:
    """One frame through every system, beginning with another one each turn."""
    first = turn % len(systems)
    results: dict[str, dict[str, Any]] = {}
    for system in [*systems[first:], *systems[:first]]:
        _step(bar, f"{what}: {system.name}")
        time.sleep(SETTLE)
        started = time.perf_counter()
        scored = system.rerank(frame)
        seconds = time.perf_counter() - started
        run = ranked(scored, frame)
        flops = float(scored["spend"].sum()) if "spend" in scored else None
        results[system.name] = {"ms": 1000 * seconds, "flops": flops}
        results[system.name] |= {"docnos": run["docno"].tolist(), "scores": run["score"].tolist()}
    return results


def _rates(system: System) -> dict[str, float]:
    if not isinstance(system, Ours):
        return {}
    engine = system.ranker.engine
    return product_rates(engine.encoder.shape, engine.dtype, tokens=system.ranker.batch_size)


def _remember(systems: Sequence[System], setup: Setup, frame: pd.DataFrame, journal: Journal, bar: tqdm) -> None:
    """Note every system's peak memory over one query."""
    known = {entry["system"] for entry in journal if entry["part"] == "memory"}
    jobs = {system.name: getattr(system, "batch", 0) for system in systems if system.name not in known}
    if not jobs:
        return
    bar.set_description("memory, each system alone")
    for name, mb in peak_memory(jobs, setup, frame):
        _step(bar, f"memory: {name}")
        journal.append({"part": "memory", "system": name, "mb": None if math.isnan(mb) else mb})
