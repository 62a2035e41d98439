"""Indexes that remember who encoded their documents, so that vectors of two models never meet.

A `FlexIndex` holds vectors and nothing of where they come from. What is put together as `denser >> index` writes
`elasticranker.json` into the index while it is built, and reads it before it is searched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from pyterrier_dr import FlexIndex
from pyterrier_dr.flex.core import FlexIndexer

from elasticranker.files import read_json, write_json

NOTE = "elasticranker.json"


@dataclass(frozen=True)
class Origin:
    """Where the vectors of an index come from.

    Attributes:
        fingerprint: of the checkpoint.
        document_depth: layers that encoded the documents.
        document_width: share of each.
        dim: dimensions of the vectors.
    """

    fingerprint: str
    document_depth: int
    document_width: float
    dim: int


class HasOrigin(Protocol):
    """A denser, as far as an index cares."""

    @property
    def origin(self) -> Origin:
        """What its documents' vectors come from."""


def origin_of(index: FlexIndex) -> Origin | None:
    """What an index remembers; None where nobody noted it (another encoder's index, or none yet)."""
    path = Path(index.index_path) / NOTE
    return Origin(**read_json(path)) if path.exists() else None


def refuse_other_index(index: FlexIndex, denser: HasOrigin) -> None:
    """Refuse an index whose vectors aren't in the denser's space. One that isn't built yet passes.

    The documents' depth may differ: query depth and document depth combine freely.

    Raises:
        ValueError: the vectors have another dimension, or another checkpoint made them.
    """
    meta = Path(index.index_path) / "pt_meta.json"
    if not meta.exists():
        return
    ours, there = denser.origin, origin_of(index)
    size = read_json(meta)["vec_size"]
    if size is not None and size != ours.dim:
        raise ValueError(
            f"the vectors in {index.index_path} have {size} dimensions, this denser's have {ours.dim}: index again, "
            "or give the model (and dim) that made the index"
        )
    if there is not None and there.fingerprint != ours.fingerprint:
        raise ValueError(
            f"{index.index_path} was made by another checkpoint (fingerprint {there.fingerprint[:12]}, this one is "
            f"{ours.fingerprint[:12]}): index again, or give the model that made it"
        )


def remembering(right: Any, denser: HasOrigin) -> Any:
    """What stands right of a denser in a pipeline: an index gets a memory, whatever searches one is checked.

    Raises:
        ValueError: see `refuse_other_index`.
    """
    if isinstance(right, FlexIndexer) and not isinstance(right, RememberingIndexer):
        return RememberingIndexer(right._index, denser, mode=right.mode)
    if isinstance(right, FlexIndex):
        refuse_other_index(right, denser)
        return right if isinstance(right, RememberingIndex) else RememberingIndex(right, denser)
    searched = getattr(right, "flex_index", None)
    if isinstance(searched, FlexIndex):
        refuse_other_index(searched, denser)
    return right


class RememberingIndex(FlexIndex):  # type: ignore[misc]
    """A `FlexIndex` that notes who encoded its documents."""

    def __init__(self, index: FlexIndex, denser: HasOrigin) -> None:
        super().__init__(str(index.index_path), sim_fn=index.sim_fn, verbose=index.verbose)
        self._denser = denser

    def indexer(self, *, mode: Any = "create") -> RememberingIndexer:
        """Like `FlexIndex.indexer`."""
        return RememberingIndexer(self, self._denser, mode=mode)


class RememberingIndexer(FlexIndexer):  # type: ignore[misc]
    """Builds a `FlexIndex`, and notes who encoded its documents before it counts as built."""

    def __init__(self, index: FlexIndex, denser: HasOrigin, mode: Any = "create") -> None:
        super().__init__(index, mode=mode)
        self._denser = denser

    def index(self, inp: Iterable[dict[str, Any]]) -> FlexIndex:
        """Like `FlexIndexer.index`."""
        if hasattr(inp, "to_dict"):
            inp = inp.to_dict(orient="records")
        return super().index(self._noted(inp))

    def _noted(self, inp: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        yield from inp
        write_json(Path(self._index.index_path) / NOTE, asdict(self._denser.origin))
