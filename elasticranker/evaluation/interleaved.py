"""Measuring rerankers side by side: one frame a query, every system in turn, in rotating order, in one process.

A slow moment of the machine then falls on all systems alike, so that ratios between them hold even on a noisy machine.
The timed calls are the runs that are evaluated: nothing is scored twice. A journal may grow: a system that it lacks, or
has for some queries only, is measured on those that are missing.
"""

from __future__ import annotations

import os
import time
import uuid
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyterrier as pt

from elasticranker.evaluation.candidates import Candidates
from elasticranker.evaluation.journal import Journal
from elasticranker.frames import in_incoming_order
from elasticranker.progress import bar, shown

WARM_UP = 3  # queries reranked untimed by every system first: threads start, weights are cut, memory is mapped
Rankings = Mapping[str, Mapping[str, Any]]  # of one system by qid: ms, flops, docnos, scores, sitting, load


def measure(
    systems: Mapping[str, pt.Transformer], candidates: Candidates, journal: Journal, *, progress: bool = True
) -> None:
    """Rerank every query by every system that the journal lacks it for, and note rankings, FLOPs and milliseconds.

    Args:
        systems: Rerankers by name. Each gives the column spend (FLOPs a row), as `ElasticRanker(trace=True)` does.
        candidates: What to rerank.
        journal: Gets entries `{"qid", "sitting", "load", "systems": {name: {"ms", "flops", "docnos", "scores"}}}`, one
            a query and call; `measured` reads them.
        progress: Whether to show bars on standard error.

    Raises:
        ValueError: A system gives no column spend.
    """
    frames = list(in_incoming_order(candidates.frame).frames())
    known = measured(journal)
    qids = [frame["qid"].iloc[0] for frame in frames]
    lacking = {
        name: [position for position, qid in enumerate(qids) if qid not in known.get(name, {})] for name in systems
    }
    warming = [(frames[position], name) for name in systems for position in lacking[name][:WARM_UP]]
    names_of: dict[int, list[str]] = defaultdict(list)
    for name, positions in lacking.items():
        for position in positions:
            names_of[position].append(name)
    total = len(frames) * len(systems)
    with shown(progress):
        with bar(name="warming up", total=len(warming), unit="rankings", hidden=not warming) as moving:
            for frame, name in warming:
                if "spend" not in systems[name].transform(frame):
                    raise ValueError(f"the system {name} gives no column spend: make its ranker with trace=True")
                moving.update()
        sitting, done = uuid.uuid4().hex[:8], total - sum(map(len, lacking.values()))
        with bar(name="measuring", total=total, initial=done, unit="rankings", hidden=not warming) as moving:
            for position, names in sorted(names_of.items()):
                first = position % len(names)
                rankings = {}
                for name in names[first:] + names[:first]:
                    rankings[name] = _timed(systems[name], frames[position])
                    moving.update()
                about = {"qid": qids[position], "sitting": sitting, "load": round(os.getloadavg()[0], 2)}
                journal.append({**about, "systems": rankings})


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


def measured(journal: Journal) -> dict[str, Rankings]:
    """What a journal holds, by system and qid."""
    found: dict[str, dict[str, Any]] = defaultdict(dict)
    for entry in journal:
        about = {"sitting": entry["sitting"], "load": entry["load"]}
        for name, ranking in entry["systems"].items():
            found[name][entry["qid"]] = about | ranking
    return dict(found)


def run_of(rankings: Rankings, candidates: Candidates) -> pd.DataFrame:
    """The run of one system that was measured on all queries, in the order of the candidates.

    Returns:
        Columns qid, docno, score and rank (from 0).
    """
    rows = [
        (qid, docno, score, rank)
        for qid in candidates.frame["qid"].unique()
        for rank, (docno, score) in enumerate(zip(rankings[qid]["docnos"], rankings[qid]["scores"], strict=True))
    ]
    return pd.DataFrame(rows, columns=["qid", "docno", "score", "rank"])
