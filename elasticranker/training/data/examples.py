"""Labelled texts, or pairs of texts, for fine-tuning on a task, and which of them a step has."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from elasticranker.model.inputs import InputEncoder, Text, Tokens
from elasticranker.model.pairs import round_up
from elasticranker.training.data.batches import MicroBatch


@dataclass(frozen=True, eq=False)
class Examples:
    """Texts, or pairs of texts, with what should be said to them.

    Attributes:
        texts: all texts, or all pairs.
        labels: one each: class numbers from 0, or numbers to predict.
        classes: how many classes there are; 1 for a regression.

    Raises:
        ValueError: they don't go together.
    """

    texts: Sequence[Text]
    labels: npt.NDArray[np.float32]
    classes: int

    def __post_init__(self) -> None:
        if not len(self.texts) or len(self.texts) != len(self.labels):
            raise ValueError(f"{len(self.texts)} texts and {len(self.labels)} labels: give one or more, a label each")
        if self.classes < 1:
            raise ValueError(f"classes={self.classes}: give the number of classes, or 1 for a regression")
        if not np.isfinite(self.labels).all():
            raise ValueError("labels hold NaN or infinity: leave those examples out")
        if self.classes > 1 and not np.isin(self.labels, range(self.classes)).all():
            wrong = self.labels[~np.isin(self.labels, range(self.classes))][0]
            raise ValueError(f"the label {wrong:g} is no class: with classes={self.classes} they are 0, 1, ...")

    def __len__(self) -> int:
        return len(self.texts)

    def digest(self) -> str:
        """What identifies them."""
        told = json.dumps([list(self.texts), self.labels.tolist(), self.classes])
        return hashlib.sha256(told.encode()).hexdigest()


class ExampleStep(NamedTuple):
    """This process's examples of one step; narrower widths see the first `narrow_examples` of them."""

    full: list[MicroBatch]
    narrow: list[MicroBatch]
    narrow_examples: int
    labels: Tensor  # [n]

    @property
    def pairs(self) -> int:
        """How many examples there are (a pair is what the rank stage's steps are made of)."""
        return len(self.labels)


@dataclass
class ExampleSampler:
    """Draws steps that go through all examples again and again, each time in another order.

    A step is a function of (seed, step number) alone, so a run that was killed goes on with the examples that it would
    have seen.

    Args:
        encoder: lays out the texts.
        examples: what to draw from.
        examples_per_step: over all processes.
        batch_examples: examples that run together.
        narrow_share: share of a step's examples that narrower widths see.
        seed: of the orders.
        rank: of this process.
        processes: their number.
    """

    encoder: InputEncoder
    examples: Examples
    examples_per_step: int
    batch_examples: int = 8
    narrow_share: float = 0.5
    seed: int = 0
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.examples_per_step % self.processes:
            raise ValueError(
                f"groups_per_step * group_size = {self.examples_per_step} must be a multiple of {self.processes} "
                "processes"
            )
        self.tokens = self.encoder.tokens(self.examples.texts)

    def step(self, number: int, *, whole: bool = False) -> ExampleStep:
        """This process's share of step `number`, or all of it."""
        rows = self._rows(number)
        narrow = max(1, round(self.narrow_share * len(rows))) if self.narrow_share else 0
        if whole:
            return self._assemble(rows, narrow)
        mine = slice(self.rank, None, self.processes)
        return self._assemble(rows[mine], len(range(self.rank, narrow, self.processes)))

    def _rows(self, number: int) -> list[int]:
        """The examples of a step: a stretch of the rounds laid end to end."""
        first, size = number * self.examples_per_step, len(self.examples)
        places = range(first, first + self.examples_per_step)
        orders = {
            turn: np.random.default_rng([self.seed, turn]).permutation(size)
            for turn in range(places[0] // size, places[-1] // size + 1)
        }
        return [int(orders[place // size][place % size]) for place in places]

    def _assemble(self, rows: list[int], narrow: int) -> ExampleStep:
        placed = [(place, self.tokens[row]) for place, row in enumerate(rows)]
        labels = torch.from_numpy(self.examples.labels[rows])
        return ExampleStep(self._batches(placed), self._batches(placed[:narrow]), narrow, labels)

    def _batches(self, placed: list[tuple[int, Tokens]]) -> list[MicroBatch]:
        """Sorted by length and cut, so that there is hardly any padding."""
        ordered = sorted(placed, key=lambda one: -len(one[1].ids))
        batches = []
        for start in range(0, len(ordered), self.batch_examples):
            part = ordered[start : start + self.batch_examples]
            batch = self.encoder.batch([tokens for _, tokens in part], round_up(len(part[0][1].ids)))
            batches.append(MicroBatch(batch, torch.tensor([place for place, _ in part])))
        return batches
