"""Texts for the dense stage: queries and some documents of prepared data, with the teacher's vectors of them.

A step is a function of (seed, step number) alone, as in `batches.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from elasticranker.model.pairs import round_up
from elasticranker.model.texts import TextEncoder
from elasticranker.training.data.groups import Groups

HARD = 4  # of a query's candidates, which all texts of its step are compared to


class VectorBatch(NamedTuple):
    """Texts of similar length, right-padded, and the vectors that they should get."""

    ids: Tensor  # [B, T]
    lengths: Tensor  # [B]
    targets: Tensor  # [B, H]


class VectorStep(NamedTuple):
    """This process's texts of one step, those of them that narrower widths see, and what they are compared to.

    The losses' sums are divided by the number of texts a process, which needn't be a whole one.
    """

    full: list[VectorBatch]
    narrow: list[VectorBatch]
    texts: float
    narrow_texts: float
    documents: Tensor  # [D, H] the teacher's vectors of the queries' candidates

    @property
    def pairs(self) -> int:
        """How many texts there are (a pair is what the rank stage's steps are made of)."""
        return sum(len(batch.lengths) for batch in self.full)


@dataclass
class VectorSampler:
    """Draws steps of texts.

    Args:
        groups: the prepared data with vectors; held-out queries are never drawn.
        queries: tokenises queries.
        documents: tokenises documents.
        texts_per_step: over all processes.
        document_share: how many of them are documents.
        batch_texts: texts that run together.
        narrow_share: share of a step's texts that narrower widths see.
        source_weights: weight of each source's queries; by default the square root of their number.
        seed: of the draws.
        rank: of this process.
        processes: their number.

    Raises:
        ValueError: the data has no vectors, or no query to train on.
    """

    groups: Groups
    queries: TextEncoder
    documents: TextEncoder
    texts_per_step: int
    document_share: float = 0.1
    batch_texts: int = 64
    narrow_share: float = 0.25
    source_weights: dict[str, float] | None = None
    seed: int = 0
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        groups = self.groups
        if groups.vectors is None:
            raise ValueError("the data has no vectors to learn: prepare it again with --vectors, by a bi-encoder")
        if self.texts_per_step % self.processes:
            raise ValueError(
                f"groups_per_step * group_size = {self.texts_per_step} must be a multiple of {self.processes} processes"
            )
        if unknown := set(self.source_weights or {}) - set(groups.sources):
            raise ValueError(f"source_weights names {sorted(unknown)}: the data has {', '.join(groups.sources)}")
        counts = np.bincount(groups.source[~groups.held_out], minlength=len(groups.sources))
        given = [(self.source_weights or {}).get(name, 1.0) for name in groups.sources]
        each = np.sqrt(counts) * given / np.maximum(counts, 1)
        self.drawn = np.flatnonzero(~groups.held_out & (each[groups.source] > 0))
        if not len(self.drawn):
            raise ValueError("no query to train on: the data is empty, all held out, or has source weights of 0")
        weights = each[groups.source[self.drawn]]
        self.weights = weights / weights.sum()
        self.held = np.flatnonzero(groups.held_out)
        self.query_tokens = self.queries.tokens(groups.queries).rows
        self.document_tokens = self.documents.tokens(groups.documents).rows if self.document_share else []

    def step(self, number: int, *, whole: bool = False) -> VectorStep:
        """This process's share of step `number`, or all of it."""
        random = np.random.default_rng([self.seed, number])
        documents = round(self.document_share * self.texts_per_step)
        asked = random.choice(self.drawn, self.texts_per_step - documents, p=self.weights)
        read = random.integers(0, len(self.groups.documents), documents)
        texts = [(0, int(row)) for row in asked] + [(1, int(row)) for row in read]
        narrow = max(1, round(self.narrow_share * len(asked))) if self.narrow_share else 0
        mine = slice(None) if whole else slice(self.rank, None, self.processes)
        return VectorStep(
            self._batches(texts[mine]),
            self._batches(texts[:narrow][mine]),
            len(texts) / self.processes,
            max(1, narrow) / self.processes,
            self._compared(asked, random),
        )

    def validation(self, queries: int = 512) -> VectorStep:
        """Held-out queries, evenly spaced, and the vectors of all their candidates."""
        rows = self.held[np.linspace(0, len(self.held) - 1, min(queries, len(self.held))).astype(int)]
        candidates = self.groups.candidates[rows]
        documents = self._vectors(1, np.unique(candidates[candidates >= 0]))
        return VectorStep(self._batches([(0, int(row)) for row in rows]), [], len(rows), 1, documents)

    def _compared(self, asked: np.ndarray, random: np.random.Generator) -> Tensor:
        """Vectors of `HARD` of each query's candidates, half of them among the teacher's best; each once."""
        chosen: set[int] = set()
        for row in asked:
            candidates, scores = self.groups.candidates[row], self.groups.scores[row].astype(np.float32)
            there = np.flatnonzero(candidates >= 0)
            best = there[np.argsort(-scores[there], kind="stable")]
            near = random.permutation(best[:HARD])[: HARD // 2]
            chosen.update(candidates[near].tolist())
            chosen.update(candidates[random.permutation(best)[: HARD - len(near)]].tolist())
        return self._vectors(1, np.asarray(sorted(chosen)))

    def _vectors(self, which: int, rows: np.ndarray) -> Tensor:
        if self.groups.vectors is None:
            raise ValueError("the data has no vectors")
        return torch.from_numpy(self.groups.vectors[which][rows].astype(np.float32))

    def _batches(self, texts: list[tuple[int, int]]) -> list[VectorBatch]:
        """Sorted by length, so that there is hardly any padding."""
        tokens = (self.query_tokens, self.document_tokens)
        ordered = sorted(texts, key=lambda text: -len(tokens[text[0]][text[1]]))
        batches = []
        for start in range(0, len(ordered), self.batch_texts):
            part = ordered[start : start + self.batch_texts]
            rows = [tokens[which][row] for which, row in part]
            ids, lengths = self.queries.batch(rows, round_up(len(rows[0])))  # what pads is the same for both
            targets = torch.cat([self._vectors(which, np.asarray([row])) for which, row in part])
            batches.append(VectorBatch(ids, lengths, targets))
        return batches
