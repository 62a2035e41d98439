"""Teachers: whatever scores pairs that are taught. A model named by id or path, or a file of scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from elasticranker.training.data.array_cache import ArrayCache
from elasticranker.training.data.sources import Source, TrainingQuery


class Reading(Protocol):
    """A teacher that has read `n` queries and the documents of their source."""

    def nearest(self, rows: slice, count: int) -> np.ndarray:
        """`[r, count]` documents that the teacher finds best of all for the queries `rows`, in any order.

        `[r, 0]` where it can't search.
        """

    def scores(self, rows: slice, documents: np.ndarray) -> np.ndarray:
        """Scores `[r, c]` (float32) of the queries `rows` with `documents` `[r, c]`.

        Anything where `documents` is -1; NaN where the teacher has no score.
        """

    def vectors(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Unit vectors (float16) of the queries `[n, H]` and documents `[d, H]`; None where it has none."""


class Teacher(Protocol):
    """Whatever scores pairs.

    `name` is for people; `identity` changes whenever its scores would.
    """

    name: str
    identity: str

    def read(self, source: Source, queries: Sequence[TrainingQuery], cache: ArrayCache) -> Reading:
        """Read a source's documents and some queries; what takes long is kept in `cache`."""


def open_teacher(
    name: str,
    *,
    query_prefix: str | None = None,
    document_prefix: str | None = None,
    max_length: int | None = None,
    device: str | None = None,
    dtype: str = "auto",
) -> Teacher:
    """The teacher of that name.

    Args:
        name: a file of scores (or a folder of them, one a source), or a model's folder or Hugging Face id: a
            cross-encoder (`...ForSequenceClassification`), an elastic checkpoint, or else a bi-encoder.
        query_prefix: what a bi-encoder wants before queries; by default the prompt that it was saved with, or what E5
            wants, if "e5" is in its name.
        document_prefix: likewise, before documents.
        max_length: tokens kept of a bi-encoder's text (160, or its own limit where that is less), or of a
            cross-encoder's pair (its own limit).
        device: where a model runs; by default a GPU where there is one.
        dtype: `auto`, `float32` or `bfloat16`.

    Raises:
        ValueError: no such path, or not a model that can teach.
    """
    from elasticranker.model.checkpoint import is_elastic
    from elasticranker.model.huggingface import has_head

    path = Path(name)
    if path.is_file() or (path.is_dir() and not (path / "config.json").exists()):
        from elasticranker.training.teachers.scores import ScoreTeacher

        return ScoreTeacher(path)
    if is_elastic(name) or has_head(name):
        from elasticranker.training.teachers.cross_encoder import CrossEncoderTeacher

        return CrossEncoderTeacher(name, max_length=max_length, device=device, dtype=dtype)
    from elasticranker.model.loaded import choose_device, choose_dtype
    from elasticranker.training.teachers.bi_encoder import BiEncoderTeacher

    chosen = choose_device(device)
    return BiEncoderTeacher(
        name,
        query_prefix=query_prefix,
        document_prefix=document_prefix,
        max_length=max_length,
        device=str(chosen),
        dtype=choose_dtype(dtype, chosen),
    )
