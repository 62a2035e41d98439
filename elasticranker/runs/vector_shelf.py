"""Vectors of documents that were encoded so far, kept so that a process killed at any moment loses one part at most."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from elasticranker.files import read_json, write_json

VECTORS, DOCNOS, DONE = "vectors.f4", "docnos.jsonl", "done.json"


class VectorShelf:
    """Two files that only grow, and a third that says how much of them counts.

    Args:
        folder: where; it exists.
        dim: of the vectors.
    """

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder, self.dim = folder, dim
        done = read_json(folder / DONE) if (folder / DONE).exists() else {"documents": 0, "bytes of docnos": 0}
        self.documents: int = done["documents"]
        for name, size in ((VECTORS, 4 * dim * self.documents), (DOCNOS, done["bytes of docnos"])):
            with open(folder / name, "ab") as file:  # what was being written when the process was killed goes
                file.truncate(size)

    def add(self, docnos: Sequence[str], vectors: np.ndarray) -> None:
        """Keep the vectors `[n, dim]` of some more documents."""
        self._append(VECTORS, np.ascontiguousarray(vectors, dtype="<f4").tobytes())
        size = self._append(DOCNOS, "".join(f"{json.dumps(docno)}\n" for docno in docnos).encode())
        self.documents += len(docnos)
        write_json(self.folder / DONE, {"documents": self.documents, "bytes of docnos": size})

    def _append(self, name: str, content: bytes) -> int:
        """The file's size afterwards."""
        with open(self.folder / name, "ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            return file.tell()

    def records(self) -> Iterator[dict[str, Any]]:
        """Each document as an indexer takes it: `docno` and `doc_vec`."""
        shape = (self.documents, self.dim)
        vectors = np.memmap(self.folder / VECTORS, dtype="<f4", mode="r", shape=shape)
        with open(self.folder / DOCNOS, encoding="utf-8") as lines:
            for line, vector in zip(lines, vectors, strict=True):
                yield {"docno": json.loads(line), "doc_vec": np.asarray(vector)}
