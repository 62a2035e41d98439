"""The trade-off: effectiveness against cost, one row a budget, beside the first stage.

Every query is reranked by every system in turn, in one process and in rotating order, so that a slow moment of the
machine falls on all of them alike; those timed calls are the runs that are evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from elasticranker.evaluation import plots, report
from elasticranker.evaluation.candidates import Candidates
from elasticranker.evaluation.interleaved import measure, measured_runs
from elasticranker.evaluation.journal import Journal
from elasticranker.evaluation.manifest import machine, today, versions
from elasticranker.evaluation.measures import MEASURES, TESTED, effectiveness, holm, paired_t
from elasticranker.files import atomic_write, locked, read_json, refuse_other_job, writable_folder, write_json
from elasticranker.runs import write_run

if TYPE_CHECKING:
    from elasticranker.collections import Collection
    from elasticranker.ranker import ElasticRanker

BUDGETS = ("100%", "50%", "25%", "10%", "5%")
COLUMNS = ("system", "budget", *MEASURES, "gflops_mean", "gflops_max", "ms_mean", "ms_p50", "ms_p95", "p_value")
FULL = "100%"


def run_tradeoff(
    collection: Collection,
    ranker: ElasticRanker,
    candidates: Candidates,
    *,
    output: str | Path,
    budgets: Sequence[str] = BUDGETS,
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
        output: Folder for results.csv, runs/, tradeoff.png, report.md, manifest.json and the journal.
        budgets: One system each; "100%" is the full model, which the others are tested against.
        rel: Lowest label that counts as relevant. Defaults to the collection's own level.
        note: A sentence for the report, such as "reduced corpus: easier than the full one".
        arguments: What the user asked for, kept in the manifest.
        progress: Whether to show a bar on standard error.

    Returns:
        The table of results.csv, columns as in `COLUMNS`, one row for the first stage and one a budget. Costs are per
        query that has candidates: 10^9 FLOPs, and milliseconds of the reranker alone. `p_value`: paired t-test on
        nDCG@10 against the full model, Holm-corrected over the table's rows.

    Raises:
        ValueError: A budget is unknown or comes twice, the ranker doesn't trace, the first stage is called like one of
            ours, or `output` holds another experiment.
        OSError: `output` cannot be written, or another process is writing it.

    Example:
        >>> collection = open_collection("python-docs")
        >>> run_tradeoff(collection, ElasticRanker(trace=True), load_candidates(collection), output="out")
    """
    systems = _systems(ranker, budgets)
    if candidates.system in map(system_name, systems):
        raise ValueError(
            f"the first stage is called {candidates.system!r}, like one of the systems measured here, and their runs "
            "would be mixed up: rename its run file"
        )
    rel = collection.relevance_level() if rel is None else rel
    job = _job(collection, ranker, candidates, list(systems), rel)
    folder = writable_folder(output)
    with locked(folder / "lock", busy=f"another process is writing {folder}; wait for it, or choose another --output"):
        journal, manifest = Journal(folder / "journal.jsonl"), folder / "manifest.json"
        if manifest.exists():
            remedy = f"delete {folder}, or choose another --output"
            refuse_other_job(read_json(manifest)["job"], job, place=folder, remedy=remedy)
        else:
            about = {"arguments": dict(arguments or {}), "note": note, "date": today(), "versions": versions()}
            write_json(manifest, {"job": job, **about})
        measure(systems, candidates, journal, progress=progress)
        entries = list(journal)
        measured = measured_runs(entries, candidates)
        runs = {candidates.system: candidates.frame[["qid", "docno", "score", "rank"]]}
        runs |= {system_name(budget): measured[budget] for budget in systems}
        per_query = {name: effectiveness(run, candidates.qrels, rel=rel) for name, run in runs.items()}
        results = _table(candidates, entries, per_query, list(systems))
        for system, run in runs.items():
            write_run(writable_folder(folder / "runs") / f"{system}.trec.gz", run, system)
        with atomic_write(folder / "results.csv") as file:
            file.write(results.to_csv(index=False).encode())
        name = Path(collection.name).name if Path(collection.name).is_dir() else collection.name
        title = f"{name}, {candidates.queries} queries"
        plots.draw_tradeoff(results, folder / "tradeoff.png", title=title, rel=rel)
        sittings = len({entry["sitting"] for entry in entries})
        report.write_report(folder / "report.md", results, read_json(manifest), sittings=sittings)
    return results


def system_name(budget: str) -> str:
    """Name of a budget's system in file names: "elastic-25pct", "elastic-20GFLOPs"."""
    return f"elastic-{budget}".replace("%", "pct").replace(" ", "")


def _systems(ranker: ElasticRanker, budgets: Sequence[str]) -> dict[str, ElasticRanker]:
    """Siblings of a ranker by budget, in the given order; a budget that isn't one is an error here, before any work."""
    siblings = [ranker.with_budget(budget) for budget in budgets]
    names = [FULL if sibling.budget.is_full else str(sibling.budget) for sibling in siblings]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"budgets={list(budgets)}: give one or more budgets, each of them once")
    return dict(zip(names, siblings, strict=True))


def _job(
    collection: Collection, ranker: ElasticRanker, candidates: Candidates, budgets: list[str], rel: int
) -> dict[str, Any]:
    """Everything that results depend on, times included, by the names that a refusal shows."""
    frame = candidates.frame
    return {
        "collection": collection.name,
        "queries": candidates.queries,
        "queries left out": candidates.left_out,
        "queries with candidates": int(frame["qid"].nunique()),
        "candidates": len(frame),
        "candidates fingerprint": candidates.fingerprint,
        "first stage": candidates.system,
        "budgets": budgets,
        "relevance level": rel,
        "checkpoint fingerprint": ranker.fingerprint,
        **report.ranker_settings(ranker),
        **machine(),
    }


def _table(
    candidates: Candidates, entries: list[dict[str, Any]], per_query: Mapping[str, pd.DataFrame], budgets: list[str]
) -> pd.DataFrame:
    """One row a system: effectiveness over all judged queries, cost over those with candidates, test against full."""
    rows: list[dict[str, Any]] = [{"system": candidates.system, "budget": "", **per_query[candidates.system].mean()}]
    for budget in budgets:
        gflops = np.array([entry["systems"][budget]["flops"] for entry in entries]) / 1e9
        ms = np.array([entry["systems"][budget]["ms"] for entry in entries])
        row: dict[str, Any] = {"system": "elastic", "budget": budget, **per_query[system_name(budget)].mean()}
        row |= {"gflops_mean": gflops.mean(), "gflops_max": gflops.max(), "ms_mean": ms.mean()}
        row |= {"ms_p50": np.percentile(ms, 50), "ms_p95": np.percentile(ms, 95)}
        rows.append(row)
    full = per_query.get(system_name(FULL))
    tests = [
        float("nan") if full is None or name == system_name(FULL) else paired_t(values[TESTED], full[TESTED])
        for name, values in per_query.items()
    ]
    return pd.DataFrame(rows).assign(p_value=holm(tests))[list(COLUMNS)]
