"""Results of an experiment query by query, so that a killed one goes on where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """A file of JSON lines that is only ever appended to. A line torn by a kill is cut off when it is opened again.

    Args:
        path: The file; it is made at the first entry.

    Example:
        >>> journal = Journal("out/journal.jsonl")
        >>> journal.append({"qid": "q1", "ms": 12.5})
        >>> [entry["qid"] for entry in journal]
        ['q1']
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.exists():
            data = self.path.read_bytes()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                os.truncate(self.path, whole)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if self.path.exists():
            with open(self.path, encoding="utf-8") as file:
                for number, line in enumerate(file, start=1):
                    try:
                        yield json.loads(line)
                    except ValueError as error:
                        raise ValueError(
                            f"{self.path}, line {number}: damaged ({error}); delete the file to start over"
                        ) from error

    def append(self, entry: dict[str, Any]) -> None:
        """Add an entry and see it onto the disk.

        Raises:
            ValueError: it holds NaN or an infinity, which JSON doesn't know.
        """
        line = json.dumps(entry, allow_nan=False)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
            file.flush()
            os.fsync(file.fileno())
