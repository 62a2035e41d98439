"""Before training: the heads and neurons that matter most on the training data come first in their layers."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from elasticranker.model.importance import measure_importance, reorder
from elasticranker.model.pairs import Batch
from elasticranker.training.data.batches import StepData
from elasticranker.training.trainer.step import ElasticStep


def order_by_importance(step: ElasticStep, samples: Iterable[StepData]) -> None:
    """Reorder a step's encoder by the importance of heads and neurons for what will be taught.

    Args:
        step: the encoder and its losses.
        samples: steps' worth of data, the same in every process, on the encoder's device.
    """
    importance = measure_importance(step.encoder, (_sample(step, data) for data in samples), step.dtype)
    reorder(step.encoder, importance)


def _sample(step: ElasticStep, data: StepData) -> tuple[list[Batch], _Loss]:
    return [micro.batch for micro in data.full], _Loss(step, data)


class _Loss:
    """Sum of the exits' losses on one step's data, from their scores by batch and depth."""

    def __init__(self, step: ElasticStep, data: StepData) -> None:
        self.depths, self.data = step.encoder.depths, data
        self.targets = step.targets(data, len(data.mask))

    def __call__(self, scores: list[dict[int, Tensor]]) -> Tensor:
        groups, size = self.data.mask.shape
        positions = torch.cat([micro.positions for micro in self.data.full])
        total = torch.zeros((), device=positions.device)
        for depth in self.depths:
            column = torch.cat([part[depth] for part in scores])
            grid = torch.zeros(groups * size, device=column.device).index_copy(0, positions, column)
            total = total + self.targets.loss(grid.view(groups, size))
        return total
