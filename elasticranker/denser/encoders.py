"""The transformers that an `ElasticDenser` makes: texts to vectors, and scores of pairs by their vectors.

They are pyterrier_dr's own kinds, so that whatever asks for one takes them. Rows are carried by position, equality
knows the budget, and empty frames load no weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import pandas as pd
import pyterrier as pt
from pyterrier_dr import BiDocEncoder, BiQueryEncoder, BiScorer, SimFn

from elasticranker.denser.remembering import Origin, remembering
from elasticranker.frames import check, in_incoming_order
from elasticranker.planning.subnet import SubNet


class Vectors(NamedTuple):
    """Unit vectors `[n, H]` of texts, the sub-network that made each, and its FLOPs."""

    vectors: np.ndarray
    subnets: list[SubNet]
    spend: list[int]


class Denser(Protocol):
    """What these transformers need of a denser."""

    text_field: str
    verbose: bool
    trace: bool

    @property
    def origin(self) -> Origin: ...

    def encoded(self, texts: Sequence[str], *, documents: bool, batch_size: int | None, verbose: bool) -> Vectors:
        """Vectors of texts."""

    def __hash__(self) -> int: ...


class _Encoder:
    """What queries' and documents' encoders have in common."""

    bi_encoder_model: Any
    verbose: bool
    batch_size: int | None
    column: ClassVar[str]
    documents: ClassVar[bool]

    def _encoded(self, inp: pd.DataFrame, field: str) -> pd.DataFrame:
        """The frame with the vectors of a column's texts, each distinct text encoded once."""
        denser: Denser = self.bi_encoder_model
        check(inp, names=[name for name in ("qid", "docno") if name in inp], texts=[field])
        texts = inp[field].tolist()
        distinct = list(dict.fromkeys(texts))
        made = None
        if distinct:
            made = denser.encoded(distinct, documents=self.documents, batch_size=self.batch_size, verbose=self.verbose)
        place = {text: number for number, text in enumerate(distinct)}
        rows = [place[text] for text in texts]
        vectors = pd.Series([made.vectors[row] for row in rows] if made else [], index=inp.index, dtype=object)
        result = inp.assign(**{self.column: vectors})
        if denser.trace and not self.documents:
            of_row = [(made.subnets[row], made.spend[row]) for row in rows] if made else []
            result = result.assign(
                exit_depth=pd.Series([subnet.depth for subnet, _ in of_row], index=inp.index, dtype="int64"),
                exit_width=pd.Series([subnet.width for subnet, _ in of_row], index=inp.index, dtype="float64"),
                spend=pd.Series([spend for _, spend in of_row], index=inp.index, dtype="int64"),
            )
        return result

    def _key(self) -> tuple[Any, ...]:
        return (type(self), self.bi_encoder_model, self.batch_size, getattr(self, "text_field", None))

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, _Encoder) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __rshift__(self, right: Any) -> pt.Transformer:
        return super().__rshift__(remembering(right, self.bi_encoder_model))  # type: ignore[misc, no-any-return]

    def encode(self, texts: Any, batch_size: int | None = None) -> np.ndarray:
        """Vectors `[n, H]` of texts."""
        encoded = self.bi_encoder_model.encoded(
            list(texts), documents=self.documents, batch_size=batch_size or self.batch_size, verbose=self.verbose
        )
        vectors: np.ndarray = encoded.vectors
        return vectors


class QueryEncoder(_Encoder, BiQueryEncoder):
    """Adds `query_vec` to queries: the on-line part, within the denser's budget."""

    schematic: ClassVar[dict[str, Any]] = {"label": "ElasticDenser", "help_url": None}
    column, documents = "query_vec", False

    def __init__(self, bi_encoder_model: Denser, *, verbose: bool | None = None, batch_size: int | None = None) -> None:
        self.bi_encoder_model = bi_encoder_model
        self.verbose = bi_encoder_model.verbose if verbose is None else verbose
        self.batch_size = batch_size

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """The same rows with `query_vec`, and what it cost where the denser traces."""
        with pt.validate.any(inp, context=self) as v:
            v.query_frame(extra_columns=["query"])
            v.columns(includes=["query"])
        return self._encoded(inp, "query")


class DocEncoder(_Encoder, BiDocEncoder):
    """Adds `doc_vec` to documents: the off-line part."""

    schematic: ClassVar[dict[str, Any]] = {"label": "ElasticDenser docs", "help_url": None}
    column, documents = "doc_vec", True

    def __init__(
        self,
        bi_encoder_model: Denser,
        *,
        verbose: bool | None = None,
        batch_size: int | None = None,
        text_field: str | None = None,
    ) -> None:
        self.bi_encoder_model = bi_encoder_model
        self.verbose = bi_encoder_model.verbose if verbose is None else verbose
        self.batch_size = batch_size
        self.text_field = text_field or bi_encoder_model.text_field

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """The same rows with `doc_vec`."""
        with pt.validate.any(inp, context=self) as v:
            v.document_frame(extra_columns=[self.text_field])
            v.columns(includes=[self.text_field])
        return self._encoded(inp, self.text_field)


def scorer_inputs(text_field: str) -> list[list[str]]:
    """What a frame may bring to be scored, the sets of columns that need least work first."""
    brought = [(query, text) for query in ("query_vec", "query") for text in ("doc_vec", text_field)]
    return [["qid", "docno", query, text] for query, text in brought]


class TextScorer(BiScorer):
    """Ranks candidates by the dot product of the two vectors, which are made where a frame hasn't got them.

    Choose `denser >> index.scorer()` where documents are indexed: this one encodes them, which costs far more.
    """

    schematic: ClassVar[dict[str, Any]] = {"label": "ElasticDenser", "help_url": None}

    def __init__(
        self,
        bi_encoder_model: Denser,
        *,
        verbose: bool | None = None,
        batch_size: int | None = None,
        text_field: str | None = None,
        sim_fn: SimFn | None = None,
    ) -> None:
        if sim_fn not in (None, SimFn.dot, SimFn.cos):
            raise ValueError(f"sim_fn={sim_fn!r}: vectors here have length 1, give SimFn.dot or SimFn.cos")
        self.bi_encoder_model = bi_encoder_model
        self.verbose = bi_encoder_model.verbose if verbose is None else verbose
        self.batch_size = batch_size
        self.text_field = text_field or bi_encoder_model.text_field
        self.sim_fn = sim_fn or SimFn.dot

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """The same rows, best first: `score` without ties, `rank` from 0."""
        with pt.validate.any(inp, context=self) as v:
            for columns in scorer_inputs(self.text_field):
                v.columns(includes=columns)
        how: dict[str, Any] = {"verbose": self.verbose, "batch_size": self.batch_size}
        if "query_vec" not in inp:
            inp = QueryEncoder(self.bi_encoder_model, **how)(inp)
        if "doc_vec" not in inp:
            inp = DocEncoder(self.bi_encoder_model, text_field=self.text_field, **how)(inp)
        if inp.empty:
            return inp.assign(score=pd.Series(dtype="float64"), rank=pd.Series(dtype="int64"))
        lists = in_incoming_order(inp)
        queries, documents = (np.stack(lists.frame[name].tolist()) for name in ("query_vec", "doc_vec"))
        scores = np.einsum("nh,nh->n", queries, documents, dtype=np.float64)
        return lists.by_score(scores).untied()

    def _key(self) -> tuple[Any, ...]:
        return (TextScorer, self.bi_encoder_model, self.batch_size, self.text_field, self.sim_fn)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, TextScorer) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())
