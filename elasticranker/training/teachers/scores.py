"""A teacher whose scores somebody has computed before: run files, or tab-separated ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from elasticranker.files import sha256, sha256_file
from elasticranker.textfiles import find, read_lines
from elasticranker.training.data.array_cache import ArrayCache
from elasticranker.training.data.sources import Source, TrainingQuery

ENDINGS = (".tsv", ".trec", ".txt", ".run")


class ScoreTeacher:
    """Scores in files: a pair a line, `qid docno score` or the six fields of a TREC run, plain or gzip.

    Choose it where a model that this package can't run (a large language model, a service) scored the pairs. Pairs
    without a score aren't trained on.

    Args:
        path: a file, for data of one source; or a folder with a file for each source, `<source>.tsv[.gz]` or
            `<source>.trec[.gz]` (a "/" in a source's name is "-" there).
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.name = self.path.name
        self._read_for: str | None = None
        files = sorted(p for p in self.path.iterdir() if p.is_file()) if self.path.is_dir() else [self.path]
        self.identity = sha256(*(part for file in files for part in (file.name, sha256_file(file))))

    def read(self, source: Source, queries: Sequence[TrainingQuery], cache: ArrayCache) -> StoredScores:
        """The scores of a source; see `elasticranker.training.teachers.teacher.Teacher`.

        Raises:
            ValueError: there are none, one file is to score two sources, or a line is malformed.
        """
        if self.path.is_dir():
            stem = source.name.replace("/", "-")
            found = filter(None, (find(self.path / f"{stem}{ending}") for ending in ENDINGS))
            file = next(found, None)
            if file is None:
                raise ValueError(f"{self.path} has no scores for the source {source.name}: add {stem}.tsv")
            return StoredScores(read_scores(file), source, queries)
        if self._read_for not in (None, source.name):
            raise ValueError(
                f"{self.path} is one file of scores, but the data has the sources {self._read_for} and {source.name}: "
                "give a folder with a file for each"
            )
        self._read_for = source.name
        return StoredScores(read_scores(self.path), source, queries)


class StoredScores:
    """`Reading` of stored scores."""

    def __init__(self, scores: dict[str, dict[str, float]], source: Source, queries: Sequence[TrainingQuery]) -> None:
        self.stored, self.source, self.queries = scores, source, queries

    def nearest(self, rows: slice, count: int) -> np.ndarray:
        """None: files can't be searched."""
        return np.empty((len(self.queries[rows]), 0), dtype=np.int64)

    def vectors(self) -> None:
        """It has none."""
        return None

    def scores(self, rows: slice, documents: np.ndarray) -> np.ndarray:
        """The stored scores, NaN where there is none."""
        found = np.full(documents.shape, np.nan, dtype=np.float32)
        for row, query in enumerate(self.queries[rows]):
            stored = self.stored.get(query.qid, {})
            for column in np.flatnonzero(documents[row] >= 0):
                found[row, column] = stored.get(self.source.docno(int(documents[row, column])), np.nan)
        return found


def read_scores(path: Path) -> dict[str, dict[str, float]]:
    """Scores by query and document.

    Raises:
        ValueError: a malformed line; its file and number are named.
    """
    scores: dict[str, dict[str, float]] = {}
    for number, line in read_lines(path):
        fields = line.split("\t") if line.count("\t") == 2 else line.split()
        try:
            qid, docno, text = (fields[0], fields[2], fields[4]) if len(fields) == 6 else fields
            score = float(text)
        except ValueError:
            score = math.nan
        if not math.isfinite(score):
            raise ValueError(f"{path}:{number}: expected `qid docno score` or the six fields of a run: {line[:80]!r}")
        scores.setdefault(qid.strip(), {})[docno.strip()] = score
    return scores
