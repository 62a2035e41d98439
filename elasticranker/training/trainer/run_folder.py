"""The folder of a training run: what resumes it, what it wrote on the way, and what it belongs to."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elasticranker.files import (
    atomic_write,
    locked,
    read_json,
    refuse_other_job,
    remove_abandoned,
    write_json,
    write_tensors,
)
from elasticranker.training.settings import TrainingSettings

STATE = "state.pt"


class RunFolder:
    """Files of a run, each whole or absent.

    `state.pt` (everything that the next step depends on), `log.jsonl` (a line every few steps), `best.safetensors` and
    `last.safetensors` (averaged weights), `settings.json` and `run.json` (what the run belongs to: another one is
    refused).

    Args:
        path: the folder.
        writes: False in all processes but the main one, which write nothing.
    """

    def __init__(self, path: str | Path, *, writes: bool = True) -> None:
        self.path, self.writes = Path(path), writes

    def claim(self, settings: TrainingSettings, identity: dict[str, str], *, resume: bool) -> None:
        """Make sure that the folder is this run's.

        Args:
            settings: of the run. Settings that a stored run doesn't know, since it is older, had their defaults.
            identity: what else fixes the trajectory, by readable names.
            resume: whether a state that is there may be gone on from.

        Raises:
            ValueError: it holds a run and `resume` is False, or the run is another one.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        stored, job = self.path / "settings.json", self.path / "run.json"
        if (self.path / STATE).exists():
            if not resume:
                raise ValueError(
                    f"{self.path} holds a training run: pass resume=True (--resume) or name another output"
                )
            before = json.loads(TrainingSettings().to_json()) | read_json(stored)
            here = json.loads(settings.to_json())
            refuse_other_job(before, here, place=stored, remedy="name another output (--output)")
            if job.exists():
                refuse_other_job(read_json(job), identity, place=self.path, remedy="name another output (--output)")
        if self.writes:
            remove_abandoned(self.path)
            with atomic_write(stored) as file:
                file.write(settings.to_json().encode())
            write_json(job, identity)

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from training here at the same time."""
        if not self.writes:
            return nullcontext()
        return locked(self.path / ".lock", busy=f"{self.path} is being trained in by another process")

    def save_state(self, state: dict[str, Any]) -> None:
        """Store what the next step depends on."""
        if self.writes:
            with atomic_write(self.path / STATE) as file:
                torch.save(state, file)

    def load_state(self, device: torch.device) -> dict[str, Any] | None:
        """What `save_state` stored, or None. Log lines of later steps, which will come again, are dropped."""
        path = self.path / STATE
        if not path.exists():
            self._cut_log(0)
            return None
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        self._cut_log(state["progress"]["step"])
        return state

    def save_weights(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Store weights as `<name>.safetensors`."""
        if self.writes:
            write_tensors(self.path / f"{name}.safetensors", tensors)

    def weights(self, *names: str) -> tuple[str, dict[str, Tensor]]:
        """Name and tensors of the first of some stored weights that is there."""
        from safetensors.torch import load_file

        for name in names:
            if (self.path / f"{name}.safetensors").exists():
                return name, load_file(self.path / f"{name}.safetensors")
        raise FileNotFoundError(f"{self.path} has no weights {' or '.join(names)}: train first")

    def log(self, **values: Any) -> None:
        """Add a line to `log.jsonl`."""
        if self.writes:
            with open(self.path / "log.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(values, allow_nan=False) + "\n")

    def _cut_log(self, step: int) -> None:
        log = self.path / "log.jsonl"
        if not self.writes or not log.exists():
            return
        lines = log.read_text(encoding="utf-8").splitlines()
        if lines and not lines[-1].endswith("}"):  # killed while it was written
            lines.pop()
        with atomic_write(log) as file:
            file.writelines(f"{line}\n".encode() for line in lines if json.loads(line)["step"] <= step)
