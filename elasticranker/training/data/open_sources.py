"""Training data by name: a folder, or an ir_datasets id, whose docpairs or qrels become groups.

This is the one part of training that needs pandas and, for BM25 and ir_datasets, their packages; it runs when data are
prepared, not when a model is trained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticranker.textfiles import find
from elasticranker.training.data.sources import Source, TrainingQuery, read_sources

if TYPE_CHECKING:
    from elasticranker.collections import Collection


def open_sources(
    name: str,
    *,
    negatives: str | None = None,
    k: int = 30,
    max_queries: int | None = None,
    rel: int | None = None,
) -> list[Source]:
    """The sources of that name.

    Args:
        name: a folder in the form of `elasticranker.training.data.sources`; `irds:<id>`; or a collection's folder
            (`corpus.tsv`, `queries.tsv`, `qrels.txt`).
        negatives: where a collection's candidates come from: `bm25`, the path of a run file, or `docpairs` (of an
            ir_datasets id). By default `docpairs` where the id has them and ends in "triples..." or has no qrels,
            `bm25` otherwise.
        k: candidates a query of a collection.
        max_queries: queries a source; the first ones.
        rel: lowest label of a positive; by default the collection's own level.

    Raises:
        ValueError: nothing to read, or a collection whose labels don't say which of them are relevant.

    Example:
        >>> open_sources("irds:msmarco-passage/train/triples-small", max_queries=20000)  # doctest: +SKIP
        >>> open_sources("irds:msmarco-passage/train/judged", negatives="bm25", k=30)  # doctest: +SKIP
    """
    folder = Path(name)
    if not name.startswith("irds:"):
        if not folder.is_dir():
            raise ValueError(f"no folder {name!r}: data are a folder, or irds: and an ir_datasets id")
        if find(folder / "corpus.tsv") is None:
            sources = read_sources(folder)
            for source in sources:
                source.queries = source.queries[:max_queries]
            return sources
    from elasticranker.collections import open_collection

    collection = open_collection(name)
    dataset = _dataset(name)
    if negatives is None:
        pairs = dataset is not None and dataset.has("docpairs")
        triples = name.split("/")[-1].startswith("triples")
        negatives = "docpairs" if pairs and dataset is not None and (triples or not dataset.has("qrels")) else "bm25"
    if negatives == "docpairs":
        if dataset is None or not dataset.has("docpairs"):
            raise ValueError(f"{name} has no docpairs: take the negatives from bm25 or from a run file")
        return [docpairs_source(collection, dataset.docpairs_iter(), k=k, max_queries=max_queries)]
    return [qrels_source(collection, negatives, k=k, max_queries=max_queries, rel=rel)]


def _dataset(name: str) -> Any:
    """The dataset of ir_datasets, or None for a folder."""
    if not name.startswith("irds:"):
        return None
    import ir_datasets

    return ir_datasets.load(name.removeprefix("irds:"))


def docpairs_source(collection: Collection, pairs: Iterable[Any], *, k: int, max_queries: int | None) -> Source:
    """A source of (query, positive, negative) triples.

    Args:
        collection: has the texts.
        pairs: in the form of ir_datasets: `query_id`, `doc_id_a` (the better one), `doc_id_b`. Reading ends when every
            wanted query has `k` negatives.
        k: the most negatives of a query.
        max_queries: the first so many queries.
    """
    positives: dict[str, dict[str, None]] = {}  # dictionaries as ordered sets
    negatives: dict[str, dict[str, None]] = {}
    unfilled = max_queries
    for pair in pairs:
        qid = pair.query_id
        if qid not in positives:
            if max_queries is not None and len(positives) == max_queries:
                continue
            positives[qid], negatives[qid] = {}, {}
        positives[qid][pair.doc_id_a] = None
        if len(negatives[qid]) < k and pair.doc_id_b not in negatives[qid]:
            negatives[qid][pair.doc_id_b] = None
            if len(negatives[qid]) == k and unfilled is not None:
                unfilled -= 1
                if not unfilled:
                    break
    return _source(collection, {qid: list(own) for qid, own in positives.items()}, negatives)


def qrels_source(
    collection: Collection, negatives: str, *, k: int, max_queries: int | None, rel: int | None = None
) -> Source:
    """A source of judged queries and the candidates of a first stage.

    Documents of a positive label below that of positives are neither positives nor negatives.

    Args:
        collection: has queries, qrels and texts.
        negatives: `bm25`, or a run file.
        k: candidates a query.
        max_queries: the first so many queries that have a positive.
        rel: lowest label of a positive; by default the collection's own level.
    """
    level = collection.relevance_level() if rel is None else rel
    qrels = collection.qrels()
    positives: dict[str, list[str]] = defaultdict(list)
    unclear: dict[str, set[str]] = defaultdict(set)
    for qid, docno, label in zip(qrels["qid"], qrels["docno"], qrels["label"], strict=True):
        if label >= level:
            positives[qid].append(docno)
        elif label > 0:
            unclear[qid].add(docno)
    queries = collection.queries()
    queries = queries[queries["qid"].isin(positives.keys())][:max_queries]
    if queries.empty:
        raise ValueError(f"{collection.name} has no query with a positive")
    if negatives == "bm25":
        from elasticranker.retrieval import bm25

        run = bm25(collection, k=k).transform(queries)
    else:
        from elasticranker.runs import read_run

        run = read_run(negatives)
    run = run[(run["rank"] < k) & run["qid"].isin(queries["qid"])].sort_values(["qid", "rank"])
    candidates: dict[str, list[str]] = defaultdict(list)
    for qid, docno in zip(run["qid"], run["docno"], strict=True):
        if docno not in unclear[qid]:
            candidates[qid].append(docno)
    return _source(collection, {qid: positives[qid] for qid in queries["qid"]}, candidates)


def _source(collection: Collection, positives: dict[str, list[str]], negatives: Any) -> Source:
    """A source of the queries of `positives`, with the texts of their documents alone."""
    wanted = {docno: None for qid, own in positives.items() for docno in (*own, *negatives.get(qid, ()))}
    texts = collection.texts(wanted)
    source = Source(collection.name.removeprefix("irds:") if ":" in collection.name else Path(collection.name).name)
    numbers: dict[str, int] = {}
    for docno in wanted:
        if docno in texts:
            numbers[docno] = len(source.documents)
            source.documents.append(texts[docno])
            source.docnos.append(docno)
    queries = collection.queries()
    for qid, text in zip(queries["qid"], queries["query"], strict=True):
        good = [numbers[docno] for docno in positives.get(qid, ()) if docno in numbers]
        others = [numbers[docno] for docno in negatives.get(qid, ()) if docno in numbers]
        if good:
            source.queries.append(TrainingQuery(text, good, [n for n in others if n not in good], qid=qid))
    return source
