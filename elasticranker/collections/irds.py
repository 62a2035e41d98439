"""Collections of ir_datasets."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from elasticranker.collections.base import Collection
from elasticranker.frames import in_incoming_order


class NoSuchPart(ValueError, FileNotFoundError):
    """A dataset without queries, qrels, docs or scoreddocs: as where a folder lacks the file."""


@dataclass(frozen=True)
class IrDataset(Collection):
    """A dataset of ir_datasets, which downloads it when it is first read, and keeps it.

    Attributes:
        id: as listed at https://ir-datasets.com, such as "msmarco-passage/trec-dl-2019/judged".
    """

    id: str

    def __post_init__(self) -> None:
        self._dataset()

    @property
    def name(self) -> str:
        return f"irds:{self.id}"

    def queries(self) -> pd.DataFrame:
        queries = [(query.query_id, query.default_text()) for query in self._part("queries").queries_iter()]
        return pd.DataFrame(queries, columns=["qid", "query"], dtype="str")

    def qrels(self) -> pd.DataFrame:
        qrels = [(q.query_id, q.doc_id, q.relevance) for q in self._part("qrels").qrels_iter()]
        return pd.DataFrame(qrels, columns=["qid", "docno", "label"]).astype(
            {"qid": "str", "docno": "str", "label": "int64"}
        )

    def label_meanings(self) -> dict[int, str]:
        return {int(label): " ".join(meaning.split()) for label, meaning in self._part("qrels").qrels_defs().items()}

    def corpus(self) -> Iterator[dict[str, str]]:
        for document in self._part("docs").docs_iter():
            yield {"docno": document.doc_id, "text": document.default_text()}

    def texts(self, docnos: Iterable[str]) -> dict[str, str]:
        documents = self._part("docs").docs_store().get_many(list(docnos))
        return {docno: document.default_text() for docno, document in documents.items()}

    def run(self, name: str) -> pd.DataFrame:
        """The candidates that come with the dataset, under the name "scoreddocs"; ties are in the dataset's order."""
        if name != "scoreddocs":
            raise ValueError(f"{self.name} has no run {name!r}; the candidates of a dataset are called 'scoreddocs'")
        rows = [(row.query_id, row.doc_id, row.score) for row in self._part("scoreddocs").scoreddocs_iter()]
        frame = pd.DataFrame(rows, columns=["qid", "docno", "score"])
        twice = frame[frame.duplicated(["qid", "docno"])]
        if len(twice):
            qid, docno = twice[["qid", "docno"]].iloc[0]
            raise ValueError(f"{self.name}: {docno} comes a second time for the query {qid} in its scoreddocs")
        return in_incoming_order(frame.astype({"qid": "str", "docno": "str", "score": "float64"})).frame

    def fingerprint(self) -> str:
        import ir_datasets

        self._part("docs")
        # a dataset does not change, and many of them share the documents of one
        return hashlib.sha256(ir_datasets.docs_parent_id(self.id).encode()).hexdigest()[:16]

    def _dataset(self) -> Any:
        import ir_datasets

        try:
            return ir_datasets.load(self.id)
        except KeyError:
            raise ValueError(
                f"ir_datasets {ir_datasets.__version__} has no dataset {self.id!r}; https://ir-datasets.com lists them"
            ) from None

    def _part(self, part: str) -> Any:
        """The dataset, once it is sure that it has queries, qrels, docs or scoreddocs."""
        dataset = self._dataset()
        if not dataset.has(part):
            raise NoSuchPart(f"{self.name} has no {part}; a subset of it may have: see https://ir-datasets.com")
        return dataset
