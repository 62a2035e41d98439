"""Arrays that took long to compute, kept on disk by what they were computed from."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from elasticranker.files import atomic_write, sha256


class ArrayCache:
    """A folder of arrays, so that work that was killed goes on where it was.

    Args:
        folder: where; None keeps nothing.

    Example:
        >>> cache = ArrayCache(None)
        >>> cache.get(["teacher", "some text"], lambda: np.ones(2))
        array([1., 1.])
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = Path(folder) if folder is not None else None

    def get(self, made_from: list[str], make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array that was made from those texts before, or else `make()`.

        Args:
            made_from: everything that fixes the array.
            make: computes it.
        """
        if self.folder is None:
            return make()
        path = self.folder / f"{sha256(*(text.encode('utf-8', 'replace') for text in made_from))[:32]}.npy"
        if path.exists():
            return np.asarray(np.load(path, allow_pickle=False))
        array = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as file:
            np.save(file, array, allow_pickle=False)
        return array

    def clear(self) -> None:
        """Forget everything."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
