"""Runs, effectiveness and times of dense systems on one collection; whatever is done is kept in the folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyterrier_dr import FlexIndex

from elasticranker.evaluation.manifest import machine, today, versions
from elasticranker.evaluation.measures import effectiveness
from elasticranker.files import locked, public_name, read_json, refuse_other_job, sha256, writable_folder, write_json
from elasticranker.progress import bar
from elasticranker.retrieval import bm25
from elasticranker.runs.dense_index import dense_index
from elasticranker.runs.inputs import queries_of
from elasticranker.runs.scoring import computed_in
from elasticranker.trec import read_run, write_run
from experiments.dense.answers import DEPTHS, answers_of, recall
from experiments.dense.systems import System

if TYPE_CHECKING:
    from elasticranker.collections import Collection
    from elasticranker.denser import ElasticDenser

K = 100  # documents a query
MEASURES = ("nDCG@10", "RR@10", "R@100")
TIMED, WARMED = 100, 5  # queries, one at a time
FIRST = "BM25"


def run_dense(
    collection: Collection, systems: Sequence[System], output: str | Path, *, queries: int | None = None, note: str = ""
) -> pd.DataFrame:
    """Measure systems on a collection; killed at any moment, the same call goes on where it was.

    Args:
        collection: with answers, or with qrels.
        systems: what is compared, the reference (100 %) among them: the deepest of the first one's kind.
        output: folder for runs and results; indexes are in the cache folder, where collections of one corpus share
            them.
        queries: so many of them, evenly spaced; by default all that have answers or judgements.
        note: a sentence for the report.

    Returns:
        One row a system: `system`, `kind`, `depth`, `mflops`, `ms_encode`, `ms_search` and the measures.

    Raises:
        ValueError: nothing to measure by, or the folder holds another experiment.
    """
    folder = writable_folder(output)
    answers = answers_of(collection)
    asked = _asked(collection, answers, queries)
    job = {
        "collection": public_name(collection.name),
        "collection fingerprint": collection.fingerprint(),
        "queries (sha256)": sha256(*asked["qid"], *asked["query"]),
        "systems": {system.name: system.denser.fingerprint for system in systems},
        "dtype": computed_in(systems[0].denser),
    }
    with locked(folder / "lock", busy=f"another process is writing {folder}; wait for it, or choose another --output"):
        manifest = folder / "manifest.json"
        if manifest.exists():
            remedy = f"delete {folder}, or choose another --output"
            refuse_other_job(read_json(manifest)["job"], job, place=folder, remedy=remedy)
        about = {"job": job, "queries": len(asked), "note": note, "answers": bool(answers), **machine()}
        write_json(manifest, about | {"date": today(), "versions": versions()})
        indexes = {system.documents: dense_index(collection, system.documents, verbose=True) for system in systems}
        runs = _runs(collection, systems, indexes, asked, folder)
        times = _times(systems, indexes, asked, folder)
        figures = _effectiveness(collection, runs, asked, answers)
        results = pd.DataFrame([{**_row(system), **times[system.name]} for system in systems])
        results = pd.concat([pd.DataFrame([{"system": FIRST, "kind": FIRST}]), results], ignore_index=True)
        results = results.join(figures, on="system")
    return results


def _asked(collection: Collection, answers: Mapping[str, Any], count: int | None) -> pd.DataFrame:
    known = queries_of(collection)
    wanted = set(answers) or set(collection.qrels()["qid"])
    asked = known[known["qid"].isin(wanted)].reset_index(drop=True)
    if asked.empty:
        raise ValueError(f"{collection.name} has no query with answers or judgements: nothing to measure by")
    rows = np.linspace(0, len(asked) - 1, min(count or len(asked), len(asked))).astype(int)
    return asked.iloc[rows].reset_index(drop=True)


def _runs(
    collection: Collection,
    systems: Sequence[System],
    indexes: Mapping[ElasticDenser, FlexIndex],
    asked: pd.DataFrame,
    folder: Path,
) -> dict[str, pd.DataFrame]:
    """The run of every system; one that is there isn't made again."""
    runs = {}
    (folder / "runs").mkdir(exist_ok=True)
    for name, system in [(FIRST, None), *((system.name, system) for system in systems)]:
        path = folder / "runs" / f"{name.replace(' ', '-')}.trec.gz"
        if not path.exists():
            if system is None:
                found = bm25(collection, k=K).transform(asked)
            else:
                made = system.denser.encode_with(system.subnet, asked["query"].tolist())
                index = indexes[system.documents]
                found = index.np_retriever(num_results=K)(asked.assign(query_vec=list(made.vectors)))
            write_run(path, found[["qid", "docno", "score", "rank"]], name.replace(" ", "-"))
        runs[name] = read_run(path)
    return runs


def _effectiveness(
    collection: Collection, runs: Mapping[str, pd.DataFrame], asked: pd.DataFrame, answers: Mapping[str, Any]
) -> pd.DataFrame:
    """Means over the queries, a row a system."""
    qids = set(asked["qid"])
    if answers:
        texts = collection.texts({docno for run in runs.values() for docno in run["docno"]})
        wanted = {qid: answers[qid] for qid in asked["qid"]}
        return pd.DataFrame({name: recall(run, wanted, texts).mean() for name, run in runs.items()}).T
    qrels = collection.qrels()
    qrels, rel = qrels[qrels["qid"].isin(qids)], collection.relevance_level()
    figures = {
        name: effectiveness(run[run["qid"].isin(qids)], qrels, rel=rel, measures=MEASURES).mean()
        for name, run in runs.items()
    }
    return pd.DataFrame(figures).T


def measures_of(results: pd.DataFrame) -> list[str]:
    """The measures of a table: by judgements, or by answer string."""
    by_answer = [f"R@{depth}" for depth in DEPTHS]
    return list(MEASURES) if MEASURES[0] in results.columns else by_answer


def _row(system: System) -> dict[str, Any]:
    return {"system": system.name, "kind": system.kind, "depth": system.depth}


def _times(
    systems: Sequence[System], indexes: Mapping[ElasticDenser, FlexIndex], asked: pd.DataFrame, folder: Path
) -> dict[str, dict[str, float]]:
    """FLOPs of all queries on average; and the median time of one at a time, the systems in turn, after a warm-up."""
    path = folder / "times.json"
    if path.exists():
        known: dict[str, dict[str, float]] = read_json(path)
        return known
    texts = asked["query"].tolist()
    timed = texts[:: -(-len(texts) // TIMED)]
    spent: dict[str, list[tuple[float, float]]] = {system.name: [] for system in systems}
    retrievers = {denser: index.np_retriever(num_results=K) for denser, index in indexes.items()}
    for number, text in enumerate(bar([*timed[:WARMED], *timed], name="timing", unit="queries")):
        for system in systems:
            started = time.perf_counter()
            made = system.denser.encode_with(system.subnet, [text])
            encoded = time.perf_counter()
            retrievers[system.documents](pd.DataFrame({"qid": ["1"], "query": [text], "query_vec": list(made.vectors)}))
            if number >= len(timed[:WARMED]):
                spent[system.name].append((encoded - started, time.perf_counter() - encoded))
    times = {}
    for system in systems:
        encode, search = np.median(np.asarray(spent[system.name]), axis=0) * 1e3
        flops = np.mean(system.denser.encode_with(system.subnet, texts).spend)
        times[system.name] = {"mflops": float(flops) / 1e6, "ms_encode": float(encode), "ms_search": float(search)}
    write_json(path, times)
    return times
