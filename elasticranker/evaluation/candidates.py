"""What an experiment reranks: judged queries of a collection, and candidates for them."""

from __future__ import annotations

from collections.abc import Collection as Collection_
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
import pyterrier as pt

from elasticranker.files import sha256
from elasticranker.frames import as_text, in_incoming_order
from elasticranker.model.checkpoint import query_key
from elasticranker.runs import read_run
from elasticranker.runs.inputs import queries_of, refuse_missing_documents, with_queries, with_texts
from elasticranker.textfiles import plain_name

if TYPE_CHECKING:
    from elasticranker.collections import Collection


@dataclass(frozen=True)
class Candidates:
    """A first stage's output over the judged queries of a collection.

    Attributes:
        system: What the first stage is called in tables.
        frame: Columns qid, query, docno, score, rank and those of texts; queries in the collection's order.
        qrels: Columns qid, docno, label, of the judged queries only.
        queries: Number of judged queries, those without candidates included.
        left_out: Number of judged queries that were left out because the reranker was tuned on them.
    """

    system: str
    frame: pd.DataFrame
    qrels: pd.DataFrame
    queries: int
    left_out: int = 0

    @property
    def fingerprint(self) -> str:
        """Hash of everything that a measurement on these candidates depends on."""
        known = ("qid", "query", "docno")
        values = {str(column): self.frame[column].tolist() for column in self.frame.columns if column not in known}
        texts = sorted(column for column, cells in values.items() if all(isinstance(cell, str) for cell in cells))
        rows = self.frame[[*known, *texts]].itertuples(index=False, name=None)
        scores, labels = self.frame["score"].to_numpy(dtype="float64"), self.qrels.itertuples(index=False, name=None)
        return sha256(*(field for row in rows for field in row), scores.tobytes(), repr(list(labels)))


def load_candidates(
    collection: Collection,
    candidates: str = "bm25",
    *,
    k: int | None = None,
    queries: int | None = None,
    engine: Literal["pisa", "terrier"] = "pisa",
    skip_missing: bool = False,
    tuned_on: Collection_[str] = frozenset(),
    preferred: Collection_[str] = frozenset(),
) -> Candidates:
    """Gather candidates with their texts.

    Args:
        collection: Queries, qrels and documents.
        candidates: "bm25" to search for them; a run file; or the name of one of the collection's own runs, such as
            "scoreddocs".
        k: Keep at most so many candidates a query. Defaults to 100 for "bm25", to all for a run.
        queries: Take so many judged queries, evenly spaced through the collection. Defaults to all.
        engine: What searches for "bm25": "pisa" or "terrier".
        skip_missing: Leave out candidates that the corpus lacks, instead of refusing them.
        tuned_on: `query_key`s of queries to leave out before any are taken: those that the reranker was tuned on.
        preferred: `query_key`s of queries to take no others than, where the collection has any of them.

    Raises:
        ValueError: No query is judged, `queries` or `k` is below 1, or the run is malformed.
        KeyError: There is no such run, or queries or documents are missing from the collection.

    Example:
        >>> load_candidates(open_collection("trec-dl-2019"), "bm25.top100.trec").frame.head(1)
    """
    for name, value in (("queries", queries), ("k", k)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}: must be 1 or more")
    topics, qrels, left_out = judged(collection, queries, tuned_on, preferred)
    if candidates == "bm25":
        from elasticranker.retrieval import bm25

        found = bm25(collection, engine=engine, k=k or 100).transform(topics)
        system = "bm25"
    else:
        run, system = _run(collection, candidates)
        found = with_queries(run, collection)
    found = found[found["qid"].isin(topics["qid"])]
    if k is not None:
        found = found[found["rank"] < k]
    if not skip_missing:
        refuse_missing_documents(found["docno"], collection)
    place = {qid: position for position, qid in enumerate(topics["qid"])}
    found = found.iloc[np.lexsort((found["rank"].to_numpy(), [place[qid] for qid in found["qid"]]))]
    frame = with_texts(found[["qid", "query", "docno", "score", "rank"]], collection).reset_index(drop=True)
    if frame.empty:
        raise ValueError(f"{candidates} has no candidates for the judged queries of {collection.name}")
    return Candidates(system, frame, qrels, len(topics), left_out)


def candidates_of(
    front: pt.Transformer | pd.DataFrame,
    topics: pd.DataFrame,
    qrels: pd.DataFrame,
    *,
    tuned_on: Collection_[str] = frozenset(),
    name: str = "first-stage",
) -> Candidates:
    """What a first stage finds for topics that are at hand.

    Args:
        front: makes candidates with their texts, or is a frame of them; it is asked for judged topics only.
        topics: columns qid and query.
        qrels: columns qid, docno, label.
        tuned_on: `query_key`s of queries to leave out.
        name: what the first stage is called.

    Raises:
        KeyError: a column is missing.
        ValueError: no topic is judged, all were tuned on, or there are no candidates for them; or see `check`.
    """
    for what, frame, needed in (("topics", topics, ("qid", "query")), ("qrels", qrels, ("qid", "docno", "label"))):
        if missing := [column for column in needed if column not in frame]:
            raise KeyError(f"{what} lack the columns {missing} (they have {list(frame.columns)})")
    asked, qrels = topics.assign(qid=as_text(topics, "qid")), qrels.assign(qid=as_text(qrels, "qid"))
    asked, kept, left_out = _judged(asked, qrels, "these topics", tuned_on)
    found = front.transform(asked) if isinstance(front, pt.Transformer) else front
    if missing := [column for column in ("qid", "query", "docno") if column not in found]:
        raise KeyError(f"the candidates lack the columns {missing} (they have {list(found.columns)})")
    found = found.assign(qid=as_text(found, "qid"))
    frame = in_incoming_order(found[found["qid"].isin(asked["qid"])]).frame
    if frame.empty:
        raise ValueError("there are no candidates for the judged topics: do the qids of topics and qrels match?")
    if "score" not in frame:
        frame = frame.assign(score=-frame["rank"].astype(float))
    return Candidates(name, frame, kept, len(asked), left_out)


def judged(
    collection: Collection,
    queries: int | None = None,
    tuned_on: Collection_[str] = frozenset(),
    preferred: Collection_[str] = frozenset(),
) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    """Topics that have judgements, the judgements of those topics, and how many were left out as tuned on.

    Evenly spaced topics if only some are wanted.
    """
    return _judged(queries_of(collection), collection.qrels(), collection.name, tuned_on, preferred, queries)


def _judged(
    topics: pd.DataFrame,
    qrels: pd.DataFrame,
    name: str,
    tuned_on: Collection_[str],
    preferred: Collection_[str] = frozenset(),
    queries: int | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    topics = topics[topics["qid"].isin(qrels["qid"])]
    if topics.empty:
        raise ValueError(f"no query of {name} is judged: an experiment needs qrels")
    known = topics["query"].map(query_key).isin(tuned_on)
    topics = topics[~known]
    if topics.empty:
        raise ValueError(
            f"the checkpoint's ladder was tuned on every judged query of {name}: a result on them would mean nothing; "
            "name another collection"
        )
    wanted = topics["query"].map(query_key).isin(preferred)
    if wanted.any():
        topics = topics[wanted]
    if queries is not None and queries < len(topics):
        topics = topics.iloc[np.linspace(0, len(topics), queries, endpoint=False).astype(int)]
    kept = qrels[qrels["qid"].isin(topics["qid"])].reset_index(drop=True)
    return topics.reset_index(drop=True), kept, int(known.sum())


def _run(collection: Collection, candidates: str) -> tuple[pd.DataFrame, str]:
    """A run by file or by the collection's own name for it, and what to call it."""
    path = Path(candidates)
    run = read_run(path) if path.is_file() else collection.run(candidates)
    stem = plain_name(path.name).removesuffix(".trec")
    return run, "bm25" if "bm25" in stem.lower() else "-".join(stem.split())  # it becomes the tag of a run
