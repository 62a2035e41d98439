"""What every collection can do, wherever its documents are."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator

import pandas as pd

from elasticranker.collections.text_loader import TextLoader


class Collection(ABC):
    """Documents, queries, relevance judgements and runs under one name. Opened by `open_collection`.

    Collections are values: two that were opened in the same way are equal. Opening one reads none of its documents.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What `open_collection` takes to open it again."""

    @abstractmethod
    def queries(self) -> pd.DataFrame:
        """Columns qid and query."""

    @abstractmethod
    def qrels(self) -> pd.DataFrame:
        """Columns qid, docno and label (int)."""

    @abstractmethod
    def corpus(self) -> Iterator[dict[str, str]]:
        """Stream the documents as dictionaries of docno and text."""

    @abstractmethod
    def texts(self, docnos: Iterable[str]) -> dict[str, str]:
        """The texts of the documents asked for; those that the collection hasn't are left out."""

    @abstractmethod
    def run(self, name: str) -> pd.DataFrame:
        """Columns qid, docno, score and rank (from 0) of a run that comes with the collection.

        Raises:
            ValueError: no such run; names those there are.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """A short text, fit for a file name, that changes whenever the documents may have changed."""

    def label_meanings(self) -> dict[int, str]:
        """What each label of the judgements means; nothing where that isn't documented."""
        return {}

    def relevance_level(self) -> int:
        """The lowest label that counts as relevant: 2 where the labels go up to 3 (TREC Deep Learning), else 1.

        Raises:
            ValueError: no label is 0 or less, so that every judged document would count: somebody has to say which do.
        """
        labels, meanings = set(self.qrels()["label"].tolist()), self.label_meanings()
        known = sorted(labels | meanings.keys())
        if len(known) > 1 and known[0] > 0:
            documented = "".join(f"\n  {label}: {meaning}" for label, meaning in sorted(meanings.items()))
            raise ValueError(
                f"the labels of {self.name} are {', '.join(map(str, known))}, and none says that a document is not "
                f"relevant: give the lowest label that counts as relevant (--rel K, rel=K){documented}"
            )
        return 2 if max(labels, default=0) == 3 else 1

    def text_loader(self, field: str = "text", *, verbose: bool = False, skip_missing: bool = False) -> TextLoader:
        """A transformer that adds the documents' texts to a frame.

        Args:
            field: the column to add ("*", which `pt.text.get_text` passes, is "text").
            verbose: for `pt.text.get_text`, which passes it; look-ups are quick and show no progress.
            skip_missing: drop the rows of documents that the collection hasn't, instead of a `KeyError`.

        Example:
            >>> pipeline = bm25 >> collection.text_loader() >> ElasticRanker(budget="25%")  # doctest: +SKIP
        """
        return TextLoader(self, field="text" if field == "*" else field, skip_missing=skip_missing)
