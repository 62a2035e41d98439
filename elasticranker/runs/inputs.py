"""A run joined with its collection: query texts, document texts, and what is missing of either."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pandas as pd

from elasticranker.frames import as_text

if TYPE_CHECKING:
    from elasticranker.collections import Collection

LOOKUP = 50_000  # documents asked for at once while counting missing ones: a few tens of MB of text


def queries_of(collection: Collection) -> pd.DataFrame:
    """The collection's queries, each qid once.

    Raises:
        ValueError: A qid has two queries; nothing says which one a run means.
    """
    queries = collection.queries()
    twice = queries["qid"][queries["qid"].duplicated()]
    if len(twice):
        raise ValueError(f"{collection.name} has two queries of the qid {twice.iloc[0]!r}: leave one of them out")
    return queries


def with_queries(run: pd.DataFrame, collection: Collection) -> pd.DataFrame:
    """Add the column query to a run.

    Args:
        run: Columns qid, docno, score and rank, as `read_run` gives them.
        collection: Where the queries are.

    Raises:
        ValueError: The run is empty, or the collection has a qid twice.
        KeyError: The collection lacks queries of the run; the message counts them and names the first.
    """
    if run.empty:
        raise ValueError("the run holds no candidates: there is nothing to rerank")
    known = queries_of(collection)
    queries = dict(zip(known["qid"].tolist(), known["query"].tolist(), strict=True))
    qids = as_text(run, "qid")
    unknown = [qid for qid in dict.fromkeys(qids) if qid not in queries]
    if unknown:
        raise KeyError(
            f"{len(unknown)} of {len(set(qids))} queries of the run are not in the collection "
            f"{collection.name}: {_some(unknown)}; is this the right collection?"
        )
    return run.assign(query=[queries[qid] for qid in qids])[["qid", "query", "docno", "score", "rank"]]


def missing_documents(docnos: Iterable[str], collection: Collection) -> list[str]:
    """Distinct documents that the corpus lacks, in the order of `docnos`; the texts are not kept."""
    wanted = list(dict.fromkeys(docnos))
    missing: list[str] = []
    for start in range(0, len(wanted), LOOKUP):
        some = wanted[start : start + LOOKUP]
        found = collection.texts(some)
        missing += [docno for docno in some if docno not in found]
    return missing


def refuse_missing_documents(docnos: Iterable[str], collection: Collection) -> None:
    """Raise KeyError, with a count and the first names, if the corpus lacks documents."""
    missing = missing_documents(docnos, collection)
    if missing:
        raise KeyError(
            f"{len(missing)} documents of the run are not in the corpus of {collection.name}: {_some(missing)}; "
            "give the right --corpus, or leave them out with --skip-missing"
        )


def with_texts(frame: pd.DataFrame, collection: Collection, *, field: str = "text") -> pd.DataFrame:
    """Add the documents' texts as the column `field`; rows whose document the corpus lacks are left out."""
    docnos = as_text(frame, "docno")
    texts = collection.texts(dict.fromkeys(docnos))
    found = frame[[docno in texts for docno in docnos]]
    column = pd.Series([texts[docno] for docno in docnos if docno in texts], index=found.index, dtype=object)
    return found.assign(**{field: column})


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
