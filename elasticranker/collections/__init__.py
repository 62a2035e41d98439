"""Collections: documents, queries, relevance judgements and runs under one name."""

import os
from pathlib import Path

from elasticranker.collections.base import Collection
from elasticranker.collections.cache import build_once, cache_dir

__all__ = ["Collection", "build_once", "cache_dir", "open_collection"]


def open_collection(name: str | os.PathLike[str], *, corpus: str | os.PathLike[str] | None = None) -> Collection:
    """Open a collection by its name. None of its documents are read yet.

    Args:
        name: "python-docs", "irds:" and an ir_datasets id, or a folder with `corpus.tsv`, `queries.tsv` and `qrels.txt`
            (each plain, or compressed: `.gz`, `.bz2`, `.xz`).
        corpus: for a folder, a corpus that is elsewhere.

    Raises:
        FileNotFoundError: no such folder or corpus file.
        ValueError: no such dataset, `corpus` with a collection that has its own, or one in an unknown compressed form.

    Example:
        >>> open_collection("python-docs").queries().shape
        (100, 2)
    """
    name = os.fspath(name)
    if name != "python-docs" and not name.startswith("irds:"):
        from elasticranker.collections.folder import Folder

        return Folder(Path(name), Path(corpus) if corpus is not None else None)
    if corpus is not None:
        raise ValueError(f"{name} has its own documents: corpus= (--corpus) goes with a folder")
    if name == "python-docs":
        from elasticranker.collections.python_docs import PythonDocs

        return PythonDocs()
    from elasticranker.collections.irds import IrDataset

    return IrDataset(name.removeprefix("irds:"))
