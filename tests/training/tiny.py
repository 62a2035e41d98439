"""A small made-up training source, a teacher that counts words, and settings for runs of seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from elasticranker.training.data.array_cache import ArrayCache
from elasticranker.training.data.groups import Groups
from elasticranker.training.data.sources import Source, TrainingQuery, read_sources
from elasticranker.training.preparing import PrepareSettings, prepare
from elasticranker.training.settings import TrainingSettings
from tests.backbones import WORDS

SETTINGS = {
    "steps": 6,
    "groups_per_step": 4,
    "group_size": 4,
    "max_length": 32,
    "max_query_length": 8,
    "widths": (1.0, 0.5),
    "warmup": 2,
    "importance_steps": 2,
    "average": 0.5,
    "learning_rate": 1e-3,
}


def settings(**changed: object) -> TrainingSettings:
    """Settings of a run that takes a second."""
    return TrainingSettings(**(SETTINGS | changed))  # type: ignore[arg-type]


def write_source(folder: Path, name: str = "made-up", *, documents: int = 60, queries: int = 40) -> Path:
    """A source whose queries are three words of their positive document, with two other documents as candidates."""
    random = np.random.default_rng(3)
    folder.mkdir(parents=True, exist_ok=True)
    texts = [" ".join(random.choice(WORDS, int(random.integers(6, 20)))) for _ in range(documents)]
    (folder / f"{name}.docs.tsv").write_text("".join(f"{number}\t{text}\n" for number, text in enumerate(texts)))
    with open(folder / f"{name}.queries.jsonl", "w") as file:
        for _ in range(queries):
            positive, *others = (int(number) for number in random.choice(documents, 3, replace=False))
            query = " ".join(random.choice(texts[positive].split(), 3))
            file.write(json.dumps({"query": query, "positive": [positive], "bm25": others}) + "\n")
    return folder


class OverlapTeacher:
    """Scores a pair by the share of the query's words that the document has; finds the best documents too."""

    name = "overlap"
    identity = "overlap 1"

    def __init__(self) -> None:
        self.read_sources: list[str] = []

    def read(self, source: Source, queries: Sequence[TrainingQuery], cache: ArrayCache) -> Overlap:
        self.read_sources.append(source.name)
        return Overlap(source, queries)


class Overlap:
    """What `OverlapTeacher` has read."""

    def __init__(self, source: Source, queries: Sequence[TrainingQuery]) -> None:
        words = [set(text.split()) for text in source.documents]
        asked = [query.text.split() for query in queries]
        self.matrix = np.asarray(
            [[np.mean([word in document for word in query]) for document in words] for query in asked], dtype=np.float32
        )

    def nearest(self, rows: slice, count: int) -> np.ndarray:
        return np.argsort(-self.matrix[rows], axis=1, kind="stable")[:, :count]

    def scores(self, rows: slice, documents: np.ndarray) -> np.ndarray:
        return np.take_along_axis(self.matrix[rows], np.maximum(documents, 0), 1)


def make_groups(folder: Path, **changed: object) -> Groups:
    """The source of `write_source`, prepared by `OverlapTeacher`."""
    sizes = {"candidates": 8, "teacher_candidates": 3, "random_candidates": 1, "held_out": 4}
    return prepare(
        read_sources(write_source(folder)),
        OverlapTeacher(),
        PrepareSettings(**(sizes | changed)),  # type: ignore[arg-type]
    )
