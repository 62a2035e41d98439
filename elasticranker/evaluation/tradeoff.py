"""The trade-off: effectiveness against cost, one row a budget, beside the first stage.

Every query is reranked by every system in turn, in one process and in rotating order, so that a slow moment of the
machine falls on all of them alike; those timed calls are the runs that are evaluated. An experiment may grow: what was
measured is kept by system, and a call with other budgets, or with another model under another name, measures what is
new. Measures, relevance level and baseline only read what is there, so they may change at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from elasticranker.evaluation import plots, report
from elasticranker.evaluation.candidates import Candidates
from elasticranker.evaluation.interleaved import Rankings, measure, measured, run_of
from elasticranker.evaluation.journal import Journal
from elasticranker.evaluation.manifest import machine, today
from elasticranker.evaluation.measures import MEASURES, effectiveness, parse_measures, significance
from elasticranker.evaluation.systems import FULL, choose_baseline, claim, file_name, named_systems
from elasticranker.files import (
    atomic_write,
    locked,
    public_name,
    read_json,
    refuse_other_job,
    writable_folder,
    write_json,
)
from elasticranker.progress import bar, phase, shown
from elasticranker.runs import write_run

if TYPE_CHECKING:
    from elasticranker.collections import Collection
    from elasticranker.ranker import ElasticRanker

BUDGETS = (FULL, "50%", "25%", "10%", "5%")
COSTS = ("gflops_mean", "gflops_max", "ms_mean", "ms_p50", "ms_p95")


def run_tradeoff(
    collection: Collection,
    ranker: ElasticRanker,
    candidates: Candidates,
    *,
    output: str | Path,
    budgets: Sequence[str] = BUDGETS,
    name: str = "elastic",
    others: Mapping[str, ElasticRanker] | None = None,
    measures: Sequence[str] = MEASURES,
    baseline: str | None = None,
    rel: int | None = None,
    note: str = "",
    arguments: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Measure a reranker at several budgets; a killed measurement goes on where it was when called again.

    Args:
        collection: Where the candidates come from.
        ranker: The reranker, made with `trace=True`; every budget is a sibling of it.
        candidates: What to rerank, from `load_candidates`.
        output: Folder for results.csv, per_query.csv, runs/, tradeoff.png, report.md, manifest.json and the journal.
            Where it holds systems on the same candidates already, these are kept, and tell the results too.
        budgets: One system each; "100%" is the full model.
        name: What the ranker is called in the results: systems of another model need another.
        others: Rankers by name that are measured at the same budgets and in turn with it, so that times compare.
        measures: What is measured, as ir_measures writes it (see `parse_measures`).
        baseline: What every other system is tested against: the first stage ("bm25"), one of the budgets ("25%") or
            another system that is there ("elastic 25%"). Defaults to the full model, where it was measured.
        rel: Lowest label that counts as relevant. Defaults to the collection's own level.
        note: A sentence for the report, such as "reduced corpus: easier than the full one"; kept until another comes.
        arguments: What the user asked for, kept in the manifest.
        progress: Whether to show bars on standard error.

    Returns:
        The table of results.csv, one row for the first stage and one a system, with the columns `system`, `budget`, the
        measures, `COSTS` and `p <measure>` for each measure. Costs are per query that has candidates: 10^9 FLOPs, and
        milliseconds of the reranker alone. p is that of a paired t-test against the baseline, Holm-corrected over the
        systems.

    Raises:
        ValueError: A budget is unknown or comes twice, a measure or the baseline is unknown, the ranker doesn't trace,
            the first stage is called like one of ours, or `output` holds an experiment on other candidates, or another
            ranker under the same name.
        OSError: `output` cannot be written, or another process is writing it.

    Example:
        >>> collection = open_collection("python-docs")
        >>> run_tradeoff(collection, ElasticRanker(trace=True), load_candidates(collection), output="out")
    """
    systems = named_systems(ranker, budgets, name)
    for other, one in (others or {}).items():
        systems |= named_systems(one, budgets, other)
    if file_name(candidates.system) in map(file_name, systems):
        raise ValueError(
            f"the first stage is called {candidates.system!r}, like one of the systems measured here, and their runs "
            "would be mixed up: rename its run file"
        )
    rel = collection.relevance_level() if rel is None else rel
    parse_measures(measures, rel=rel)  # an unknown one is an error now
    job = _job(collection, ranker, candidates)
    folder = writable_folder(output)
    with locked(folder / "lock", busy=f"another process is writing {folder}; wait for it, or choose another --output"):
        journal, place = Journal(folder / "journal.jsonl"), folder / "manifest.json"
        manifest: dict[str, Any] = {"job": job, "systems": {}, "date": today(), "note": ""}
        if place.exists():
            manifest = read_json(place)
        refuse_other_job(manifest["job"], job, place=folder, remedy=f"delete {folder}, or choose another --output")
        known, queries = measured(journal), job["queries with candidates"]
        manifest["systems"] = {system: about for system, about in manifest["systems"].items() if system in known}
        claim(manifest["systems"], systems, folder)
        there = [system for system in manifest["systems"] if system in systems or len(known[system]) == queries]
        baseline = choose_baseline(baseline, [candidates.system, *there], name)
        evaluation = {"measures": list(measures), "baseline": baseline, "relevance level": rel}
        manifest |= {"evaluation": evaluation, "arguments": dict(arguments or {}), "note": note or manifest["note"]}
        write_json(place, manifest)
        measure(systems, candidates, journal, progress=progress)
        known = measured(journal)
        finished = {system: known[system] for system in there}
        manifest["measurement"] = _circumstances(finished, manifest)
        write_json(place, manifest)
        runs = {candidates.system: candidates.frame[["qid", "docno", "score", "rank"]]}
        runs |= {system: run_of(rankings, candidates) for system, rankings in finished.items()}
        with shown(progress):
            for system, run in bar(runs.items(), name="writing runs", unit="systems"):
                tag = file_name(system)
                write_run(writable_folder(folder / "runs") / f"{tag}.trec.gz", run, tag)
            per_query = {
                system: effectiveness(run, candidates.qrels, rel=rel, measures=measures)
                for system, run in bar(runs.items(), name="evaluating", unit="systems")
            }
            results = _table(candidates.system, finished, per_query, baseline)
            with phase("drawing"):
                title = f"{job['collection']}, {candidates.queries} queries"
                plots.draw_tradeoff(results, folder / "tradeoff.png", title=title, evaluation=evaluation)
        _write_csv(folder / "results.csv", results)
        _write_csv(folder / "per_query.csv", _per_query(finished, per_query))
        report.write_report(folder / "report.md", results, manifest)
    return results


def _job(collection: Collection, ranker: ElasticRanker, candidates: Candidates) -> dict[str, Any]:
    """What all systems of an experiment share, by the names that a refusal shows; times depend on the machine."""
    frame = candidates.frame
    return {
        "collection": public_name(collection.name),
        "queries": candidates.queries,
        "queries left out": candidates.left_out,
        "queries with candidates": int(frame["qid"].nunique()),
        "candidates": len(frame),
        "candidates fingerprint": candidates.fingerprint,
        "first stage": candidates.system,
        **machine(),
        **({"threads": ranker.threads} if ranker.threads is not None else {}),  # it may not be loaded yet
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


def _table(
    first_stage: str, finished: Mapping[str, Rankings], per_query: Mapping[str, pd.DataFrame], baseline: str | None
) -> pd.DataFrame:
    """One row a system: effectiveness over all judged queries, cost over those with candidates, tests."""
    tests = significance(per_query, baseline)
    rows: list[dict[str, Any]] = [{"system": first_stage, "budget": ""}]
    for system, rankings in finished.items():
        gflops = np.array([ranking["flops"] for ranking in rankings.values()]) / 1e9
        ms = np.array([ranking["ms"] for ranking in rankings.values()])
        row: dict[str, Any] = dict(zip(("system", "budget"), system.split(" ", 1), strict=True))
        row |= {"gflops_mean": gflops.mean(), "gflops_max": gflops.max(), "ms_mean": ms.mean()}
        rows.append(row | {"ms_p50": np.percentile(ms, 50), "ms_p95": np.percentile(ms, 95)})
    for system, row in zip([first_stage, *finished], rows, strict=True):
        row |= {**per_query[system].mean(), **tests.loc[system].add_prefix("p ")}
    columns = ["system", "budget", *tests.columns, *COSTS, *(f"p {measure}" for measure in tests.columns)]
    table = pd.DataFrame(rows, columns=columns)
    names = list(table["system"].unique())
    places = table["system"].map(names.index)
    return table.assign(place=places).sort_values(
        ["place", "gflops_mean"], ascending=[True, False], kind="stable", ignore_index=True
    )[columns]


def _per_query(finished: Mapping[str, Rankings], per_query: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """One row a query and system: every measure, 10^9 FLOPs and milliseconds (none where nothing was reranked)."""
    parts = []
    for system, values in per_query.items():
        costs = {qid: (made["flops"] / 1e9, made["ms"]) for qid, made in finished.get(system, {}).items()}
        beside = pd.DataFrame.from_dict(costs, orient="index", columns=["gflops", "ms"]).reindex(values.index)
        part = pd.concat([values, beside], axis=1)
        name, _, budget = system.partition(" ")
        part.insert(0, "system", name)
        part.insert(1, "budget", budget)
        parts.append(part)
    return pd.concat(parts).rename_axis("qid").reset_index()


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    with atomic_write(path) as file:
        file.write(table.to_csv(index=False).encode())
