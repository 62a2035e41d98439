"""Joint inference on GLUE: a shallow exit of an elastic classifier, or another small model, before all of it.

Models and every sentence's answers are kept in the output folder, so that a killed study goes on where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from elasticranker.evaluation.journal import Journal
from elasticranker.evaluation.manifest import PACKAGES, claim_machine, today, versions
from elasticranker.files import (
    atomic_write,
    locked,
    read_json,
    refuse_other_job,
    sha256,
    writable_folder,
    write_json,
)
from elasticranker.model.classifier import ElasticClassifier
from elasticranker.routing.energies import get_energy
from elasticranker.routing.exits import Exit, exit_of
from elasticranker.training.data.examples import Examples
from experiments.glue.tasks import TRAIN, Task, check_extra, measures, read_task, score
from experiments.glue.training import ELASTIC, Recipe, Say, System, train_system
from experiments.joint import glue_report
from experiments.joint.measuring import measure
from experiments.joint.table import Answers, Sample, crossed_table

ENERGIES = ("free", "released", "max-softmax", "entropy")
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75)


def run_glue(
    data: str | Path,
    tasks: Sequence[Task],
    *,
    trained: str | Path,
    output: str | Path,
    depths: Sequence[int] = (3,),
    other: tuple[str, str] | None = None,
    shares: Sequence[float] = SHARES,
    tolerance: float = 0.002,
    energies: Sequence[str] = ENERGIES,
    note: str = "",
    say: Say = lambda line: None,
    progress: bool = True,
) -> pd.DataFrame:
    """Route between a Swift and the whole elastic classifier, on each task.

    Args:
        data: Folder with GLUE's tasks.
        tasks: Which of them; a regression has no energy.
        trained: Output of `python -m experiments.glue train`, with an elastic model of each task.
        output: Folder for models and results.
        depths: Exits that are Swift, one after the other.
        other: An encoder that is Swift too, fine-tuned here with the elastic model's steps where it isn't yet: what to
            call it, and its Hugging Face id or folder; None for none.
        shares: Shares of a half of the examples that Super gets.
        tolerance: How far the accuracy on a half may stay below Super's: one more target.
        energies: Names of `elasticranker.routing.energies.ENERGIES`.
        note: A sentence for the report.
        say: Is told what is trained and measured, and how long it took.
        progress: Whether to show bars on standard error.

    Returns:
        The table of results.csv: columns task and model (which Swift), and those of
        `experiments.joint.table.crossed_table`.

    Raises:
        ValueError: An argument makes no sense, a task has no energy or no elastic model, or the folder was filled with
            other models or on another machine.
        KeyboardInterrupt: A signal came; the same call goes on.
        ImportError: scikit-learn isn't installed.
    """
    _check(tasks, shares, tolerance, energies)
    supers = {task.name: Path(trained) / task.name / ELASTIC.name for task in tasks}
    for name, place in supers.items():
        if not (place / "checkpoint").exists():
            raise ValueError(f"{place} has no trained model: run `python -m experiments.glue train ... --tasks {name}`")
    folder, tables, about = writable_folder(output), [], {}
    with locked(folder / "lock", busy=f"another process is writing {folder}; wait for it, or choose another --output"):
        for task in tasks:
            reported = read_task(data, task, task.reported)
            elastic = ElasticClassifier(supers[task.name] / "checkpoint")
            swifts = {f"exit-{depth}": exit_of(elastic, depth) for depth in depths}
            if other is not None:
                name, backbone = other
                place = folder / task.name / name
                made = ElasticClassifier(_trained(place, data, task, backbone, supers[task.name], say))
                swifts[name] = Exit(made, made.full)
            for name, swift in swifts.items():
                super = Exit(elastic, elastic.full)
                entries = _measured(folder / task.name / name, swift, super, task, reported, energies, progress)
                sample = _sample(entries, task, reported, energies)
                table = crossed_table(sample, shares=shares, tolerance=tolerance)
                table.insert(0, "model", name)
                table.insert(0, "task", task.name)
                tables.append(table)
                say(f"{task.name}, {name}: measured")
            about[task.name] = {"reported examples": len(reported), "reported": task.reported}
        results = pd.concat(tables, ignore_index=True)
        manifest = {
            "tasks": about,
            "swifts": list(dict.fromkeys(results["model"])),
            "tolerance": tolerance,
            "measured on": read_json(folder / tasks[0].name / str(results["model"].iloc[0]) / "machine.json"),
            "note": note,
            "date": today(),
            "versions": versions((*PACKAGES, "scikit-learn")),
        }
        with atomic_write(folder / "results.csv") as file:
            file.write(results.to_csv(index=False).encode())
        write_json(folder / "manifest.json", manifest)
        glue_report.draw(results, folder)
        glue_report.write_report(folder / "report.md", results, manifest)
    return results


def _check(tasks: Sequence[Task], shares: Sequence[float], tolerance: float, energies: Sequence[str]) -> None:
    for name in energies:
        get_energy(name)
    if not energies or not shares or not all(0 < share < 1 for share in shares) or not tolerance >= 0:
        raise ValueError(
            f"energies={list(energies)}, shares={list(shares)}, tolerance={tolerance}: give one or more of the first "
            "two, shares between 0 and 1, and a tolerance of 0 or more"
        )
    without = [task.name for task in tasks if not task.has_energy]
    if without:
        raise ValueError(f"{', '.join(without)}: a regression's one number has no energy, so leave it out")
    check_extra()


def _trained(folder: Path, data: str | Path, task: Task, backbone: str, elastic: Path, say: Say) -> Path:
    """Another Swift's checkpoint, fine-tuned by the elastic model's recipe on the same examples."""
    facts = read_json(elastic / "training.json")
    told = {name: value for name, value in facts["job"].items() if name not in ("backbone", "system", "data")}
    recipe = Recipe(**told | {"backbone": backbone, "sentences": facts["examples"]})
    examples = read_task(data, task, TRAIN, recipe.sentences, seed=recipe.seed)
    return train_system(folder, recipe, task, System(folder.name), examples, say=say)


def _measured(
    folder: Path,
    swift: Exit,
    super: Exit,
    task: Task,
    reported: Examples,
    energies: Sequence[str],
    progress: bool,
) -> list[dict[str, Any]]:
    """Every example's entry in the journal of one Swift; it is measured on one machine."""
    writable_folder(folder)
    journal, job = Journal(folder / "journal.jsonl"), folder / "job.json"
    told = {
        "swift": [_identity(swift), str(swift.subnet)],
        "super": [_identity(super), str(super.subnet)],
        "energies": list(energies),
        "data": reported.digest(),
    }
    if job.exists():
        refuse_other_job(read_json(job), told, place=folder, remedy=f"delete {job} and {journal.path}")
    write_json(job, told)
    claim_machine(folder / "machine.json", journal.path)
    models = {"swift": swift, "super": super}
    flops = {name: _price(model) for name, model in models.items()}
    measure(models, {task.reported: reported.texts}, energies, flops, journal, progress=progress)
    return list(journal)


def _identity(model: Exit) -> str:
    """What identifies a classifier: the story of its training, whose data and settings it is made of."""
    story = model.classifier.checkpoint.provenance
    return sha256(json.dumps([story["fingerprints"], story["training"], story["done"]], sort_keys=True))[:16]


def _price(model: Exit) -> Callable[[Any, int], int]:
    return lambda text, classes: model.flops([text])[0]


def _sample(entries: Iterable[dict[str, Any]], task: Task, reported: Examples, energies: Sequence[str]) -> Sample:
    ours = sorted(entries, key=lambda entry: entry["place"])
    return Sample(
        _answers(ours, "swift", reported.labels),
        _answers(ours, "super", reported.labels),
        {name: np.array([entry["energies"][name] for entry in ours]) for name in energies},
        _scored(task, reported.labels),
    )


def _scored(task: Task, labels: np.ndarray) -> Callable[[list[Any]], dict[str, float]]:
    def scored(predictions: list[Any]) -> dict[str, float]:
        found = measures(task, predictions, labels)
        return {**found, "score": score(found)}

    return scored


def _answers(entries: Sequence[Mapping[str, Any]], name: str, labels: np.ndarray) -> Answers:
    said = [entry["models"][name] for entry in entries]
    answers = [one["answer"] for one in said]
    return Answers(
        answers,
        (np.array(answers) == labels).astype(float),
        np.array([one["flops"] / 1e9 for one in said]),
        np.array([one["ms"] for one in said]),
    )
