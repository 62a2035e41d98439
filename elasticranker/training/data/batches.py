"""Steps of training: which groups, which of their candidates, and how their pairs share batches.

A step is a function of (seed, step number) alone, so a run that was killed continues with the very data that it would
have seen: there is no position to store.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from elasticranker.model.pairs import Batch, Pair, PairEncoder
from elasticranker.model.split import SplitPairEncoder
from elasticranker.training.data.groups import Groups


class MicroBatch(NamedTuple):
    """Pairs of similar length that run together.

    Attributes:
        batch: their tensors.
        positions: `[B]` where their scores belong in the `[G * C]` scores of the step.
        vectors: `[B, 2, H]` the teacher's vectors of their queries and documents, where the data has them; or `[B, H]`
            what the head of a full model should read (`elasticranker.training.trainer.keeping`).
    """

    batch: Batch
    positions: Tensor
    vectors: Tensor | None = None


class LoneTexts(NamedTuple):
    """Texts that are read alone, and the teacher's vectors of them."""

    ids: Tensor  # [B, T] int64
    present: Tensor  # bool [B, T]: no padding
    vectors: Tensor  # [B, H]


class StepData(NamedTuple):
    """One step: `G` groups of `C` candidates. The narrow widths see the first `narrow_groups` of them."""

    full: list[MicroBatch]
    narrow: list[MicroBatch]
    narrow_groups: int
    teacher: Tensor  # [G, C]
    labels: Tensor  # [G, C]
    mask: Tensor  # [G, C]
    alone: list[LoneTexts] = []  # noqa: RUF012 - never changed
    deepest: int | None = None  # the layers that run; None: all

    @property
    def pairs(self) -> int:
        """How many pairs there are."""
        return int(self.mask.sum())


class _Placed(NamedTuple):
    """A pair of a step: where its score belongs, and which texts of the data it is made of."""

    position: int
    pair: Pair
    row: int
    document: int


def each_tensor(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same lists and tuples with every tensor changed: moved to a device, or pinned.

    Example:
        >>> moved = each_tensor(data, lambda tensor: tensor.to("cuda", non_blocking=True))  # doctest: +SKIP
    """
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, list):
        return [each_tensor(item, change) for item in value]
    if isinstance(value, tuple):  # a named one
        return type(value)(*(each_tensor(item, change) for item in value))
    return value


@dataclass
class Sampler:
    """Draws steps from prepared groups.

    Args:
        groups: the prepared data; held-out queries are never drawn.
        encoder: lays out the pairs.
        groups_per_step: queries a step (over all processes).
        group_size: candidates a query a step: a positive where there is one, half of the rest from the teacher's best,
            the others from all.
        batch_pairs: pairs of a micro-batch.
        narrow_share: share of a step's groups that the narrow widths see.
        source_weights: weight of each source's queries; by default the square root of their number, so that small
            sources aren't drowned.
        lone_queries: queries a step (over all processes) that are read alone; needs an encoder in split layout and
            vectors.
        lone_documents: documents a step, likewise.
        seed: of the draws.
        rank: of this process.
        processes: their number.
    """

    groups: Groups
    encoder: PairEncoder
    groups_per_step: int = 16
    group_size: int = 8
    batch_pairs: int = 64
    narrow_share: float = 0.25
    source_weights: dict[str, float] | None = None
    lone_queries: int = 0
    lone_documents: int = 0
    seed: int = 0
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        groups = self.groups
        if self.groups_per_step % self.processes:
            raise ValueError(f"groups_per_step={self.groups_per_step} must be a multiple of {self.processes} processes")
        self.documents = self.encoder.tokens(groups.documents)
        self.queries = self.encoder.queries(groups.queries)
        self.rows = [
            np.flatnonzero((groups.source == index) & ~groups.held_out) for index in range(len(groups.sources))
        ]
        self.all_rows = np.concatenate(self.rows)
        weights = np.sqrt([len(rows) for rows in self.rows])
        if self.source_weights is not None:
            unknown = set(self.source_weights) - set(groups.sources)
            if unknown:
                raise ValueError(f"source_weights names {sorted(unknown)}: the data has {', '.join(groups.sources)}")
            weights = weights * [self.source_weights.get(name, 1.0) for name in groups.sources]
        if not weights.sum():
            raise ValueError("no query to train on: the data is empty, all held out, or has source weights of 0")
        self.weights = weights / weights.sum()

    def step(self, number: int, *, whole: bool = False) -> StepData:
        """This process's share of step `number`, or all of it."""
        random = np.random.default_rng([self.seed, number])
        sources = random.choice(len(self.rows), self.groups_per_step, p=self.weights)
        rows = [int(random.choice(self.rows[source])) for source in sources]
        chosen = [self._candidates(row, random) for row in rows]
        narrow = max(1, round(self.narrow_share * len(rows))) if self.narrow_share else 0
        mine = slice(None) if whole else slice(self.rank, None, self.processes)
        data = self._assemble(rows[mine], chosen[mine], len(range(len(rows))[mine.start : narrow : mine.step]))
        alone = []
        if self.lone_queries:
            alone += self._alone(0, random.choice(self.all_rows, self.lone_queries)[mine])
        if self.lone_documents:
            alone += self._alone(1, random.integers(len(self.documents), size=self.lone_documents)[mine])
        return data._replace(alone=alone) if alone else data

    def validation(self, queries: int, candidates: int) -> list[StepData]:
        """Held-out groups in fixed order: the first `queries` (spread over the sources), their first `candidates`."""
        held = np.flatnonzero(self.groups.held_out)
        rows = held[np.linspace(0, len(held) - 1, min(queries, len(held))).astype(int)] if len(held) else held
        size = min(candidates, self.groups.candidates.shape[1])
        chosen = [np.arange(size) for _ in rows]
        return [
            self._assemble([int(row) for row in rows[at : at + 8]], chosen[at : at + 8], 0)
            for at in range(0, len(rows), 8)
        ]

    def _candidates(self, row: int, random: np.random.Generator) -> np.ndarray:
        present = np.flatnonzero(self.groups.candidates[row] >= 0)
        positives = present[self.groups.labels[row, present] == 1]
        picked: list[int] = [int(random.choice(positives))] if len(positives) else []
        ranked = present[np.argsort(-self.groups.scores[row, present].astype(np.float32), kind="stable")]
        hard = [int(c) for c in ranked[: self.group_size * 3 // 2] if c not in picked]
        take = min(len(hard), (self.group_size - len(picked)) // 2)
        picked += [int(c) for c in random.choice(hard, take, replace=False)] if take else []
        rest = [int(c) for c in present if c not in picked]
        take = min(len(rest), self.group_size - len(picked))
        picked += [int(c) for c in random.choice(rest, take, replace=False)] if take else []
        return np.asarray(picked)

    def _assemble(self, rows: list[int], chosen: list[np.ndarray], narrow_groups: int) -> StepData:
        size = max(len(picked) for picked in chosen)
        shape = (len(rows), size)
        teacher, labels = np.zeros(shape, np.float32), np.full(shape, -1, np.int64)
        mask = np.zeros(shape, bool)
        pairs: list[_Placed] = []
        for group, (row, picked) in enumerate(zip(rows, chosen, strict=True)):
            for place, column in enumerate(picked):
                document = self.groups.candidates[row, column]
                if document < 0:
                    continue
                mask[group, place] = True
                teacher[group, place] = self.groups.scores[row, column]
                labels[group, place] = self.groups.labels[row, column]
                pair = self.encoder.pair(self.queries[row], self.documents[document])
                pairs.append(_Placed(group * size + place, pair, row, int(document)))
        narrow = [placed for placed in pairs if placed.position < narrow_groups * size]
        return StepData(
            self._batches(pairs),
            self._batches(narrow),
            narrow_groups,
            torch.from_numpy(teacher),
            torch.from_numpy(labels),
            torch.from_numpy(mask),
        )

    def _batches(self, pairs: list[_Placed]) -> list[MicroBatch]:
        """Sort by length and cut into batches of `batch_pairs`: hardly any padding, and few distinct shapes.

        Few shapes, since the CPU's matrix library compiles a kernel for each new one, which takes longer than a step.
        """
        ordered = sorted(pairs, key=lambda placed: -self.encoder.length(placed.pair))
        batches = []
        for start in range(0, len(ordered), self.batch_pairs):
            part = ordered[start : start + self.batch_pairs]
            own = [placed.pair for placed in part]
            batch = self.encoder.batch(own, *self.encoder.cover(own, 16))
            batches.append(MicroBatch(batch, torch.tensor([p.position for p in part]), self._vectors(part)))
        return batches

    def _alone(self, which: int, rows: np.ndarray) -> list[LoneTexts]:
        """Queries (`which` 0) or documents (1) by length, cut into few batches."""
        encoder, name = self.encoder, ("lone_queries", "lone_documents")[which]
        if self.groups.vectors is None or not isinstance(encoder, SplitPairEncoder):
            raise ValueError(
                f"{name}={getattr(self, name)} needs split layout, and data with vectors (prepare --vectors)"
            )
        texts = (self.queries, self.documents)[which]
        most = (encoder.max_query_length, encoder.max_length - encoder.extra)[which]
        size = (2 * self.batch_pairs, self.batch_pairs)[which]
        ordered = sorted(map(int, rows), key=lambda row: len(texts[row]))
        batches = []
        for start in range(0, len(ordered), size):
            part = ordered[start : start + size]
            vectors = torch.from_numpy(self.groups.vectors[which][part].astype(np.float32))
            batches.append(LoneTexts(*encoder.alone([texts[row][:most] for row in part], which), vectors))
        return batches

    def _vectors(self, part: list[_Placed]) -> Tensor | None:
        if self.groups.vectors is None:
            return None
        queries, documents = self.groups.vectors
        both = queries[[placed.row for placed in part]], documents[[placed.document for placed in part]]
        return torch.from_numpy(np.stack(both, 1).astype(np.float32))
