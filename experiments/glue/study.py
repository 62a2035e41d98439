"""The study of elastic encoders on GLUE: what is trained, what is measured, and what is kept of it.

Everything is kept in the output folder task by task and system by system, so that a killed study goes on where it was
with the same command.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from elasticranker.evaluation.manifest import PACKAGES, today, versions
from elasticranker.files import atomic_write, locked, public_name, read_json, writable_folder, write_json
from experiments.glue import report
from experiments.glue.measuring import measure_task
from experiments.glue.tasks import TRAIN, Task, check_extra, read_task
from experiments.glue.training import (
    ELASTIC,
    Recipe,
    Say,
    System,
    seconds_a_step,
    settings_of,
    static,
    train_system,
)

DEPTHS = (3, 6)  # of the models that are trained alone


def systems(depths: Sequence[int]) -> list[System]:
    """The elastic model, and one of each depth alone."""
    return [ELASTIC, *(static(depth) for depth in depths)]


def run_training(
    data: str | Path,
    tasks: Sequence[Task],
    *,
    output: str | Path,
    recipe: Recipe,
    depths: Sequence[int] = DEPTHS,
    say: Say = lambda line: None,
) -> None:
    """Train what isn't trained yet, task by task.

    Args:
        data: folder with GLUE's tasks.
        tasks: which of them.
        output: folder for models and results.
        recipe: how.
        depths: of the models that are trained alone, with the same steps.
        say: is told what is trained, and how long it took.

    Raises:
        ValueError: files are missing, or the folder holds models that were trained in another way.
        KeyboardInterrupt: a signal came; the same call goes on.
        OSError: `output` can't be written, or another process writes in it.
    """
    examples = {task.name: read_task(data, task, TRAIN, recipe.sentences, seed=recipe.seed) for task in tasks}
    for task in tasks:
        for system in systems(depths):
            settings_of(recipe, task, system, len(examples[task.name]))  # refuses before long work starts
    folder = writable_folder(output)
    with _alone(folder):
        for task in tasks:
            begun = time.monotonic()
            for system in systems(depths):
                place = folder / task.name / system.name
                train_system(place, recipe, task, system, examples[task.name], say=say)
            say(f"{task.name}: {(time.monotonic() - begun) / 60:.1f} min in this sitting")


def run_report(
    data: str | Path,
    tasks: Sequence[Task],
    *,
    output: str | Path,
    depths: Sequence[int] = DEPTHS,
    timed: int = 100,
    note: str = "",
    say: Say = lambda line: None,
) -> pd.DataFrame:
    """Measure what isn't measured yet, and write table, figure and report.

    Args:
        data: folder with GLUE's tasks.
        tasks: which of them; all of their systems must be trained.
        output: folder that `run_training` filled.
        depths: of the models that were trained alone.
        timed: examples of each task whose time is taken.
        note: a sentence for the report.
        say: is told what was measured.

    Returns:
        The table of results.csv: see `measure_task`.

    Raises:
        ValueError: a model isn't trained yet, or times were begun on another machine.
        ImportError: scikit-learn isn't installed.
    """
    check_extra()
    folder = Path(output)
    reported = {task.name: read_task(data, task, task.reported) for task in tasks}
    places = {
        task.name: {s.name: folder / task.name / s.name / "checkpoint" for s in systems(depths)} for task in tasks
    }
    lacking = [f"{task} {name}" for task, of in places.items() for name, place in of.items() if not place.exists()]
    if lacking:
        raise ValueError(f"{folder} has no trained {', '.join(lacking)}: run `python -m experiments.glue train` first")
    with _alone(folder):
        tables, about = [], {}
        for task in tasks:
            begun, examples = time.monotonic(), reported[task.name]
            tables.append(measure_task(folder / task.name, task, places[task.name], examples, timed=timed))
            say(f"{task.name}: measured in {time.monotonic() - begun:.0f} s")
            about[task.name] = _about(folder, task, places[task.name], len(examples))
        results = pd.concat(tables, ignore_index=True)
        manifest = {
            "tasks": about,
            "measured on": read_json(folder / tasks[0].name / "machine.json"),
            "timed": timed,
            "note": note,
            "date": today(),
            "versions": versions((*PACKAGES, "scikit-learn")),
        }
        with atomic_write(folder / "results.csv") as file:
            file.write(results.to_csv(index=False).encode())
        write_json(folder / "manifest.json", manifest)
        report.draw(results, folder / "glue.png")
        report.write_report(folder / "report.md", results, manifest)
    return results


def run_estimate(
    data: str | Path, tasks: Sequence[Task], *, recipe: Recipe, depths: Sequence[int] = DEPTHS, say: Say
) -> float:
    """Minutes that all trainings would take on this machine, from a few steps of each; nothing is kept.

    Args:
        data: folder with GLUE's tasks.
        tasks: which of them.
        recipe: how they would be trained.
        depths: of the models that would be trained alone.
        say: is told each estimate.
    """
    total = 0.0
    for task in tasks:
        examples = read_task(data, task, TRAIN, recipe.sentences, seed=recipe.seed)
        steps = recipe.steps_of(task, len(examples))
        for system in systems(depths):
            each = seconds_a_step(recipe, task, system, examples)
            total += each * steps / 60
            say(f"{task.name}, {system.name}: {steps} steps of {each:.2f} s, {each * steps / 60:.1f} min")
    say(f"all: {total:.0f} min")
    return total


def _alone(folder: Path) -> AbstractContextManager[None]:
    return locked(folder / "lock", busy=f"another process is writing {folder}; wait for it, or choose another --output")


def _about(folder: Path, task: Task, places: dict[str, Path], reported: int) -> dict[str, Any]:
    """How a task's models were trained, for the manifest."""
    trained = {name: read_json(place.parent / "training.json") for name, place in places.items()}
    first = trained[ELASTIC.name]
    backbone = read_json(places[ELASTIC.name] / "elastic.json")["provenance"]["backbone"]
    return {
        **{name: value for name, value in asdict(task).items() if name != "name"},
        "backbone": public_name(backbone),
        "examples": first["examples"],
        "reported examples": reported,
        "recipe": {k: v for k, v in first["job"].items() if k not in ("system", "data", "backbone")},
        "minutes": {name: round(facts["seconds"] / 60, 1) for name, facts in trained.items()},
    }
