"""Several teachers as one: their scores standardised over a query's candidates, weighed and summed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from elasticranker.training.data.array_cache import ArrayCache
from elasticranker.training.data.sources import Source, TrainingQuery
from elasticranker.training.teachers.teacher import Reading, Teacher, open_teacher


def open_teachers(names: Sequence[str], weights: Sequence[float] | None = None, **options: Any) -> Teacher:
    """The teacher of that name, or the sum of several.

    Args:
        names: what `open_teacher` takes.
        weights: of several.
        options: of `open_teacher`; prefixes go with one name alone, since models differ in them.

    Raises:
        ValueError: as `open_teacher` and `SeveralTeachers`; or weights or prefixes that don't go with the names.
    """
    if len(names) == 1:
        if weights is not None:
            raise ValueError(f"weights={list(weights)} (--teacher-weights): there is one teacher, {names[0]}")
        return open_teacher(names[0], **options)
    if given := [name for name in ("query_prefix", "document_prefix") if options.get(name) is not None]:
        raise ValueError(
            f"{given[0]}={options[given[0]]!r}: of several teachers each has its own, told by its name; leave it out"
        )
    return SeveralTeachers([open_teacher(name, **options) for name in names], weights)


class SeveralTeachers:
    """The weighted sum of teachers, on the scale of the first one.

    Choose it where two teachers err differently: their sum orders a list better than either. Candidates are mined, and
    vectors kept, by the first alone.

    Args:
        teachers: at least two.
        weights: one each; by default all 1.

    Raises:
        ValueError: fewer than two teachers, or not a weight above 0 for each.

    Example:
        >>> both = open_teachers(["intfloat/e5-small-v2", "all-mpnet-base-v2"], [1.0, 0.5])  # doctest: +SKIP
    """

    def __init__(self, teachers: Sequence[Teacher], weights: Sequence[float] | None = None) -> None:
        self.teachers, self.weights = list(teachers), list(weights or [1.0] * len(teachers))
        if len(self.teachers) < 2:
            raise ValueError(f"{len(self.teachers)} teacher: a sum needs at least two")
        if len(self.weights) != len(self.teachers) or min(self.weights) <= 0:
            raise ValueError(
                f"weights={self.weights}: give one above 0 for each of the {len(self.teachers)} teachers "
                "(--teacher-weights)"
            )
        self.name = " + ".join(f"{w:g} {t.name}" for w, t in zip(self.weights, self.teachers, strict=True))
        self.identity = f"sum {self.weights} of {[teacher.identity for teacher in self.teachers]}"

    def read(self, source: Source, queries: Sequence[TrainingQuery], cache: ArrayCache) -> SummedReading:
        """Let all of them read; see `elasticranker.training.teachers.teacher.Teacher`."""
        return SummedReading([teacher.read(source, queries, cache) for teacher in self.teachers], self.weights)


class SummedReading:
    """`Reading` of several teachers."""

    def __init__(self, readings: Sequence[Reading], weights: Sequence[float]) -> None:
        self.readings, self.weights = readings, weights

    def nearest(self, rows: slice, count: int) -> np.ndarray:
        """What the first teacher finds."""
        return self.readings[0].nearest(rows, count)

    def scores(self, rows: slice, documents: np.ndarray) -> np.ndarray:
        """Standardised scores, summed, with the first teacher's mean and deviation; NaN where any has none."""
        each = [reading.scores(rows, documents) for reading in self.readings]
        there = documents >= 0
        for scores in each:
            there = there & np.isfinite(scores)
        standardised = [_standardised(scores, there) for scores in each]
        total = sum(weight * values for weight, (values, _, _) in zip(self.weights, standardised, strict=True))
        shape = _standardised(np.asarray(total), there)[0]
        _, mean, deviation = standardised[0]
        return np.where(there, mean + deviation * shape, np.nan).astype(np.float32)

    def vectors(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Those of the first teacher."""
        return self.readings[0].vectors()


def _standardised(scores: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows with mean 0 and deviation 1 over what is `there`; and their means and deviations `[r, 1]`."""
    count = np.maximum(there.sum(1, keepdims=True), 1)
    known = np.where(there, scores, 0.0)
    mean = known.sum(1, keepdims=True) / count
    centred = np.where(there, known - mean, 0.0)
    deviation = np.sqrt((centred**2).sum(1, keepdims=True) / count)
    return centred / np.where(deviation > 0, deviation, 1.0), mean, deviation
