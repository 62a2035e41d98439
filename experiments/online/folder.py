"""The folder of an online experiment: `simulate` and `load` write into one, so that figure and report show both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from elasticranker.evaluation.manifest import PACKAGES, machine, today, versions
from elasticranker.evaluation.systems import ranker_settings
from elasticranker.files import (
    atomic_write,
    locked,
    public_name,
    read_json,
    refuse_other_job,
    writable_folder,
    write_json,
)

if TYPE_CHECKING:
    from elasticranker.collections import Collection
    from elasticranker.evaluation.candidates import Candidates
    from elasticranker.ranker import ElasticRanker

RUNGS, SIMULATED, REPLICAS, MEASURED = "rungs.csv", "simulated.csv", "replicas.csv", "measured.csv"


@dataclass(frozen=True)
class Job:
    """What both parts of the experiment are about.

    Attributes:
        collection: where the candidates come from.
        ranker: made with `trace=True`.
        candidates: what is reranked.
        shares: the ladder's budgets, rising, the last 1.
        rel: lowest relevant label.
        note: a sentence for the report.
    """

    collection: Collection
    ranker: ElasticRanker
    candidates: Candidates
    shares: tuple[float, ...]
    rel: int
    note: str = ""

    def describe(self) -> dict[str, Any]:
        """Everything that results depend on, by the names that a refusal shows."""
        frame = self.candidates.frame
        return {
            "collection": public_name(self.collection.name),
            "queries with candidates": int(frame["qid"].nunique()),
            "candidates": len(frame),
            "candidates fingerprint": self.candidates.fingerprint,
            "first stage": self.candidates.system,
            "rungs": list(self.shares),
            "relevance level": self.rel,
            "checkpoint fingerprint": self.ranker.fingerprint,
            **ranker_settings(self.ranker),
            **machine(),
        }


class ResultsFolder:
    """Tables by file name, and one manifest with a section for each part."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def manifest(self) -> dict[str, Any]:
        """What manifest.json holds."""
        manifest: dict[str, Any] = read_json(self.path / "manifest.json")
        return manifest

    def note(self, part: str, facts: Mapping[str, Any]) -> None:
        """Put a part's arguments and findings into the manifest."""
        write_json(self.path / "manifest.json", self.manifest | {part: {"date": today(), **facts}})

    def write(self, name: str, table: pd.DataFrame) -> None:
        """Keep a table as a CSV file."""
        with atomic_write(self.path / name) as file:
            file.write(table.to_csv(index=False).encode())

    def read(self, name: str) -> pd.DataFrame:
        """A table that was kept; empty where there is none yet."""
        path = self.path / name
        return pd.read_csv(path) if path.exists() else pd.DataFrame()


@contextmanager
def opened(output: str | Path, job: Job) -> Iterator[ResultsFolder]:
    """Hold a results folder: make it, or go on in it where it is about the same job.

    Raises:
        ValueError: it holds another experiment.
        OSError: it cannot be written, or another process is writing it.
    """
    path, about = writable_folder(output), job.describe()
    with locked(path / "lock", busy=f"another process is writing {path}; wait for it, or choose another --output"):
        manifest = path / "manifest.json"
        known = {"note": job.note, "versions": versions((*PACKAGES, "simpy", "fastapi", "uvicorn", "httpx"))}
        if manifest.exists():
            there = read_json(manifest)
            remedy = f"delete {path}, or choose another --output"
            refuse_other_job(there["job"], about, place=path, remedy=remedy)
            known = there | known
        write_json(manifest, known | {"job": about})
        yield ResultsFolder(path)


def ladder_shares(ranker: ElasticRanker) -> tuple[float, ...]:
    """The budgets that the server's schedule chooses from: the ladder's, and full."""
    rungs: Sequence[Any] = ranker.checkpoint.plans().rungs
    return tuple(sorted({rung.share for rung in rungs} | {1.0}))
