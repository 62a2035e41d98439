"""The loss of one step of fine-tuning on a task: every sub-network learns from the labels and from the whole model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticranker.model.encoder import Encoder
from elasticranker.model.importance import measure_importance, reorder
from elasticranker.training.data.examples import ExampleStep
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.step import exit_shares, read_exits


class TaskLoss(NamedTuple):
    """What an exit's logits are worth, for `classes` classes; for 1, a regression, by squares."""

    classes: int

    def taught(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of logits `[n, classes]` by labels `[n]`: a number."""
        if self.classes == 1:
            return F.mse_loss(logits[:, 0], labels)
        return F.cross_entropy(logits, labels.long())

    def imitated(self, logits: Tensor, teacher: Tensor) -> Tensor:
        """The loss of logits by the whole model's (which learn nothing from it)."""
        teacher = teacher.detach()
        if self.classes == 1:
            return F.mse_loss(logits, teacher)
        return F.kl_div(logits.log_softmax(-1), teacher.log_softmax(-1), log_target=True, reduction="batchmean")


class TaskStep(nn.Module):
    """All exits at full width in one pass, then some narrower widths on a share of the examples.

    Args:
        encoder: what is trained.
        loss: of the task.
        settings: weights of exits, widths and self-distillation.
        dtype: of weights and activations; master weights and losses stay float32.
    """

    def __init__(self, encoder: Encoder, loss: TaskLoss, settings: TrainingSettings, dtype: torch.dtype) -> None:
        super().__init__()
        self.encoder, self.loss, self.settings, self.dtype = encoder, loss, settings, dtype
        self.shares: Tensor
        self.register_buffer("shares", exit_shares(settings, encoder.depths), persistent=False)

    def forward(self, data: ExampleStep, widths: list[float]) -> tuple[Tensor, Tensor]:
        """The loss, and the detached loss of each exit `[1 + len(widths), exits]` (full width first)."""
        full = read_exits(self.encoder, data.full, data.pairs, 1.0, self.dtype).scores
        losses = [self._losses(full, full[-1], data.labels, imitates_last=False)]
        for width in widths:
            if not data.narrow_examples:  # the other processes have them all
                losses.append(torch.zeros_like(losses[0]))
                continue
            part = data.narrow_examples
            narrow = read_exits(self.encoder, data.narrow, part, width, self.dtype).scores
            losses.append(self._losses(narrow, full[-1, :part], data.labels[:part], imitates_last=True))
        weighted = [(self.shares * loss).sum() for loss in losses]
        total = weighted[0]
        if widths:
            total = total + self.settings.narrow_weight * torch.stack(weighted[1:]).mean()
        return total, torch.stack(losses).detach()

    def _losses(self, logits: Tensor, full: Tensor, labels: Tensor, *, imitates_last: bool) -> Tensor:
        share, losses = self.settings.self_distillation, []
        for index, exit_logits in enumerate(logits):
            loss = self.loss.taught(exit_logits, labels)
            if share and (imitates_last or index + 1 < len(logits)):
                loss = (1 - share) * loss + share * self.loss.imitated(exit_logits, full)
            losses.append(loss)
        return torch.stack(losses)

    def order_by_importance(self, samples: list[ExampleStep]) -> None:
        """The heads and neurons that matter most for the labels come first in their layers.

        Args:
            samples: steps' worth of data, the same in every process, on the encoder's device.
        """
        measured = (([micro.batch for micro in data.full], _Loss(self.loss, data)) for data in samples)
        reorder(self.encoder, measure_importance(self.encoder, measured, self.dtype))


@dataclass(frozen=True)
class _Loss:
    """Sum of the exits' losses on one step's data, from their logits by batch and depth."""

    loss: TaskLoss
    data: ExampleStep

    def __call__(self, logits: list[dict[int, Tensor]]) -> Tensor:
        labels = self.data.labels[torch.cat([micro.positions for micro in self.data.full])]
        depths = logits[0]
        losses = [self.loss.taught(torch.cat([part[depth] for part in logits]), labels) for depth in depths]
        return torch.stack(losses).sum()
