"""BM25 as a PyTerrier transformer, over either engine."""

import re
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pyterrier as pt

from elasticranker.collections import Collection
from elasticranker.encodable import encodable
from elasticranker.frames import check
from elasticranker.progress import bar, is_shown, shown
from elasticranker.retrieval.indexing import Engine, built_index

TOGETHER = 256  # queries given to the engine at once, between two moves of the bar


def bm25(collection: Collection, *, engine: Engine = "pisa", k: int = 100, verbose: bool = False) -> "BM25":
    """BM25 over a collection. Its index is built on the first call and kept in the cache folder.

    Args:
        collection: see `elasticranker.collections.open_collection`.
        engine: "pisa", or "terrier", which needs Java. Words are what both engines take for words in English: ASCII
            letters and digits.
        k: candidates a query.
        verbose: progress bars, while indexing and while searching.

    Raises:
        ValueError: an unknown engine, k below 1, a malformed corpus.
        RuntimeError: the engine failed to index, or Java is missing.

    Example:
        >>> pipeline = bm25(collection) >> collection.text_loader() >> ElasticRanker(budget="25%")  # doctest: +SKIP
    """
    if k < 1:
        raise ValueError(f"k={k}: a query needs room for at least 1 candidate")
    return BM25(built_index(collection, engine, verbose=verbose), engine=engine, k=k, verbose=verbose)


class BM25(pt.Transformer):
    """BM25 over an index that is there already; `bm25(collection)` builds one first.

    Choose it over the engines' own transformers because two of the same index and `k` are equal, so that PyTerrier runs
    them once for many pipelines, and because no query, however odd, makes it fail. The parameters are the engines'
    defaults: k1 = 0.9, b = 0.4 and Porter2 stemming in PISA; k1 = 1.2, b = 0.75 and Porter stemming in Terrier.
    """

    schematic: ClassVar[dict[str, Any]] = {"label": "BM25", "help_url": None}

    def __init__(self, index: Path, *, engine: Engine = "pisa", k: int = 100, verbose: bool = False) -> None:
        self.index = index
        self.engine = engine
        self.k = k
        self.verbose = verbose
        self._retriever: pt.Transformer | None = None

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """
        Args:
            inp: queries: qid, query.

        Returns:
            The columns of the queries and docno, score and rank (from 0), at most `k` rows a query, best first. A query
            without a word that the engine knows has no rows.

        Raises:
            ValueError: a row without a qid, or with a query that is not text; names column and row.
        """
        pt.validate.query_frame(inp, extra_columns=["query"], context=self)
        check(inp, names=["qid"], texts=["query"])
        askable = ASKABLE[self.engine]
        # The engine knows queries by their rows: qids may be of any type, or come twice.
        asked = pd.DataFrame({"qid": list(map(str, range(len(inp)))), "query": list(map(askable, inp["query"]))})
        asked = asked[asked["query"] != ""]
        if asked.empty:
            found = pd.DataFrame({"qid": [], "docno": [], "score": [], "rank": []})
        else:
            found = self._search(asked)[["qid", "docno", "score", "rank"]]
        found = found.astype({"qid": "int64", "docno": "str", "score": "float64", "rank": "int64"})
        found = found.sort_values(["qid", "rank"], ignore_index=True)
        queries = (
            inp.drop(columns=["docno", "score", "rank"], errors="ignore").iloc[found["qid"]].reset_index(drop=True)
        )
        return queries.assign(docno=found["docno"], score=found["score"], rank=found["rank"])

    def _search(self, asked: pd.DataFrame) -> pd.DataFrame:
        # There is no `_engine`: PyTerrier's inspection would take it for the value of the argument `engine`.
        if self._retriever is None:
            self._retriever = RETRIEVERS[self.engine](self.index, self.k)
        parts = []
        with shown(self.verbose or is_shown()), bar(name="searching", total=len(asked), unit="queries") as moving:
            for start in range(0, len(asked), TOGETHER):
                parts.append(self._retriever.transform(asked.iloc[start : start + TOGETHER]))
                moving.update(min(TOGETHER, len(asked) - start))
        return pd.concat(parts)

    def fuse_rank_cutoff(self, k: int) -> "BM25 | None":
        """For PyTerrier's `compile`: `bm25 % 10` need not find 100."""
        return BM25(self.index, engine=self.engine, k=k, verbose=self.verbose) if k < self.k else None

    def __repr__(self) -> str:
        return f"BM25({str(self.index)!r}, engine={self.engine!r}, k={self.k})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BM25) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


def pisa(index: Path, k: int) -> pt.Transformer:
    from pyterrier_pisa import PisaIndex

    return PisaIndex(str(index)).bm25(num_results=k)


def terrier(index: Path, k: int) -> pt.Transformer:
    return pt.terrier.Retriever(str(index.resolve()), wmodel="BM25", num_results=k)


def askable_of_pisa(query: str) -> str:
    """PISA splits queries as it does texts, but reads them as C strings: no NUL, no lone surrogates."""
    return encodable(query.replace("\0", " ")).strip()


def askable_of_terrier(query: str) -> str:
    """Terrier reads punctuation as query language: `+`, `-`, `^`, quotes, brackets and colons mean something to it."""
    return " ".join(re.findall(r"\w+", query.replace("_", " ")))


RETRIEVERS = {"pisa": pisa, "terrier": terrier}
ASKABLE = {"pisa": askable_of_pisa, "terrier": askable_of_terrier}
