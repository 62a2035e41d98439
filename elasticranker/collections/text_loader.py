"""The transformer that puts documents' texts beside their docnos."""

import warnings
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import pandas as pd
import pyterrier as pt

from elasticranker.frames import NAMES, as_text, check


class Texts(Protocol):
    """What the loader asks of a collection."""

    @property
    def name(self) -> str:
        """For messages."""

    def texts(self, docnos: Iterable[str]) -> dict[str, str]:
        """The texts of those documents that are there."""


class TextLoader(pt.Transformer):
    """Adds a column with the text of each row's document.

    Made by `collection.text_loader()`. Choose it over `pt.text.get_text(dataset)` when the documents are in a
    `Collection`: it reads folders, and it tells which documents are missing before any of them is scored.
    """

    schematic: ClassVar[dict[str, Any]] = {"label": "TextLoader", "help_url": None}

    def __init__(self, collection: Texts, *, field: str = "text", skip_missing: bool = False) -> None:
        """
        Args:
            collection: where the texts are.
            field: the column to add, or to replace.
            skip_missing: drop the rows of documents that the collection hasn't, with a warning, instead of failing.
        """
        self.collection = collection
        self.field = field
        self.skip_missing = skip_missing

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """
        Args:
            inp: a frame with a docno column.

        Returns:
            The same rows in the same order, with the text column.

        Raises:
            KeyError: documents that the collection hasn't; counts them and names the first few.
            ValueError: a row without a docno, or one that is neither text nor a whole number; names the row.
        """
        pt.validate.columns(inp, includes=["docno"], context=self)
        check(inp, names=[name for name in NAMES if name in inp], others=[self.field])
        docnos = as_text(inp, "docno")
        wanted = list(dict.fromkeys(docnos))
        texts = self.collection.texts(wanted) if wanted else {}
        missing = [docno for docno in wanted if docno not in texts]
        if missing:
            complaint = (
                f"{len(missing):,} of {len(wanted):,} documents are not in {self.collection.name}: "
                f"{', '.join(map(repr, missing[:5]))}{', ...' if len(missing) > 5 else ''}"
            )
            if not self.skip_missing:
                raise KeyError(f"{complaint}. Is it the right corpus? skip_missing=True (--skip-missing) drops them")
            warnings.warn(f"{complaint}; dropped", stacklevel=2)
            inp = inp[[docno in texts for docno in docnos]].reset_index(drop=True)
        found = [texts[docno] for docno in docnos if docno in texts]
        column = pd.Series(found, index=inp.index, dtype=object)
        return inp.assign(**{self.field: column})

    def __repr__(self) -> str:
        return f"TextLoader({self.collection!r}, field={self.field!r}, skip_missing={self.skip_missing})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TextLoader) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))
