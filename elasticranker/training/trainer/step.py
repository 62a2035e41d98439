"""The loss of one step over every sub-network that it trains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticranker.model.encoder import Encoder, Weights, padding_mask
from elasticranker.model.readout import ClsReadout, SplitReadout, means
from elasticranker.training.data.batches import LoneTexts, MicroBatch, StepData
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.losses import Targets


class Read(NamedTuple):
    """What every exit of one width makes of a step's pairs.

    Attributes:
        scores: `[exits, places]`; `[exits, places, labels]` where readouts give logits.
        misaligned: `[exits]` mean of `1 - cosine` of the vectors to the teacher's; 0 where there are none.
    """

    scores: Tensor
    misaligned: Tensor


def read_exits(
    encoder: Encoder,
    batches: list[MicroBatch],
    places: int,
    width: float,
    dtype: torch.dtype,
    deepest: int | None = None,
) -> Read:
    """Scores of a step's pairs at every exit of one width, and how far their vectors are from the teacher's.

    With `deepest`, of the exits after that many layers and fewer.
    """
    depths = exits_up_to(encoder, deepest)
    weights = encoder.weights(width, dtype)
    columns, positions, distances = [], [], []
    for batch, position, vectors in batches:
        start = encoder.embeddings(batch.ids, batch.types, dtype, batch.first)
        padding = padding_mask(batch.blank, dtype)
        reads, apart = [], []
        for depth, hidden in encoder.at_depths(start, weights, depths, padding, batch.first):
            readout = encoder.exits[str(depth)]
            if isinstance(readout, SplitReadout) and vectors is not None:
                made = readout.vectors(hidden, batch.segments)  # [B, 2, H]
                reads.append(readout.score(hidden, batch.segments, made))
                apart.append((1 - (made * vectors).sum(-1)).sum())
                continue
            reads.append(encoder.read(hidden, depth, batch.segments))
            if isinstance(readout, ClsReadout) and vectors is not None and vectors.dim() == 2:  # what it should read
                apart.append(
                    (1 - F.cosine_similarity(readout.state(encoder.states(hidden), batch.segments), vectors)).sum()
                )
            else:
                apart.append(hidden.new_zeros((), dtype=torch.float32))
        columns.append(torch.stack(reads))
        positions.append(position)
        distances.append(torch.stack(apart))
    scores = columns[0].new_zeros(len(depths), places, *columns[0].shape[2:])
    scores = scores.index_copy(1, torch.cat(positions), torch.cat(columns, 1))
    return Read(scores, torch.stack(distances).sum(0) / sum(map(len, positions)))


def read_alone(
    encoder: Encoder, batches: list[LoneTexts], width: float, dtype: torch.dtype, deepest: int | None = None
) -> Tensor:
    """How far, `[exits]` mean of `1 - cosine`, texts that are read alone end from the teacher's vectors of them."""
    depths = exits_up_to(encoder, deepest)
    weights, sums = encoder.weights(width, dtype), []
    for batch in batches:
        distances = []
        for depth, mean in zip(depths, means_alone(encoder, batch, weights, depths), strict=True):
            made = cast(SplitReadout, encoder.exits[str(depth)]).project(mean)
            distances.append((1 - (made * batch.vectors).sum(-1)).sum())
        sums.append(torch.stack(distances))
    return torch.stack(sums).sum(0) / sum(len(batch.ids) for batch in batches)


def means_alone(
    encoder: Encoder, batch: LoneTexts, weights: Sequence[Weights], depths: Sequence[int]
) -> Iterator[Tensor]:
    """Mean states `[B, H]` (float32), depth by depth, of texts that are read alone."""
    dtype = weights[0].qkv.dtype
    hidden = encoder.embeddings(batch.ids, torch.zeros_like(batch.ids), dtype)
    padding = padding_mask(~batch.present, dtype)
    for _, states in encoder.at_depths(hidden, weights, depths, padding):
        yield means(states, batch.present[:, None])[:, 0]


def exits_up_to(encoder: Encoder, deepest: int | None) -> tuple[int, ...]:
    """Depths of the exits after `deepest` layers and fewer; of all, where it is None."""
    return tuple(depth for depth in encoder.depths if deepest is None or depth <= deepest)


def exit_shares(settings: TrainingSettings, depths: tuple[int, ...]) -> Tensor:
    """Weights `[exits]` of the losses at `depths` (ascending), adding up to 1."""
    weights = torch.tensor([settings.exit_weights.get(depth, 1.0) for depth in depths])
    weights[-1] *= settings.full_weight
    return weights / weights.sum()


class ElasticStep(nn.Module):
    """All exits at full width in one pass, then some narrower widths on a share of the groups.

    Every sub-network learns from the teacher and the labels; those below the full model also imitate it. It is a module
    so that `accelerate` can wrap it: one `forward` a step is one synchronisation of gradients.

    Args:
        encoder: what is trained.
        settings: losses and their weights.
        dtype: of weights and activations; master weights and losses stay float32.
        processes: how many share a step.
    """

    def __init__(
        self, encoder: Encoder, settings: TrainingSettings, dtype: torch.dtype = torch.float32, processes: int = 1
    ) -> None:
        super().__init__()
        self.encoder, self.settings, self.dtype, self.processes = encoder, settings, dtype, processes
        self.exit_weights: Tensor
        self.register_buffer("exit_weights", exit_shares(settings, encoder.depths), persistent=False)

    def forward(self, data: StepData, widths: list[float]) -> tuple[Tensor, Tensor]:
        """The loss, and the detached loss of each exit `[1 + len(widths), exits]` (full width first)."""
        settings, whole = self.settings, data.deepest is None
        groups, size = data.mask.shape
        read = read_exits(self.encoder, data.full, groups * size, 1.0, self.dtype, data.deepest)
        full, aligned = read.scores.view(-1, groups, size), self._alignment(read.misaligned, whole)
        if data.alone:
            distances = read_alone(self.encoder, data.alone, 1.0, self.dtype, data.deepest)
            aligned = aligned + self._alignment(distances, whole)
        targets = self.targets(data, groups, self.processes)
        losses = [self._losses(full, full[-1], targets, imitates_last=False)]
        if widths:
            part = data.narrow_groups
            targets = self.targets(data, part, self.processes)
            for width in widths:
                if not part:  # the other processes have them all
                    losses.append(torch.zeros_like(losses[0]))
                    continue
                read = read_exits(self.encoder, data.narrow, part * size, width, self.dtype, data.deepest)
                narrow = read.scores.view(-1, part, size)
                aligned = aligned + settings.narrow_weight / len(widths) * self._alignment(read.misaligned, whole)
                losses.append(self._losses(narrow, full[-1, :part], targets, imitates_last=True))
        shares = self.exit_weights[: len(full)]
        weighted = [(shares / shares.sum() * loss).sum() for loss in losses]
        total = weighted[0]
        if widths:
            total = total + settings.narrow_weight * torch.stack(weighted[1:]).mean()
        return total + aligned, torch.stack(losses).detach()

    def _alignment(self, misaligned: Tensor, whole: bool) -> Tensor:
        """The loss of vectors that aren't the teacher's, of every exit's distance; is the last one the full model's?"""
        settings = self.settings
        if not whole:
            return settings.align_exits * misaligned.mean()
        others = misaligned[:-1].mean() if len(misaligned) > 1 else misaligned.new_zeros(())
        return settings.align_full * misaligned[-1] + settings.align_exits * others

    def targets(self, data: StepData, groups: int, processes: int = 1) -> Targets:
        """What the first `groups` groups of a step are taught."""
        settings = self.settings
        return Targets(
            data.teacher[:groups],
            data.labels[:groups],
            data.mask[:groups],
            weights=settings.losses,
            temperature=settings.temperature,
            bonus=settings.bonus,
            processes=processes,
        )

    def _losses(self, scores: Tensor, full: Tensor, targets: Targets, *, imitates_last: bool) -> Tensor:
        share = self.settings.self_distillation
        losses = []
        for index, exit_scores in enumerate(scores):
            taught = targets.loss(exit_scores)
            if share and (imitates_last or index + 1 < len(scores)):
                taught = (1 - share) * taught + share * targets.imitate(exit_scores, full)
            losses.append(taught)
        return torch.stack(losses)
