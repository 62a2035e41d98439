"""What every sub-network of a task's models says to the reported examples, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from elasticranker.evaluation.journal import Journal
from elasticranker.evaluation.manifest import claim_machine
from elasticranker.files import write_tensors
from elasticranker.model.classifier import ElasticClassifier
from elasticranker.planning.subnet import SubNet
from elasticranker.training.data.examples import Examples
from experiments.glue.tasks import Task, measures, score

WARM_UP = 3  # texts read untimed first
ANSWERS = "answers.safetensors"


def measure_task(
    folder: Path, task: Task, systems: Mapping[str, Path], reported: Examples, *, timed: int
) -> pd.DataFrame:
    """One row for every sub-network of every system of a task; what was measured before isn't measured again.

    Args:
        folder: of the task; gets `times.jsonl`, `machine.json`, and `answers.safetensors` in each system's folder.
        task: the task.
        systems: checkpoint's folder by name of the system.
        reported: the examples that are reported on.
        timed: how many of the examples are timed, one at a time.

    Returns:
        Columns task, system, depth, width, the task's measures, score, gflops_mean, ms_mean, ms_p95.

    Raises:
        ValueError: the times were begun on another machine.
    """
    classifiers = {name: ElasticClassifier(place) for name, place in systems.items()}
    for name, classifier in classifiers.items():
        if not (folder / name / ANSWERS).exists():
            _answer(folder / name / ANSWERS, classifier, reported)
    times = _times(folder, classifiers, reported, timed)
    rows = []
    for name, classifier in classifiers.items():
        answers = _read_answers(folder / name / ANSWERS)
        for subnet in classifier.checkpoint.subnets:
            found = measures(task, predicted(answers[str(subnet)], task), reported.labels)
            ms = np.array(times[f"{name} {subnet}"])
            rows.append(
                {"task": task.name, "system": name, "depth": subnet.depth, "width": subnet.width}
                | {**found, "score": score(found)}
                | {"gflops_mean": np.mean(classifier.flops(reported.texts, subnet)) / 1e9}
                | {"ms_mean": ms.mean(), "ms_p95": np.quantile(ms, 0.95)}
            )
    return pd.DataFrame(rows)


def predicted(logits: np.ndarray, task: Task) -> np.ndarray:
    """Class numbers `[n]`, or a regression's numbers, of logits `[n, classes]`."""
    return logits[:, 0] if task.classes == 1 else logits.argmax(1)


def _answer(path: Path, classifier: ElasticClassifier, reported: Examples) -> None:
    """Keep every sub-network's logits, by its name."""
    import torch

    found = {}
    for width in classifier.checkpoint.widths:
        for depth, logits in classifier.every(reported.texts, width).items():
            found[str(SubNet(depth, width))] = torch.from_numpy(logits)
    write_tensors(path, found)


def _read_answers(path: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    found: dict[str, np.ndarray] = load_file(path)
    return found


def _times(
    folder: Path, classifiers: Mapping[str, ElasticClassifier], reported: Examples, timed: int
) -> dict[str, list[float]]:
    """Milliseconds of single texts by system and sub-network: all of them in turn on one text after the other."""
    journal = Journal(folder / "times.jsonl")
    claim_machine(folder / "machine.json", journal.path)
    places = sorted({int(place) for place in np.linspace(0, len(reported) - 1, min(timed, len(reported)))})
    done = {(entry["place"], name): ms for entry in journal for name, ms in entry["ms"].items()}
    parts = {
        f"{name} {subnet}": (classifier, subnet)
        for name, classifier in classifiers.items()
        for subnet in classifier.checkpoint.subnets
    }
    warm = False
    for turn, place in enumerate(places):
        missing = [name for name in parts if (place, name) not in done]
        if not missing:
            continue
        texts = [reported.texts[place]]
        entry: dict[str, Any] = {"place": place, "ms": {}}
        for name in missing[:: -1 if turn % 2 else 1]:
            classifier, subnet = parts[name]
            for _ in range(0 if warm else WARM_UP):
                classifier.logits(texts, subnet)
            begun = time.perf_counter()
            classifier.logits(texts, subnet)
            entry["ms"][name] = done[place, name] = 1000 * (time.perf_counter() - begun)
        warm = True
        journal.append(entry)
    return {name: [done[place, name] for place in places] for name in parts}
