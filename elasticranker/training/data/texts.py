"""Plain text for the align stage: what is read, and which texts a step has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from elasticranker.files import sha256_file
from elasticranker.model.pairs import round_up
from elasticranker.textfiles import read_lines
from elasticranker.training.data import groups


class TextBatch(NamedTuple):
    """Texts of similar length, right-padded."""

    ids: Tensor  # [B, T]
    types: Tensor  # [B, T]
    lengths: Tensor  # [B]


class TextStep(NamedTuple):
    """This process's texts of one step, and those of them that narrower widths see.

    The losses' sums are divided by the number of texts a process, which needn't be a whole one.
    """

    full: list[TextBatch]
    narrow: list[TextBatch]
    texts: float
    narrow_texts: float

    @property
    def pairs(self) -> int:
        """How many texts there are (a pair is what the other stage's steps are made of)."""
        return sum(len(batch.lengths) for batch in self.full)


def read_texts(data: str | Path) -> list[str]:
    """The lines of a text file (plain or gzip), or the documents of a prepared folder.

    Raises:
        ValueError: neither, or without any text.
    """
    path = Path(data)
    if path.is_file():
        texts = [line for _, line in read_lines(path)]
    elif groups.is_prepared(path):
        texts = [text for text in groups.Groups.load(path).documents if text.strip()]
    else:
        raise ValueError(f"{data} is neither a text file (one text a line) nor a prepared folder")
    if len(texts) < 2:
        raise ValueError(f"{data} has {len(texts)} texts: aligning needs at least 2")
    return texts


def digest(data: str | Path) -> str:
    """What identifies the texts of a file or prepared folder."""
    return sha256_file(data) if Path(data).is_file() else groups.digest(data)


@dataclass
class TextSampler:
    """Draws steps of texts; a step is a function of (seed, step number) alone.

    Args:
        tokenizer: of teacher and student.
        texts: what to draw from; one in a hundred, at most 256, are held out.
        texts_per_step: over all processes.
        max_length: most tokens of a text.
        batch_texts: texts that run together.
        narrow_share: share of a step's texts that narrower widths see.
        seed: of the draws.
        rank: of this process.
        processes: their number.
    """

    tokenizer: Any
    texts: list[str]
    texts_per_step: int
    max_length: int
    batch_texts: int = 64
    narrow_share: float = 0.25
    seed: int = 0
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        if self.texts_per_step % self.processes:
            raise ValueError(
                f"groups_per_step * group_size = {self.texts_per_step} must be a multiple of {self.processes} processes"
            )
        encoded = self.tokenizer(self.texts, truncation=True, max_length=self.max_length)["input_ids"]
        self.tokens = [np.asarray(ids, dtype=np.int32) for ids in encoded]
        order = np.random.default_rng(self.seed).permutation(len(self.tokens))
        held = max(1, min(256, len(order) // 100))
        self.held, self.drawn = order[:held], order[held:]

    def step(self, number: int) -> TextStep:
        """This process's share of step `number`."""
        random = np.random.default_rng([self.seed, number])
        rows = random.choice(self.drawn, self.texts_per_step)
        narrow = max(1, round(self.narrow_share * len(rows))) if self.narrow_share else 0
        mine = slice(self.rank, None, self.processes)
        return TextStep(
            self._batches(rows[mine]),
            self._batches(rows[:narrow][mine]),
            len(rows) / self.processes,
            max(1, narrow) / self.processes,
        )

    def validation(self) -> list[TextBatch]:
        """The texts that are held out."""
        return self._batches(self.held)

    def _batches(self, rows: np.ndarray) -> list[TextBatch]:
        """Sorted by length, so that there is hardly any padding."""
        ordered = sorted((self.tokens[row] for row in rows), key=lambda tokens: -len(tokens))
        parts = [ordered[start : start + self.batch_texts] for start in range(0, len(ordered), self.batch_texts)]
        return [self._batch(part) for part in parts]

    def _batch(self, texts: list[np.ndarray]) -> TextBatch:
        shape = (len(texts), min(round_up(len(texts[0]), 16), round_up(self.max_length)))
        ids = np.full(shape, self.tokenizer.pad_token_id or 0, dtype=np.int64)
        for row, tokens in enumerate(texts):
            ids[row, : len(tokens)] = tokens
        lengths = torch.tensor([len(tokens) for tokens in texts])
        return TextBatch(torch.from_numpy(ids), torch.zeros(shape, dtype=torch.long), lengths)
