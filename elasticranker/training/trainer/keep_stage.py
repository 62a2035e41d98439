"""The rank stage of a cross-encoder that is made elastic: its full depth keeps its own head, and its scores.

Both start from an elastic checkpoint whose exits aren't trained yet (`elasticranker.training.elastifying.start`).
"""

from __future__ import annotations

from typing import ClassVar

from elasticranker.training.trainer.keeping import KeptStep, close_step, exact_step
from elasticranker.training.trainer.rank_stage import ElasticTrainer


class CloseTrainer(ElasticTrainer):
    """Trains all of it, and holds the full model to what it was: choose it for the best exits and narrower widths.

    The head at full depth is trained as the layers are, not as the new readouts.
    """

    stage = "elastify"

    def make_step(self) -> KeptStep:
        """See `close_step`."""
        return close_step(self.encoder, self.settings, self.dtype, self.accelerator.num_processes)

    def prepare_start(self) -> None:
        """Order heads and neurons: the original's are in no order."""
        self.order()

    def _peak(self, name: str) -> float:
        own_head = name.startswith(f"exits.{self.encoder.shape.layers}.")
        return self.settings.learning_rate if own_head else super()._peak(name)


class ExactTrainer(ElasticTrainer):
    """Trains the readouts below full depth alone: choose it where the full model must not move, or for minutes.

    Weights are stored as they are, so that the full model is the original bit for bit.
    """

    stage = "readouts"
    stored: ClassVar[str | None] = None

    def make_step(self) -> KeptStep:
        """See `exact_step`."""
        return exact_step(self.encoder, self.settings, self.dtype, self.accelerator.num_processes)


TRAINERS: dict[str, type[ElasticTrainer]] = {"close": CloseTrainer, "exact": ExactTrainer}
