"""`ElasticDenser`, the PyTerrier transformer: texts in, vectors out, within a budget a query."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
import pandas as pd
import pyterrier as pt
from pyterrier_dr import BiEncoder, SimFn

from elasticranker.denser.choosing import TYPICAL, Choice
from elasticranker.denser.encoders import DocEncoder, QueryEncoder, TextScorer, Vectors, scorer_inputs
from elasticranker.denser.remembering import Origin, refuse_other_index, remembering
from elasticranker.model.checkpoint import fingerprint
from elasticranker.model.dense import LoadedDense, refuse_dim, refuse_unfit, vectors_fingerprint
from elasticranker.model.hub import check_name, is_at_hand
from elasticranker.model.loaded import Settings
from elasticranker.planning.budget import Budget
from elasticranker.planning.plan import SubNet
from elasticranker.planning.words import in_words
from elasticranker.progress import bar, is_shown, phase, shown

if TYPE_CHECKING:
    import torch
    from pyterrier_dr import FlexIndex

    from elasticranker.model.checkpoint import Checkpoint
    from elasticranker.model.speed import SpeedProfile
    from elasticranker.model.texts import TextEncoder


class ElasticDenser(BiEncoder):  # type: ignore[misc]
    """Encodes queries and documents into one space, each query within a budget.

    Choose it over a plain bi-encoder wherever the query encoder is what costs on-line: documents are encoded once, by
    the whole model, and sub-networks of every size search that same index. Beside `ElasticRanker` it is the first
    stage. What works with a `pyterrier_dr.BiEncoder` works with it.

    As a transformer it does what the columns ask for: `query` gets `query_vec`, `docno` and text get `doc_vec`, and
    candidates with both are scored. Vectors have length 1, so that their dot product is the cosine.

    Example:
        >>> denser, index = ElasticDenser(budget="25%"), pyterrier_dr.FlexIndex("docs.flex")  # doctest: +SKIP
        >>> (denser.doc_encoder() >> index).index(collection.corpus())  # doctest: +SKIP
        >>> dense = denser >> index.np_retriever(num_results=100)  # doctest: +SKIP
        >>> dense >> collection.text_loader() >> ElasticRanker(budget="10%")  # doctest: +SKIP

    Args:
        model: `"default-dense"` (which ships for this), a folder, or an id on the Hugging Face hub: of an elastic
            checkpoint in split layout, such as the ranker's `"default"`, or of an ordinary bi-encoder (BERT, ELECTRA,
            RoBERTa families) that pools by the mean, which has full depth alone.
        budget: what encoding one query may cost, see `Budget`. A time is for a query alone, including tokenisation.
        doc_budget: a share of what encoding a document in full costs; all documents get the same sub-network.
        dim: keep the first so many dimensions, where the checkpoint was trained for it. By default all.
        text_field: column with the documents' texts.
        batch_size: padded tokens of a batch; memory grows with it, vectors don't depend on it.
        max_length: most tokens of a document; by default what the checkpoint names, else 512. Longer documents are cut
            and counted (`truncated`).
        max_query_length: most tokens of a query, prefix and special ones not counted. Longer ones are cut likewise.
        device: `"cpu"`, `"cuda"`, ...; by default a GPU where there is one.
        dtype: `"auto"` (bfloat16 where the processor has instructions for it, else float32), `"float32"`, `"bfloat16"`.
        threads: that compute, of the whole process, from when the model is loaded on.
        revision: branch, tag or commit of an id on the hub; by default its main branch.
        verbose: show bars.
        trace: add columns to queries: `exit_depth` and `exit_width` (the sub-network), and `spend` (its FLOPs).

    Raises:
        ValueError: an argument that makes no sense, or a model that isn't there or makes no vectors.
    """

    schematic: ClassVar[dict[str, Any]] = {"label": "ElasticDenser", "help_url": None}

    def __init__(
        self,
        model: str = "default-dense",
        *,
        budget: str | Budget = "full",
        doc_budget: str | Budget = "full",
        dim: int | None = None,
        text_field: str = "text",
        batch_size: int = 4096,
        max_length: int | None = None,
        max_query_length: int = 64,
        device: str | None = None,
        dtype: str = "auto",
        threads: int | None = None,
        revision: str | None = None,
        verbose: bool = False,
        trace: bool = False,
    ) -> None:
        super().__init__(batch_size=_positive("batch_size", batch_size), text_field=text_field, verbose=verbose)
        self.model = str(model)
        self.budget, self.doc_budget = Budget(budget), Budget(doc_budget)
        if self.doc_budget.kind != "share":
            raise ValueError(
                f"doc_budget={str(self.doc_budget)!r}: give a share, such as '50%', so that all documents of an index "
                "are encoded by one sub-network"
            )
        for name, value in (("dim", dim), ("max_length", max_length), ("threads", threads)):
            if value is not None:
                _positive(name, value)
        if dtype not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"dtype={dtype!r}: choose 'auto', 'float32' or 'bfloat16'")
        self.dim, self.max_length, self.threads, self.dtype = dim, max_length, threads, dtype
        self.max_query_length = _positive("max_query_length", max_query_length)
        self.device, self.revision, self.trace = device, revision, trace
        self.truncated = 0
        check_name(self.model, revision)
        refuse_unfit(self.model, dim)
        self._loaded = LoadedDense(
            Settings(self.model, batch_size, max_length, self.max_query_length, device, dtype, revision, threads)
        )

    @classmethod
    def from_pretrained(cls, model: str | Path, **arguments: Any) -> ElasticDenser:
        """The same as the constructor, under the name that Hugging Face users expect."""
        return cls(str(model), **arguments)

    def with_budget(self, budget: str | Budget) -> ElasticDenser:
        """A sibling with another budget for queries that shares the loaded weights, and searches the same index.

        Example:
            >>> half = denser.with_budget("50%")  # doctest: +SKIP
        """
        other = copy.copy(self)
        other.truncated = 0
        other.budget = Budget(budget)
        return other

    def warm_up(self) -> ElasticDenser:
        """Load the model and encode a made-up query, so that no real one pays for what happens but once.

        Returns:
            This denser.
        """
        with shown(self.verbose or is_shown()), phase(f"warming up at {self.budget}"):
            if self.budget.kind == "time":
                _ = self._loaded.speed
            self._run(["a", "a " * TYPICAL], documents=False)
        return self

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Score candidates that have a text (or `doc_vec`), else encode queries, else documents."""
        with pt.validate.any(inp, context=self) as v:
            for columns in scorer_inputs(self.text_field):
                v.columns(includes=columns, mode="text_scorer")
            v.query_frame(extra_columns=["query"], mode="query_encoder")
            v.columns(includes=["query"], mode="query_encoder")
            v.document_frame(extra_columns=[self.text_field], mode="doc_encoder")
            v.columns(includes=[self.text_field], mode="doc_encoder")
        made: pt.Transformer = getattr(self, v.mode)()
        return made.transform(inp)

    def query_encoder(self, verbose: bool | None = None, batch_size: int | None = None) -> QueryEncoder:
        """What adds `query_vec`."""
        return QueryEncoder(self, verbose=verbose, batch_size=batch_size)

    def doc_encoder(self, verbose: bool | None = None, batch_size: int | None = None) -> DocEncoder:
        """What adds `doc_vec`."""
        return DocEncoder(self, verbose=verbose, batch_size=batch_size)

    def text_scorer(
        self, verbose: bool | None = None, batch_size: int | None = None, sim_fn: SimFn | None = None
    ) -> TextScorer:
        """What ranks candidates by their texts."""
        return TextScorer(self, verbose=verbose, batch_size=batch_size, sim_fn=sim_fn)

    @property
    def sim_fn(self) -> SimFn:
        """Dot product, which is the cosine of vectors of length 1."""
        return SimFn.dot

    def __rshift__(self, right: Any) -> pt.Transformer:
        return super().__rshift__(remembering(right, self))

    def check_index(self, index: FlexIndex) -> None:
        """Refuse an index that can't be searched with this denser's vectors.

        `denser >> index...` does so by itself; call it where a pipeline is put together in another way.

        Raises:
            ValueError: its vectors have another dimension, or another checkpoint made them.
        """
        refuse_other_index(index, self)

    @property
    def fingerprint(self) -> str:
        """Digest of the checkpoint; equal fingerprints give equal vectors at every budget. Loads no weights."""
        return fingerprint(self.model, self.revision)

    @property
    def origin(self) -> Origin:
        """Where documents' vectors come from; an index remembers it. Tuning a checkpoint doesn't change it."""
        subnet = self.document_subnet
        return Origin(vectors_fingerprint(self.model, self.revision), subnet.depth, subnet.width, self._size)

    @property
    def checkpoint(self) -> Checkpoint:
        """The loaded checkpoint."""
        return self._loaded.checkpoint

    @property
    def speed(self) -> SpeedProfile:
        """How long encoding a query alone takes here; measured when it is first asked for (a second or two)."""
        with shown(self.verbose or is_shown()):
            return self._loaded.speed

    @property
    def subnets(self) -> pd.DataFrame:
        """What a budget chooses from, best first: `depth`, `width`, and of a query of 16 tokens `flops` and `share`."""
        return self._choice.table()

    @property
    def document_subnet(self) -> SubNet:
        """What encodes every document: the best within `doc_budget`, however long the document is."""
        return self._choice.for_documents(self.doc_budget)

    def full_cost(self, queries: pd.DataFrame) -> pd.Series:
        """FLOPs of the whole model on each row's query."""
        choice, rows = self._choice, self._loaded.queries.tokens(queries["query"].tolist()).rows
        prices = [choice.price(row, choice.full) for row in rows]
        return pd.Series(prices, index=queries.index, dtype="int64", name="full_cost")

    def encode_queries_torch(self, texts: Sequence[str], batch_size: int | None = None) -> torch.Tensor:
        """Unit vectors `[n, H]` of queries, without gradients."""
        import torch

        return torch.from_numpy(self.encode_queries(texts, batch_size))

    def encode_queries(self, texts: Sequence[str], batch_size: int | None = None) -> np.ndarray:
        """Unit vectors `[n, H]` (float32) of queries; `batch_size` in padded tokens."""
        return self.query_encoder(batch_size=batch_size).encode(texts)

    def encode_docs(self, texts: Sequence[str], batch_size: int | None = None) -> np.ndarray:
        """Unit vectors `[n, H]` (float32) of documents; `batch_size` in padded tokens."""
        return self.doc_encoder(batch_size=batch_size).encode(texts)

    def encode_with(self, subnet: SubNet, texts: Sequence[str]) -> Vectors:
        """Vectors of queries by a given sub-network, whatever the budget: for measuring."""
        lays_out = self._loaded.queries
        rows = lays_out.tokens(texts).rows
        vectors = self._loaded.engine.encode(rows, [subnet] * len(rows), lays_out, dim=self.dim)
        return Vectors(vectors, [subnet] * len(rows), [self._choice.price(row, subnet) for row in rows])

    def encoded(self, texts: Sequence[str], *, documents: bool, batch_size: int | None, verbose: bool) -> Vectors:
        """Vectors of texts, and what each cost."""
        with shown(verbose or is_shown()):
            return self._run(texts, documents=documents, batch_size=batch_size, hidden=not verbose)

    def _run(
        self, texts: Sequence[str], *, documents: bool, batch_size: int | None = None, hidden: bool = True
    ) -> Vectors:
        refuse_dim(self.dim, self.checkpoint.dense, self.checkpoint.encoder.shape.hidden)
        lays_out = self._loaded.documents if documents else self._loaded.queries
        rows, cut = lays_out.tokens(texts)
        self._count_cut(cut, lays_out)
        subnets = self._subnets(rows, documents)
        name = "encoding " + ("documents" if documents else "queries")
        with bar(name=name, total=len(rows), unit="texts", hidden=hidden) as moving:
            vectors = self._loaded.engine.encode(
                rows, subnets, lays_out, dim=self.dim, batch_size=batch_size, progress=moving.update
            )
        return Vectors(vectors, subnets, [self._choice.price(row, s) for row, s in zip(rows, subnets, strict=True)])

    def _subnets(self, rows: Sequence[np.ndarray], documents: bool) -> list[SubNet]:
        """What encodes each text; a budget that affords nothing is refused before any is."""
        if documents:
            return [self.document_subnet] * len(rows)
        choice = self._choice
        return [choice.for_query(row, self.budget) for row in rows]

    @property
    def _choice(self) -> Choice:
        return Choice(self._loaded)

    @property
    def _size(self) -> int:
        return self.dim or int(self.checkpoint.encoder.shape.hidden)

    def _count_cut(self, cut: int, lays_out: TextEncoder) -> None:
        if cut and not self._loaded.warned:
            self._loaded.warned = True
            warnings.warn(
                f"texts longer than {lays_out.limit} tokens (max_length={self.max_length}, "
                f"max_query_length={self.max_query_length}) are cut; `truncated` counts them",
                stacklevel=2,
            )
        self.truncated += cut

    def set_parameter(self, name: str, value: Any) -> None:
        """For PyTerrier's grid search: become the denser that this argument makes, with the weights where they stay."""
        made = cast(ElasticDenser, pt.inspect.transformer_apply_attributes(self, **{name: value}))
        if made._loaded.settings == self._loaded.settings:
            made._loaded = self._loaded
        self.__dict__.update(made.__dict__)

    def _key(self) -> tuple[Any, ...]:
        return (self._loaded.settings, self.budget, self.doc_budget, self.dim, self.text_field, self.trace)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, ElasticDenser) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"ElasticDenser({self.model!r}, budget={str(self.budget)!r})"

    def _repr_html_(self) -> str | None:
        from elasticranker.display.html import facts

        drawn = super()._repr_html_()
        return None if drawn is None else drawn + facts(self._facts())

    def _facts(self) -> dict[str, str]:
        """What a notebook shows under the schematic. Reads a checkpoint that is at hand, and never fetches one."""
        share = " a share of what the whole model takes" if self.budget.kind == "share" else ""
        budget = "full: the whole model" if self.budget.is_full else f"{self.budget}:{share} at most"
        known = {"model": self.model, "budget": f"{budget}, to encode a query", "dtype": self.dtype}
        if not (is_at_hand(self.model) or self._loaded.is_ready):
            return known | {"sub-networks": "known once the model is fetched, which the first use does"}
        choice = self._choice
        known["documents"] = f"{in_words(self.document_subnet)}, {self._size} dimensions"
        if self.budget.kind == "time":
            return known | {"queries": "by how fast this machine is, which the first use measures"}
        try:
            chosen = in_words(choice.for_query(np.zeros(TYPICAL), self.budget))
        except ValueError as error:  # a budget that affords nothing is told of, not raised where it is shown
            chosen = str(error)
        return known | {"queries": f"of {TYPICAL} tokens: {chosen}"}


def _positive(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{name}={value!r}: a whole number above 0")
    return value
