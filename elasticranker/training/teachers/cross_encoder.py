"""Cross-encoders as teachers: the best scores, at the price of reading every pair."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from elasticranker.model.checkpoint import fingerprint
from elasticranker.model.loaded import Loaded, Settings
from elasticranker.training.data.array_cache import ArrayCache
from elasticranker.training.data.sources import Source, TrainingQuery
from elasticranker.training.origin import place_name


class CrossEncoderTeacher:
    """Any cross-encoder that this package runs, elastic checkpoints at full depth included.

    Choose it over a bi-encoder teacher where the best scores matter more than hours: a pair costs a forward pass, and
    it can't search for candidates of its own.

    Args:
        source: Hugging Face id or folder.
        max_length: most tokens of a pair; by default the model's own limit.
        max_query_length: most tokens of a query.
        device: where to run; by default a GPU where there is one.
        dtype: `auto`, `float32` or `bfloat16`.
        batch_size: tokens in a batch.
    """

    def __init__(
        self,
        source: str,
        *,
        max_length: int | None = None,
        max_query_length: int = 64,
        device: str | None = None,
        dtype: str = "auto",
        batch_size: int = 16384,
    ) -> None:
        self.name = place_name(source)
        self.loaded = Loaded(Settings(source, batch_size, max_length, max_query_length, device, dtype))
        limits = self.loaded.engine.pairs  # a model that can't be loaded is refused before long work
        self.identity = f"{fingerprint(source)} {limits.max_length} {limits.max_query_length} {dtype}"

    def read(self, source: Source, queries: Sequence[TrainingQuery], cache: ArrayCache) -> ReadPairs:
        """Nothing yet: pairs are scored when they are asked for. See `Teacher`."""
        return ReadPairs(self, source, queries, cache)


class ReadPairs:
    """`Reading` of a cross-encoder."""

    def __init__(
        self, teacher: CrossEncoderTeacher, source: Source, queries: Sequence[TrainingQuery], cache: ArrayCache
    ) -> None:
        self.teacher, self.source, self.queries, self.cache = teacher, source, queries, cache

    def nearest(self, rows: slice, count: int) -> np.ndarray:
        """None: it would have to read every pair."""
        return np.empty((len(self.queries[rows]), 0), dtype=np.int64)

    def vectors(self) -> None:
        """It has none."""
        return None

    def scores(self, rows: slice, documents: np.ndarray) -> np.ndarray:
        """The model's logits (of two labels, their difference)."""
        asked, texts = self.queries[rows], self.source.documents
        numbers = [documents[row][documents[row] >= 0].tolist() for row in range(len(asked))]
        made_from = [self.teacher.identity]
        for query, own in zip(asked, numbers, strict=True):
            made_from += [query.text, str(len(own)), *(texts[number] for number in own)]
        flat = self.cache.get(made_from, lambda: self._score(asked, numbers))
        scores = np.full(documents.shape, np.nan, dtype=np.float32)
        scores[documents >= 0] = flat
        return scores

    def _score(self, asked: Sequence[TrainingQuery], numbers: list[list[int]]) -> np.ndarray:
        """Scores of all pairs, one query's after another's."""
        engine = self.teacher.loaded.engine
        used = sorted({number for own in numbers for number in own})
        tokens = engine.pairs.tokens([self.source.documents[number] for number in used])
        documents = dict(zip(used, tokens, strict=True))
        queries = engine.pairs.queries([query.text for query in asked])
        pairs = [
            engine.pairs.pair(query, documents[number])
            for query, own in zip(queries, numbers, strict=True)
            for number in own
        ]
        scores = engine.every_exit(pairs, 1.0)[engine.encoder.shape.layers]
        return np.asarray(scores, dtype=np.float32)
