"""Measuring rerankers side by side: one frame a query, every system in turn, in rotating order, in one process.

A slow moment of the machine then falls on all systems alike, so that ratios between them hold even on a noisy machine.
The timed calls are the runs that are evaluated: nothing is scored twice.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import pyterrier as pt

from elasticranker.evaluation.candidates import Candidates
from elasticranker.evaluation.journal import Journal
from elasticranker.frames import in_incoming_order

WARM_UP = 3  # queries reranked untimed by every system first: threads start, weights are cut, memory is mapped


def measure(
    systems: Mapping[str, pt.Transformer], candidates: Candidates, journal: Journal, *, progress: bool = True
) -> None:
    """Rerank every query that the journal lacks by every system, and note rankings, FLOPs and milliseconds.

    Args:
        systems: Rerankers by name. Each gives the column spend (FLOPs a row), as `ElasticRanker(trace=True)` does.
        candidates: What to rerank.
        journal: Gets an entry a query: `{"qid", "sitting", "systems": {name: {"ms", "flops", "docnos", "scores"}}}`.
        progress: Whether to show a bar on standard error.

    Raises:
        ValueError: A system gives no column spend.
    """
    from tqdm import tqdm

    frames = list(in_incoming_order(candidates.frame).frames())
    done = {entry["qid"] for entry in journal}
    pending = [(position, frame) for position, frame in enumerate(frames) if frame["qid"].iloc[0] not in done]
    for _, frame in pending[:WARM_UP]:
        for name, system in systems.items():
            if "spend" not in system.transform(frame):
                raise ValueError(f"the system {name} gives no column spend: make its ranker with trace=True")
    names, sitting = list(systems), uuid.uuid4().hex[:8]
    for position, frame in tqdm(pending, total=len(frames), initial=len(done), unit=" queries", disable=not progress):
        first = position % len(names)
        entry = {name: _timed(systems[name], frame) for name in names[first:] + names[:first]}
        journal.append({"qid": frame["qid"].iloc[0], "sitting": sitting, "systems": entry})


def _timed(system: pt.Transformer, frame: pd.DataFrame) -> dict[str, Any]:
    """One query through one system: its ranking, milliseconds (tokenisation included) and FLOPs."""
    start = time.perf_counter()
    ranked = system.transform(frame)
    seconds = time.perf_counter() - start
    return {
        "ms": 1000 * seconds,
        "flops": float(ranked["spend"].sum()),
        "docnos": ranked["docno"].tolist(),
        "scores": [float(score) for score in ranked["score"]],
    }


def measured_runs(entries: Sequence[Mapping[str, Any]], candidates: Candidates) -> dict[str, pd.DataFrame]:
    """The runs of a journal's entries by system, queries in the order of the candidates.

    Returns:
        Frames with the columns qid, docno, score and rank (from 0).
    """
    measured = {entry["qid"]: entry["systems"] for entry in entries}
    qids = candidates.frame["qid"].unique()
    runs = {}
    for name in measured[qids[0]]:
        rows = [
            (qid, docno, score, rank)
            for qid in qids
            for rank, (docno, score) in enumerate(
                zip(measured[qid][name]["docnos"], measured[qid][name]["scores"], strict=True)
            )
        ]
        runs[name] = pd.DataFrame(rows, columns=["qid", "docno", "score", "rank"])
    return runs
