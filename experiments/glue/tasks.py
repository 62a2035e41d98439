"""GLUE's tasks: what their files hold, how long they are trained, and how they are scored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from elasticranker.extras import missing
from elasticranker.textfiles import find, read_lines
from elasticranker.training.data.examples import Examples

TRAIN = "train"


@dataclass(frozen=True)
class Task:
    """A task of GLUE.

    Attributes:
        name: as GLUE and its folder have it.
        classes: how many; 1 for a regression.
        measures: GLUE's; their mean is the task's score.
        epochs: passes over the training examples.
        reported: the split that is reported on. Nobody has the test labels, so it is the development set.
    """

    name: str
    classes: int
    measures: tuple[str, ...]
    epochs: int
    reported: str = "dev"

    @property
    def has_energy(self) -> bool:
        """Has it classes, so that an energy says how sure a model is?"""
        return self.classes > 1


TASKS: Mapping[str, Task] = MappingProxyType(
    {
        task.name: task
        for task in (
            Task("CoLA", 2, ("Matthews",), 3),
            Task("MRPC", 2, ("F1", "accuracy"), 4),
            Task("RTE", 2, ("accuracy",), 5),
            Task("STS-B", 1, ("Pearson", "Spearman"), 3),
            Task("SST-2", 2, ("accuracy",), 2),
            Task("QNLI", 2, ("accuracy",), 2),
            Task("MNLI", 3, ("accuracy",), 2),
            # Only training lines are at hand: some of them, held out, stand for the development set.
            Task("QQP", 2, ("F1", "accuracy"), 2, "dev-from-train"),
        )
    }
)


def named(names: Sequence[str]) -> list[Task]:
    """The tasks of some names, each once.

    Raises:
        ValueError: there is none of a name.
    """
    unknown = [name for name in names if name not in TASKS]
    if unknown:
        raise ValueError(f"--tasks {' '.join(unknown)}: choose from {', '.join(TASKS)}")
    return [TASKS[name] for name in dict.fromkeys(names)]


def read_task(folder: str | Path, task: Task, split: str, most: int | None = None, *, seed: int = 0) -> Examples:
    """The examples of `<folder>/<task>/<split>.tsv[.gz]`: columns label, sentence1 and, of pairs, sentence2.

    Args:
        folder: with a folder for each task.
        task: the task.
        split: name of the file.
        most: so many of them, drawn at random; all by default.
        seed: of the draw.

    Raises:
        ValueError: there is no such file, or a line of it is malformed.
    """
    place = Path(folder) / task.name / f"{split}.tsv"
    path = find(place)
    if path is None:
        raise ValueError(f"{place.parent} has no {split}.tsv and no {split}.tsv.gz: name the folder that holds GLUE")
    lines = read_lines(path)
    _, heading = next(lines)
    columns = heading.split("\t")
    if columns[:2] != ["label", "sentence1"] or len(columns) > 3:
        raise ValueError(f"{path} has the columns {columns}: they must be label, sentence1 and, of pairs, sentence2")
    labels, texts = [], []
    for number, line in lines:
        fields = line.split("\t")
        if len(fields) != len(columns):
            raise ValueError(f"{path}, line {number}: {len(fields)} fields, but {len(columns)} columns")
        try:
            labels.append(float(fields[0]))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: the label {fields[0]!r} is no number") from error
        texts.append(fields[1] if len(fields) == 2 else (fields[1], fields[2]))
    rows = np.arange(len(texts))
    if most is not None and most < len(rows):
        rows = np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])
    return Examples([texts[row] for row in rows], np.array(labels, dtype=np.float32)[rows], task.classes)


def measures(task: Task, predictions: npt.ArrayLike, labels: npt.ArrayLike) -> dict[str, float]:
    """GLUE's measures of a task's predictions (class numbers, or numbers), by name, from -1 or 0 to 1.

    Raises:
        ImportError: scikit-learn isn't installed.

    Example:
        >>> measures(TASKS["MRPC"], [1, 1, 0], [1, 0, 0])
        {'F1': 0.6666666666666666, 'accuracy': 0.6666666666666666}
    """
    check_extra()
    from scipy import stats
    from sklearn import metrics

    known = {
        "accuracy": lambda: metrics.accuracy_score(labels, predictions),
        "F1": lambda: metrics.f1_score(labels, predictions, zero_division=0.0),
        "Matthews": lambda: metrics.matthews_corrcoef(labels, predictions),
        "Pearson": lambda: stats.pearsonr(predictions, labels).statistic,
        "Spearman": lambda: stats.spearmanr(predictions, labels).statistic,
    }
    return {name: _number(float(known[name]())) for name in task.measures}


def check_extra() -> None:
    """Raise ImportError where scikit-learn isn't installed."""
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise missing("GLUE's measures", "glue", error) from error


def score(found: Mapping[str, float]) -> float:
    """A task's score: the mean of its measures, as GLUE has it."""
    return sum(found.values()) / len(found)


def _number(value: float) -> float:
    return 0.0 if np.isnan(value) else value  # all predictions equal: no correlation
