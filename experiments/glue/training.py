"""Fine-tuning on a task of GLUE: an elastic model, and models of one depth with the same steps."""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from elasticranker.files import read_json, refuse_other_job, write_json
from elasticranker.model.checkpoint import fingerprint
from elasticranker.model.configuration import read_config
from elasticranker.training.data.examples import Examples
from elasticranker.training.memory import keep_freed_memory
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.task_stage import TaskTrainer
from experiments.glue.tasks import Task

Say = Callable[[str], None]
SAVE_EVERY = 120.0  # seconds
STATE = "run"  # folder of a training that isn't finished


@dataclass(frozen=True)
class Recipe:
    """How every model of a task is trained.

    Attributes:
        backbone: Hugging Face id or folder of an encoder.
        sentences: most training examples of a task.
        epochs: passes over them; None for each task's own number.
        steps: instead of epochs.
        batch_size: examples a step.
        learning_rate: at its peak.
        self_distillation: share of imitating the whole model in the loss of every other sub-network.
        max_length: tokens of a text or pair; what is longer is cut.
        dtype: auto, float32 or bfloat16.
        seed: of every draw.
    """

    backbone: str
    sentences: int = 20_000
    epochs: int | None = None
    steps: int | None = None
    batch_size: int = 32
    learning_rate: float = 1e-4
    self_distillation: float = 0.5
    max_length: int = 160
    dtype: str = "auto"
    seed: int = 0

    def steps_of(self, task: Task, examples: int) -> int:
        """Steps of every model of a task."""
        return self.steps or -(-examples * (self.epochs or task.epochs) // self.batch_size)


@dataclass(frozen=True)
class System:
    """What is trained on a task.

    Attributes:
        name: of its folder.
        layers: of the backbone; None for all.
        elastic: whether every depth has an exit and widths are 1 and 0.5; else one exit, after the last layer.
    """

    name: str
    layers: int | None = None
    elastic: bool = False


ELASTIC = System("elastic", elastic=True)


def static(depth: int) -> System:
    """A model of one depth alone."""
    return System(f"static-{depth}", depth)


def settings_of(recipe: Recipe, task: Task, system: System, examples: int) -> TrainingSettings:
    """The trainer's settings; but for depths and widths the same for every system of a task.

    Raises:
        ValueError: the batch size isn't even.
    """
    if recipe.batch_size % 2:
        raise ValueError(f"batch_size={recipe.batch_size}: it must be even")
    steps = recipe.steps_of(task, examples)
    layers = system.layers or read_config(recipe.backbone).num_hidden_layers
    return TrainingSettings(
        steps=steps,
        learning_rate=recipe.learning_rate,
        warmup=max(1, steps // 10),
        groups_per_step=recipe.batch_size // 2,
        group_size=2,
        max_length=recipe.max_length,
        depths=() if system.elastic else (layers,),
        widths=(1.0, 0.5) if system.elastic else (1.0,),
        narrow_share=0.25,
        narrow_weight=1.0,
        self_distillation=recipe.self_distillation,
        seed=recipe.seed,
    )


def train_system(
    folder: Path, recipe: Recipe, task: Task, system: System, examples: Examples, *, say: Say = lambda line: None
) -> Path:
    """Train what isn't trained yet; a training that was killed goes on where it was.

    Args:
        folder: of the system; its `checkpoint` is there only when it is complete, with `training.json` beside it.
        recipe: how.
        task: on what.
        system: what.
        examples: the training examples.
        say: is told how long it took.

    Returns:
        The checkpoint's folder.

    Raises:
        ValueError: the folder holds a model that was trained in another way.
        KeyboardInterrupt: it was asked to stop by a signal, and saved its state.
    """
    made, facts = folder / "checkpoint", folder / "training.json"
    settings = settings_of(recipe, task, system, len(examples))
    job = _job(recipe, task, system, examples)
    if made.exists():
        refuse_other_job(read_json(facts)["job"], job, place=folder, remedy=f"delete {folder}")
    else:
        keep_freed_memory()
        say(f"{task.name}, {system.name}: {settings.steps} steps of {recipe.batch_size} of {len(examples)} examples")
        trainer = TaskTrainer(
            recipe.backbone,
            examples,
            folder / STATE,
            settings,
            layers=system.layers,
            resume=True,
            save_every=SAVE_EVERY,
            dtype=recipe.dtype,
        )
        trainer.train()
        if trainer.stopped is not None:
            raise KeyboardInterrupt
        done = trainer.progress
        write_json(
            facts, {"job": job, "steps": done.step, "seconds": round(done.seconds, 1), "examples": len(examples)}
        )
        os.replace(trainer.product, made)
        minutes, each = done.seconds / 60, done.seconds / done.step
        say(f"{task.name}, {system.name}: trained in {minutes:.1f} min ({each:.2f} s a step)")
    shutil.rmtree(folder / STATE, ignore_errors=True)
    return made


def seconds_a_step(recipe: Recipe, task: Task, system: System, examples: Examples, *, steps: int = 6) -> float:
    """Median time of a few steps on this machine; nothing is kept. The first two, which warm up, don't count."""
    ends: list[float] = []

    def stop(done: int) -> None:
        ends.append(time.monotonic())
        if done == steps + 2:
            raise _Enough

    keep_freed_memory()
    settings = settings_of(recipe, task, system, len(examples))
    options: dict[str, Any] = {"layers": system.layers, "dtype": recipe.dtype, "on_step": stop}
    with tempfile.TemporaryDirectory() as folder, suppress(_Enough):
        TaskTrainer(recipe.backbone, examples, Path(folder) / STATE, settings, **options).train()
    return statistics.median(after - before for before, after in pairwise(ends[1:]))


class _Enough(Exception):
    """Enough steps were timed."""


def _job(recipe: Recipe, task: Task, system: System, examples: Examples) -> dict[str, Any]:
    told = asdict(recipe) | {"backbone": fingerprint(recipe.backbone), "steps": recipe.steps_of(task, len(examples))}
    del told["epochs"], told["sentences"]  # steps and examples say it
    return told | {"system": asdict(system), "data": examples.digest()}
