"""Several teachers as one: the sum orders, the first sets the scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from elasticranker.training.data.array_cache import ArrayCache
from elasticranker.training.data.sources import read_sources
from elasticranker.training.teachers.several import SeveralTeachers, SummedReading
from tests.training.tiny import OverlapTeacher, write_source


class Fixed:
    """A reading with these scores of documents 0, 1, 2, ..."""

    def __init__(self, scores: list[list[float]], vectors: bool = False) -> None:
        self.matrix, self.has_vectors = np.asarray(scores, dtype=np.float32), vectors

    def nearest(self, rows: slice, count: int) -> np.ndarray:
        return np.argsort(-self.matrix[rows], axis=1)[:, :count]

    def scores(self, rows: slice, documents: np.ndarray) -> np.ndarray:
        return np.take_along_axis(self.matrix[rows], np.maximum(documents, 0), 1)

    def vectors(self) -> tuple[np.ndarray, np.ndarray] | None:
        return (np.ones((1, 2)), np.ones((3, 2))) if self.has_vectors else None


def test_the_sum_of_standardised_scores_orders_and_the_first_sets_the_scale() -> None:
    first, second = [0.7, 0.8, 0.9], [30.0, -10.0, 10.0]
    made = SummedReading([Fixed([first]), Fixed([second])], [1.0, 2.0]).scores(slice(None), np.array([[0, 1, 2]]))[0]
    total = (np.array(first) - np.mean(first)) / np.std(first) + 2 * (np.array(second) - np.mean(second)) / np.std(
        second
    )
    assert np.argsort(made).tolist() == np.argsort(total).tolist()
    assert made.mean() == pytest.approx(0.8)
    assert made.std() == pytest.approx(np.std(first))


def test_what_one_of_them_cannot_score_is_not_scored() -> None:
    reading = SummedReading([Fixed([[0.1, 0.5, 0.9]]), Fixed([[1.0, np.nan, 3.0]])], [1.0, 1.0])
    assert np.isnan(reading.scores(slice(None), np.array([[0, 1, 2, -1]]))).tolist() == [[False, True, False, True]]


def test_equal_scores_say_nothing() -> None:
    reading = SummedReading([Fixed([[0.5, 0.5]]), Fixed([[1.0, 2.0]])], [1.0, 1.0])
    assert reading.scores(slice(None), np.array([[0, 1]])).tolist() == [[0.5, 0.5]]  # the first has no scale to give


def test_candidates_and_vectors_are_the_first_teachers() -> None:
    reading = SummedReading([Fixed([[0.1, 0.9]], vectors=True), Fixed([[2.0, 1.0]])], [1.0, 1.0])
    assert reading.nearest(slice(None), 1).tolist() == [[1]]
    assert reading.vectors() is not None


def test_it_teaches_as_one_does(tmp_path: Path) -> None:
    (source,) = read_sources(write_source(tmp_path))
    both = SeveralTeachers([OverlapTeacher(), OverlapTeacher()])
    documents = np.array([[0, 1, 2]] * len(source.queries))
    reading = both.read(source, source.queries, ArrayCache(None))
    alone = OverlapTeacher().read(source, source.queries, ArrayCache(None)).scores(slice(None), documents)
    np.testing.assert_allclose(reading.scores(slice(None), documents), alone, atol=1e-5)
    assert both.name == "1 overlap + 1 overlap"
    assert both.identity != SeveralTeachers([OverlapTeacher(), OverlapTeacher()], [1.0, 2.0]).identity


@pytest.mark.parametrize("weights", [[1.0], [1.0, 0.0], [1.0, 2.0, 3.0]])
def test_a_weight_for_each_is_asked_for(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="give one above 0 for each of the 2 teachers"):
        SeveralTeachers([OverlapTeacher(), OverlapTeacher()], weights)
