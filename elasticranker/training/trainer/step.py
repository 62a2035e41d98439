"""The loss of one step over every sub-network that it trains."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from elasticranker.model.encoder import Encoder, padding_mask
from elasticranker.training.data.batches import MicroBatch, StepData
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.losses import Targets


def score_exits(encoder: Encoder, batches: list[MicroBatch], places: int, width: float, dtype: torch.dtype) -> Tensor:
    """Scores `[exits, places]` of a step's pairs at every exit of one width."""
    weights = encoder.weights(width, dtype)
    columns, positions = [], []
    for batch, position in batches:
        hidden = encoder.embeddings(batch.ids, batch.types, dtype)
        padding = padding_mask(batch.lengths, hidden.shape[1], dtype)
        reads, done = [], 0
        for depth in encoder.depths:
            hidden = encoder.run_layers(hidden, weights[done:depth], padding)
            done = depth
            reads.append(encoder.read(hidden, depth, batch.segments))
        columns.append(torch.stack(reads))
        positions.append(position)
    scores = torch.zeros(len(encoder.depths), places, device=columns[0].device)
    return scores.index_copy(1, torch.cat(positions), torch.cat(columns, 1))


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
        settings = self.settings
        groups, size = data.mask.shape
        full = score_exits(self.encoder, data.full, groups * size, 1.0, self.dtype).view(-1, groups, size)
        targets = self.targets(data, groups, self.processes)
        losses = [self._losses(full, full[-1], targets, imitates_last=False)]
        if widths:
            part = data.narrow_groups
            targets = self.targets(data, part, self.processes)
            for width in widths:
                if not part:  # the other processes have them all
                    losses.append(torch.zeros_like(losses[0]))
                    continue
                narrow = score_exits(self.encoder, data.narrow, part * size, width, self.dtype).view(-1, part, size)
                losses.append(self._losses(narrow, full[-1, :part], targets, imitates_last=True))
        weighted = [(self.exit_weights * loss).sum() for loss in losses]
        total = weighted[0]
        if widths:
            total = total + settings.narrow_weight * torch.stack(weighted[1:]).mean()
        return total, torch.stack(losses).detach()

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
