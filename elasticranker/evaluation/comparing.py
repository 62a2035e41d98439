"""Comparing rerankers: every query is reranked by every system in turn, in one process and in rotating order.

A slow moment of the machine then falls on all of them alike; those timed calls are the runs that are evaluated.
`trade_off` is what people call; `run_tradeoff` the same over candidates that are there already, for commands.

With a folder, a comparison may be killed and may grow: what was measured is kept by system, and a call with other
rankers measures what is new. Measures, relevance level and baseline only read what is there, so they may change at any
time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import pyterrier as pt

from elasticranker.evaluation.candidates import Candidates, candidates_of
from elasticranker.evaluation.interleaved import Rankings, measure, measured
from elasticranker.evaluation.journal import Journal
from elasticranker.evaluation.manifest import machine, today
from elasticranker.evaluation.measures import MEASURES, parse_measures
from elasticranker.evaluation.systems import choose_baseline, claim, file_name, split_name, traced_systems
from elasticranker.evaluation.tradeoff import JOURNAL, TradeOff
from elasticranker.files import locked, public_name, read_json, refuse_other_job, writable_folder, write_json
from elasticranker.progress import shown

GIVEN = "the given topics"


def trade_off(
    front: pt.Transformer | pd.DataFrame,
    rankers: Sequence[pt.Transformer] | Mapping[str, pt.Transformer],
    topics: pd.DataFrame,
    qrels: pd.DataFrame,
    measures: Sequence[str] = MEASURES,
    *,
    baseline: str | None = None,
    rel: int = 1,
    folder: str | Path | None = None,
    title: str = GIVEN,
    front_name: str = "first-stage",
    verbose: bool = False,
) -> TradeOff:
    """Compare rerankers over the same candidates: what each is worth, and what it costs.

    Choose it over `pt.Experiment` where cost matters: that one has no place for FLOPs beside its measures, and times
    whole pipelines one after the other. Here the FLOPs of every query are counted, and the reranker alone is timed, all
    systems in turn.

    Queries that a ranker's ladder was tuned on are left out, and counted.

    Args:
        front: makes the candidates with their texts (`bm25 >> dataset.text_loader()`), or is a frame of them.
        rankers: `ElasticRanker`s, `EnergyRouter`s of these, or whatever adds a column `spend` (FLOPs a row). A mapping
            names them; an `ElasticRanker`'s budget is added to its name.
        topics: columns qid and query; those that nobody judged are passed over.
        qrels: columns qid, docno, label.
        measures: as ir_measures writes them.
        baseline: what every other system is tested against: a budget ("25%"), a system ("elastic 25%") or the first
            stage's name. By default the full model, where it is among them.
        rel: lowest label that counts as relevant, where a measure doesn't say it (2 on TREC Deep Learning).
        folder: keep what is measured there, query by query: a killed comparison goes on, and one with other rankers
            measures only what is new. By default nothing is written; see `TradeOff.save`.
        title: what the queries are, for figure and report.
        front_name: what the first stage is called.
        verbose: show bars.

    Raises:
        ValueError: no query is judged, two systems have one name, a measure or the baseline is unknown, a ranker
            doesn't tell what it spends, or `folder` holds another comparison.
        OSError: `folder` cannot be written.

    Example:
        >>> budgets = [ranker.with_budget(budget) for budget in ("full", "25%", "5%")]  # doctest: +SKIP
        >>> compared = trade_off(bm25 >> text, budgets, topics, qrels, ["RR@10", "nDCG@10"])  # doctest: +SKIP
        >>> compared.table, compared.plot()  # doctest: +SKIP
    """
    systems = traced_systems(rankers)
    parse_measures(measures, rel=rel)  # an unknown one is an error now, before anything is searched
    seen = frozenset().union(*(getattr(ranker, "tuned_on", frozenset()) for ranker in systems.values()))
    with shown(verbose):
        candidates = candidates_of(front, topics, qrels, tuned_on=seen, name=front_name)
    return run_tradeoff(
        candidates,
        systems,
        measures=measures,
        baseline=baseline,
        rel=rel,
        folder=folder,
        title=title,
        progress=verbose,
    )


def run_tradeoff(
    candidates: Candidates,
    systems: Mapping[str, pt.Transformer],
    *,
    measures: Sequence[str] = MEASURES,
    baseline: str | None = None,
    rel: int = 1,
    folder: str | Path | None = None,
    title: str = GIVEN,
    note: str = "",
    arguments: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> TradeOff:
    """`trade_off` over candidates that are there already.

    Args:
        candidates: what to rerank, from `load_candidates` or `candidates_of`.
        systems: tracing rankers by name, from `named_systems` or `traced_systems`.
        measures: see `trade_off`.
        baseline: see `trade_off`.
        rel: see `trade_off`.
        folder: for results.csv, per_query.csv, runs/, tradeoff.png, report.md, manifest.json and the journal. Where it
            holds systems on the same candidates already, these are kept, and tell the results too. None writes nothing.
        title: what the queries are: a collection's name.
        note: a sentence for the report, such as "reduced corpus: easier than the full one"; kept until another comes.
        arguments: what the user asked for, kept in the manifest.
        progress: whether to show bars on standard error.

    Raises:
        ValueError: a measure or the baseline is unknown, a system doesn't trace, the first stage is called like one of
            ours, or `folder` holds an experiment on other candidates, or another ranker under the same name.
        OSError: `folder` cannot be written, or another process is writing it.
    """
    if file_name(candidates.system) in map(file_name, systems):
        raise ValueError(
            f"the first stage is called {candidates.system!r}, like one of the systems measured here, and their runs "
            "would be mixed up: rename its run file"
        )
    parse_measures(measures, rel=rel)
    job = _job(candidates, systems, title)
    place = None if folder is None else writable_folder(folder)
    busy = f"another process is writing {place}; wait for it, or choose another --output"
    with nullcontext() if place is None else locked(place / "lock", busy=busy):
        journal: Any = [] if place is None else Journal(place / JOURNAL)
        manifest: dict[str, Any] = {"job": job, "systems": {}, "date": today(), "note": ""}
        if place is not None and (place / "manifest.json").exists():
            manifest = read_json(place / "manifest.json")
        refuse_other_job(manifest["job"], job, place=str(place), remedy=f"delete {place}, or choose another --output")
        known, queries = measured(journal), job["queries with candidates"]
        manifest["systems"] = {system: about for system, about in manifest["systems"].items() if system in known}
        claim(manifest["systems"], systems, str(place))
        there = [system for system in manifest["systems"] if system in systems or len(known[system]) == queries]
        baseline = choose_baseline(baseline, [candidates.system, *there], split_name(next(iter(systems)))[0])
        evaluation = {"measures": list(measures), "baseline": baseline, "relevance level": rel}
        manifest |= {"evaluation": evaluation, "arguments": dict(arguments or {}), "note": note or manifest["note"]}
        if place is not None:
            write_json(place / "manifest.json", manifest)
        measure(systems, candidates, journal, progress=progress)
        known = measured(journal)
        finished = {system: known[system] for system in there}
        manifest["measurement"] = _circumstances(finished, manifest)
        with shown(progress):
            compared = TradeOff.of(candidates, finished, manifest)
            if place is not None:
                compared.write(place)
    return compared


def _job(candidates: Candidates, systems: Mapping[str, pt.Transformer], title: str) -> dict[str, Any]:
    """What all systems of an experiment share, by the names that a refusal shows; times depend on the machine."""
    frame = candidates.frame
    threads = next(
        (t for t in (getattr(ranker, "threads", None) for ranker in systems.values()) if t is not None), None
    )
    return {
        "collection": public_name(title),
        "queries": candidates.queries,
        "queries left out": candidates.left_out,
        "queries with candidates": int(frame["qid"].nunique()),
        "candidates": len(frame),
        "candidates fingerprint": candidates.fingerprint,
        "first stage": candidates.system,
        **machine(),
        **({"threads": threads} if threads is not None else {}),  # it may not be loaded yet
    }


def _circumstances(finished: Mapping[str, Rankings], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a reader of the times must know: when systems were measured beside which, and beside what other work."""
    sittings = [frozenset(ranking["sitting"] for ranking in rankings.values()) for rankings in finished.values()]
    loads = [ranking["load"] for rankings in finished.values() for ranking in rankings.values()]
    return {
        "sittings": len(frozenset().union(*sittings)),
        "all in turn": len(set(sittings)) <= 1,
        "highest load": max(loads, default=0.0),
        "unfinished": [system for system in manifest["systems"] if system not in finished],
    }
