"""Prepared training data: groups of one query and its scored candidates, small enough to carry to another machine.

A prepared folder has `texts.json.gz` (documents and queries), `groups.npz` (numbers, teacher scores, labels),
`prepared.json` (how it came to be) and, if asked for, `vectors.npz` (the teacher's vectors of all texts).
`elasticranker.training.preparing` writes it; numpy is enough to read it.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elasticranker.files import atomic_write, read_json, sha256, sha256_file, write_json

FORMAT = 1
TEXTS, NUMBERS, VECTORS, INFO = "texts.json.gz", "groups.npz", "vectors.npz", "prepared.json"
ARRAYS = ("source", "candidates", "scores", "labels", "held_out")


@dataclass
class Groups:
    """`n` queries with up to `c` candidates each.

    Attributes:
        documents: texts of all documents.
        queries: `n` query texts.
        sources: names of the sources.
        source: `[n]` position in `sources` of each query.
        candidates: `[n, c]` document numbers, -1 where there are fewer.
        scores: `[n, c]` the teacher's scores (float16).
        labels: `[n, c]` 1 positive, 0 negative, -1 not judged.
        held_out: `[n]` True for validation queries, never trained on.
        vectors: the teacher's unit vectors (float16) of queries `[n, H]` and documents `[d, H]`, or None.
    """

    documents: list[str]
    queries: list[str]
    sources: list[str]
    source: np.ndarray
    candidates: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray
    vectors: tuple[np.ndarray, np.ndarray] | None = None

    def save(self, folder: str | Path, info: dict[str, Any] | None = None) -> None:
        """Write the folder that `Groups.load` reads, with what `read_info` shall give."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / NUMBERS).unlink(missing_ok=True)  # written last: a folder without it isn't a prepared one
        write_json(folder / INFO, info or {})
        texts = {"format": FORMAT, "documents": self.documents, "queries": self.queries, "sources": self.sources}
        with atomic_write(folder / TEXTS) as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
            packed.write(json.dumps(texts, ensure_ascii=False).encode("utf-8", "replace"))
        (folder / VECTORS).unlink(missing_ok=True)
        if self.vectors is not None:
            queries, documents = self.vectors
            with atomic_write(folder / VECTORS) as file:
                np.savez(file, queries=queries, documents=documents)
        with atomic_write(folder / NUMBERS) as file:
            np.savez_compressed(file, **{name: getattr(self, name) for name in ARRAYS})

    @classmethod
    def load(cls, folder: str | Path) -> Groups:
        """Read a prepared folder.

        Raises:
            ValueError: the folder isn't a prepared one, or of another format.
        """
        folder = _prepared(folder)
        with gzip.open(folder / TEXTS, "rt", encoding="utf-8") as file:
            texts = json.load(file)
        if texts["format"] != FORMAT:
            raise ValueError(f"{folder}: format {texts['format']}, this version reads {FORMAT}: prepare it again")
        vectors = None
        if (folder / VECTORS).exists():
            with np.load(folder / VECTORS, allow_pickle=False) as arrays:
                vectors = arrays["queries"], arrays["documents"]
        with np.load(folder / NUMBERS, allow_pickle=False) as arrays:
            numbers = {name: arrays[name] for name in ARRAYS}
        return cls(texts["documents"], texts["queries"], texts["sources"], vectors=vectors, **numbers)

    def counts(self) -> dict[str, dict[str, int]]:
        """Queries of each source, how many of them are judged, and how many held out."""
        judged = (self.labels == 1).any(1)
        counts = {}
        for index, name in enumerate(self.sources):
            mine = self.source == index
            counts[name] = {
                "queries": int(mine.sum()),
                "judged": int((mine & judged).sum()),
                "held out": int((mine & self.held_out).sum()),
            }
        return counts

    def spread(self) -> float:
        """Median over queries of the standard deviation of the teacher's scores of one query's candidates."""
        scores = np.where(self.candidates >= 0, self.scores.astype(np.float32), np.nan)
        return float(np.nanmedian(np.nanstd(scores, axis=1)))


def is_prepared(folder: str | Path) -> bool:
    """Is it a prepared folder?"""
    return (Path(folder) / TEXTS).exists() and (Path(folder) / NUMBERS).exists()


def digest(folder: str | Path) -> str:
    """What identifies the data of a prepared folder.

    Raises:
        ValueError: the folder isn't a prepared one.
    """
    folder = _prepared(folder)
    files = [folder / name for name in (TEXTS, NUMBERS, VECTORS)]
    return sha256(*(sha256_file(path) for path in files if path.exists()))


def read_info(folder: str | Path) -> dict[str, Any]:
    """What was noted when a folder was prepared: `job`, `teacher`, `temperature`, ... Empty where nothing was."""
    path = Path(folder) / INFO
    return dict(read_json(path)) if path.exists() else {}


def _prepared(folder: str | Path) -> Path:
    if not is_prepared(folder):
        raise ValueError(f"{folder} is not a prepared folder: run `elasticranker prepare` first")
    return Path(folder)
