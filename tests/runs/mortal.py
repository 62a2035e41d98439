"""A collection whose reader dies: importable, so that other processes can have it too."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from elasticranker.collections.folder import Folder
from tests.backbones import WORDS
from tests.fakes import write_collection

QUERIES, DEPTH = 8, 6  # one query a part, if a part has DEPTH pairs
DOCNOS = [f"d{query}-{rank}" for query in range(QUERIES) for rank in range(DEPTH)]


@dataclass(frozen=True)
class MortalFolder(Folder):
    """A folder that notes who reads what, and kills the process that reads a certain document.

    Attributes:
        notes: folder for the notes: `reads` has a line for every look-up, of process id and first document.
        dies_at: reading this document kills the process, unless it is the one that made this folder.
        deaths: so often.
        maker: process that made this folder.
    """

    notes: Path = Path()
    dies_at: str = ""
    deaths: int = 1
    maker: int = 0

    def texts(self, docnos: Iterable[str]) -> dict[str, str]:
        docnos = list(docnos)
        if os.getpid() != self.maker:
            with open(self.notes / "reads", "a") as file:
                file.write(f"{os.getpid()} {docnos[0]}\n")
            if self.dies_at in docnos and len(list(self.notes.glob("death-*"))) < self.deaths:
                (self.notes / f"death-{os.getpid()}").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().texts(docnos)

    def reads(self) -> list[str]:
        """First documents of all look-ups in other processes, sorted."""
        file = self.notes / "reads"
        return sorted(line.split()[1] for line in file.read_text().splitlines()) if file.exists() else []


def mortal_folder(path: Path, **settings: object) -> MortalFolder:
    """A collection in `path` with a run `bm25.trec`, of words that the tiny checkpoints know."""
    queries = [(f"q{query}", f"{WORDS[query]} {WORDS[query + 9]}") for query in range(QUERIES)]
    docs = [
        (docno, " ".join(WORDS[(7 * place + 3 * step) % len(WORDS)] for step in range(2 + place % 17)))
        for place, docno in enumerate(DOCNOS)
    ]
    write_collection(path, queries, docs, [(qid, DOCNOS[0], 1) for qid, _ in queries])
    rows = [(place // DEPTH, place % DEPTH, docno) for place, docno in enumerate(DOCNOS)]
    (path / "bm25.trec").write_text(
        "".join(f"q{q} Q0 {docno} {rank + 1} {DEPTH - rank} t\n" for q, rank, docno in rows)
    )
    return MortalFolder(path, notes=path, maker=os.getpid(), **settings)  # type: ignore[arg-type]
