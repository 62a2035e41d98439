"""The loss of one step that makes a cross-encoder elastic: the full model stays what it was while its exits learn.

Its teacher is the original itself. *Close*: a frozen copy reads every step's pairs, and gives all exits its scores and
the full model, beside them, the vector that its head reads. *Exact*: nothing of the full model is trained, so there is
nothing to hold, and the scores are those that were prepared.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from elasticranker.model.encoder import Encoder, padding_mask
from elasticranker.model.readout import ClsReadout
from elasticranker.training.data.batches import MicroBatch, StepData
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.losses import Targets
from elasticranker.training.trainer.step import ElasticStep


class KeptStep(ElasticStep):
    """An `ElasticStep` in the units of the original's own scores.

    The temperature divides both sides, the model's scores and the original's. Otherwise the full model would have to
    shrink its scores to lower its loss, and it is to keep them.

    Args:
        encoder: what is trained.
        settings: losses and their weights; `align_full` is the weight of the vector that the head reads.
        dtype: of weights and activations.
        processes: how many share a step.
        original: a copy of the encoder before training, which is frozen; None teaches by the prepared scores alone.
    """

    def __init__(
        self,
        encoder: Encoder,
        settings: TrainingSettings,
        dtype: torch.dtype = torch.float32,
        processes: int = 1,
        *,
        original: Encoder | None = None,
    ) -> None:
        super().__init__(encoder, settings, dtype, processes)
        self.original = original.requires_grad_(False) if original is not None else None

    def forward(self, data: StepData, widths: list[float]) -> tuple[Tensor, Tensor]:
        """See `ElasticStep.forward`."""
        if self.original is not None:
            data = taught_by(self.original, data, self.dtype)
        return super().forward(data, widths)

    def _losses(self, scores: Tensor, full: Tensor, targets: Targets, *, imitates_last: bool) -> Tensor:
        unit = self.settings.temperature
        return super()._losses(scores / unit, full / unit, targets, imitates_last=imitates_last)


def close_step(encoder: Encoder, settings: TrainingSettings, dtype: torch.dtype, processes: int = 1) -> KeptStep:
    """A step that trains all of an encoder, which is as the original still, and holds its full depth."""
    return KeptStep(encoder, settings, dtype, processes, original=copy.deepcopy(encoder))


def exact_step(encoder: Encoder, settings: TrainingSettings, dtype: torch.dtype, processes: int = 1) -> KeptStep:
    """A step that trains the readouts below full depth; everything else is frozen."""
    encoder.requires_grad_(False)
    for depth in encoder.depths[:-1]:
        encoder.exits[str(depth)].requires_grad_(True)
    return KeptStep(encoder, settings, dtype, processes)


STEPS = {"close": close_step, "exact": exact_step}


@torch.no_grad()
def taught_by(original: Encoder, data: StepData, dtype: torch.dtype) -> StepData:
    """A step whose teacher is `original`: its scores, and the vectors `[B, H]` that its head reads.

    Args:
        original: has a `cls` readout at full depth.
        data: the step.
        dtype: of weights and activations.
    """
    depth = original.shape.layers
    readout, weights = original.exits[str(depth)], original.weights(1.0, dtype)
    scores = torch.zeros(data.teacher.numel(), device=data.teacher.device)
    batches = []
    for batch, positions, _ in data.full:
        hidden = original.embeddings(batch.ids, batch.types, dtype, batch.first)
        hidden = original.run_layers(hidden, weights, padding_mask(batch.blank, dtype), batch.first)
        scores[positions] = original.read(hidden, depth, batch.segments)
        state = readout.state(original.states(hidden), batch.segments) if isinstance(readout, ClsReadout) else None
        batches.append(MicroBatch(batch, positions, state))
    return data._replace(full=batches, teacher=scores.view_as(data.teacher))
