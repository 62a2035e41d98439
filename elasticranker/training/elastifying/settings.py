"""What fixes the product of elastifying, beside the model and the collection."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from elasticranker.training.settings import TrainingSettings

KEEP_FULL = ("close", "exact")
LONGEST = 256  # tokens of a pair in training, where the model reads more
LOSSES = {"kl": 1.0, "margin_mse": 0.1}
TRAINING: dict[str, dict[str, Any]] = {  # what differs from the defaults of `TrainingSettings`
    "close": {"steps": 2000, "learning_rate": 5e-5, "readout_rate": 20.0},
    "exact": {"steps": 500, "readout_rate": 20.0, "widths": (1.0,), "importance_steps": 0},
}


@dataclass(frozen=True)
class ElastifySettings:
    """How a cross-encoder is made elastic.

    Attributes:
        keep_full: `close` trains all of it and holds the full model to its own scores and states; `exact` trains the
            readouts of shallower exits alone, so that the full model stays what it is, and has no narrower widths.
        candidates: `bm25`, a run file, or the name of one of the collection's runs.
        queries: to train on. Those that the collection has come first; where `candidates` is `bm25`, others are made
            of its documents.
        tuning_queries: kept from training, for ladder, calibration and the full model's figures: judged ones first,
            others made of documents.
        k: candidates of a query that the ladder is tuned for.
        group_candidates: candidates of a query that training draws from.
        rel: lowest relevant label; by default the collection's own level.
        trials: plans tried a budget.
        dtype: `auto`, `float32` or `bfloat16`, of all that is computed.
        training: settings of the run that were given (see `TrainingSettings`), beside those of `TRAINING`.
    """

    keep_full: str = "close"
    candidates: str = "bm25"
    queries: int = 10_000
    tuning_queries: int = 150
    k: int = 100
    group_candidates: int = 32
    rel: int | None = None
    trials: int = 240
    dtype: str = "auto"
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.keep_full not in KEEP_FULL:
            raise ValueError(f"keep_full={self.keep_full!r} (--keep-full): choose close or exact")
        for name, least in (("queries", 1), ("tuning_queries", 2), ("k", 2), ("group_candidates", 2), ("trials", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}: it must be {least} or more")
        if self.keep_full == "exact" and self.widths != (1.0,):
            raise ValueError(
                f"widths={self.widths}: keep_full='exact' leaves the layers as they are, and narrower ones that "
                "nobody trained are useless; leave widths out (--widths), or take keep_full='close'"
            )

    @property
    def widths(self) -> tuple[float, ...]:
        """Widths of the checkpoint, widest first."""
        return self.run(max_length=LONGEST).widths

    def run(self, *, max_length: int, temperature: float = 1.0) -> TrainingSettings:
        """The settings of the run.

        Args:
            max_length: most tokens of a pair that the model reads.
            temperature: half the usual spread of its scores within a query.
        """
        most = min(max_length, self.training.get("max_length", LONGEST))
        fixed: dict[str, Any] = {
            "losses": dict(LOSSES),
            "self_distillation": 0.0,
            "bonus": 0.0,
            "temperature": temperature,
        }
        lengths = {"max_length": most, "max_query_length": min(64, most // 2)}
        return TrainingSettings(**(fixed | TRAINING[self.keep_full] | self.training | lengths))
