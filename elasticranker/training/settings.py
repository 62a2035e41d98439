"""Arguments of a training run."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field

LAYOUTS = ("joint", "split")
SAMPLINGS = ("sandwich", "random", "all", "none")
QUERY_LAYERS = ("first", "chosen")
# Settings of split layout alone.
APART = ("first_cross", "document_start", "lower_layers", "lone_queries", "lone_documents")
LOSSES = ("kl", "lce", "margin_mse", "ranknet", "bce")


@dataclass
class TrainingSettings:
    """What fixes the trajectory of a training run: two runs with equal settings and data take the same steps.

    The align stage takes the same settings: its steps have `groups_per_step * group_size` texts, and what concerns
    queries, labels and readouts has no effect there.

    Attributes:
        steps: optimiser steps.
        learning_rate: peak, after `warmup` steps; falls linearly to a twentieth at the last step.
        readout_rate: factor on it for the readouts, which start untrained.
        weight_decay: of matrices.
        warmup: steps of linear warm-up.
        clip: most norm of the gradient.
        groups_per_step: queries a step, over all processes.
        group_size: candidates a query a step.
        max_length: most tokens of a pair in training.
        max_query_length: most tokens of a query.
        depths: depths that get an exit, besides the whole model (empty: all; when aligning: every quarter).
        widths: widths of the checkpoint; 1 is always trained.
        sampling: narrower widths a step: `sandwich` (the smallest and one at random), `random` (one), `all` or `none`.
        narrow_share: share of a step's groups that narrower widths see.
        narrow_weight: weight of their loss.
        losses: weight of each loss (see `elasticranker.training.trainer.losses`).
        temperature: of the teacher's scores.
        bonus: what a judged positive is worth beyond the teacher's score, in its units.
        self_distillation: share of imitating the full model in the loss of every other sub-network.
        exit_weights: weight of an exit's loss by depth (1 where not named).
        layout: `joint` (query and document as one text) or `split` (each as the backbone reads it as a bi-encoder, see
            `elasticranker.model.encoder`); a checkpoint that is gone on with keeps its own.
        prefixes: put before queries and documents in split layout.
        document_start: first position of documents, as behind a query of so many tokens; 0 reads them as texts alone.
            What `lower` gives wants 16. Split layout only.
        lower_layers: layers, from the first, that a head start gives whole; above them its share falls to none in the
            last (0: a third of the layers). Split layout only.
        first_cross: layers, from the first on, in which the two texts of a pair don't see each other; split layout
            only, as is all up to `cross_rate`.
        fit_steps: steps' worth of data by which the exits are fitted before training (0: they aren't).
        lone_queries: queries a step, over all processes, that are read alone and aligned: what a dense retriever's
            query encoder needs (0: none).
        lone_documents: documents likewise: for one, where documents beside queries have a `document_start`.
        align_full: weight of `1 - cosine` of the full model's vectors to the teacher's.
        align_exits: weight of the same at the other exits, on average.
        cross_rate: factor on the learning rate for the biases on attention between texts.
        shallow: share of the steps that run, and teach, the first `shallow_layers` alone.
        shallow_layers: see there (0: half of all).
        deep_rate: factor on it for the last layer; between the first, which has 1, and it, it changes evenly.
        full_weight: factor on the weight of the deepest exit.
        average: decay of the running average of the weights that is kept (0: the last weights).
        freeze_tokens: leave the token embeddings as they are.
        source_weights: factor on how often a source is drawn (1 where not named).
        importance_steps: steps' worth of data on which importance is measured.
        relation_heads: heads that relations are compared by when aligning.
        teacher_layer: layer of the teacher that is imitated when aligning (0: its last).
        query_layers: layers of a sub-network in the dense stage: the `first` ones, or those `chosen` before training,
            which vectors need most. A checkpoint with chosen ones keeps them when it is gone on with.
        query_rank: of corrections that every query encoder gets of its own in the dense stage, and that are all that is
            trained then, beside projections: shared layers, and the whole model, stay. 0 for none.
        document_share: share of the dense stage's texts that are documents, which hold the whole model in place.
        dims: numbers of leading dimensions that the dense stage's vectors may be cut to, beside all.
        seed: of every draw.
    """

    steps: int = 1000
    learning_rate: float = 1e-4
    readout_rate: float = 10.0
    weight_decay: float = 0.01
    warmup: int = 100
    clip: float = 1.0
    groups_per_step: int = 16
    group_size: int = 8
    max_length: int = 112
    max_query_length: int = 32
    depths: tuple[int, ...] = ()
    widths: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)
    sampling: str = "random"
    narrow_share: float = 0.25
    narrow_weight: float = 0.5
    losses: dict[str, float] = field(default_factory=lambda: {"kl": 1.0, "lce": 0.2})
    temperature: float = 0.02
    bonus: float = 0.02
    self_distillation: float = 0.3
    exit_weights: dict[int, float] = field(default_factory=dict)
    full_weight: float = 2.0
    layout: str = "joint"
    prefixes: tuple[str, str] = ("", "")
    first_cross: int = 0
    document_start: int = 0
    lower_layers: int = 0
    fit_steps: int = 16
    lone_queries: int = 0
    lone_documents: int = 0
    align_full: float = 10.0
    align_exits: float = 3.0
    cross_rate: float = 100.0
    shallow: float = 0.0
    shallow_layers: int = 0
    deep_rate: float = 1.0
    average: float = 0.998
    freeze_tokens: bool = True
    source_weights: dict[str, float] = field(default_factory=dict)
    importance_steps: int = 8
    relation_heads: int = 12
    teacher_layer: int = 0
    query_layers: str = "first"
    query_rank: int = 0
    document_share: float = 0.1
    dims: tuple[int, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        self.widths = tuple(sorted({float(width) for width in self.widths}, reverse=True))
        self.depths = tuple(sorted({int(depth) for depth in self.depths}))
        self.dims = tuple(sorted({int(dim) for dim in self.dims}))
        self.exit_weights = {int(depth): float(weight) for depth, weight in self.exit_weights.items()}
        self.prefixes = (self.prefixes[0], self.prefixes[1])
        if self.layout not in LAYOUTS:
            raise ValueError(f"layout={self.layout!r}: choose from {', '.join(LAYOUTS)}")
        if self.layout == "joint" and any(self.prefixes):
            raise ValueError(f"prefixes={self.prefixes}: pairs in joint layout have none; give layout='split' too")
        if self.document_start < 0:
            raise ValueError(f"document_start={self.document_start}: a position, from 0")
        if self.lower_layers < 0:
            raise ValueError(f"lower_layers={self.lower_layers}: a number of layers, or 0 for a third of them")
        apart = [name for name in APART if getattr(self, name)]
        if self.layout == "joint" and apart:
            given = ", ".join(f"{name}={getattr(self, name)}" for name in apart)
            raise ValueError(
                f"{given}: pairs in joint layout are read together in every layer; give layout='split' too"
            )
        if self.query_layers not in QUERY_LAYERS:
            raise ValueError(f"query_layers={self.query_layers!r}: choose from {', '.join(QUERY_LAYERS)}")
        if self.query_rank < 0:
            raise ValueError(f"query_rank={self.query_rank}: a rank, or 0 for no corrections")
        if self.query_rank and (self.widths != (1.0,) or self.document_share):
            raise ValueError(
                f"query_rank={self.query_rank}: corrections are of query encoders of full width, and the whole model "
                "that encodes documents stays: give widths=(1.0,) and document_share=0 (--widths 1 --document-share 0)"
            )
        if not 0 <= self.document_share < 1:
            raise ValueError(f"document_share={self.document_share}: a share from 0 to below 1")
        if self.dims and self.dims[0] < 1:
            raise ValueError(f"dims={self.dims}: numbers of dimensions, from 1")
        if self.sampling not in SAMPLINGS:
            raise ValueError(f"sampling={self.sampling!r}: choose from {', '.join(SAMPLINGS)}")
        if not self.widths or self.widths[0] != 1.0 or self.widths[-1] <= 0:
            raise ValueError(f"widths={self.widths}: they must hold 1 and be above 0")
        if self.steps < 1 or self.groups_per_step < 1 or self.group_size < 2:
            raise ValueError("steps and groups_per_step must be at least 1, group_size at least 2")
        if not 0 <= self.shallow < 1:
            raise ValueError(f"shallow={self.shallow}: a share from 0 to below 1, or the upper layers never train")
        if not 0 <= self.self_distillation < 1:
            raise ValueError(f"self_distillation={self.self_distillation}: a share from 0 to below 1")
        if set(self.losses) - set(LOSSES) or not any(self.losses.values()):
            raise ValueError(f"losses={self.losses}: give weights, not all 0, of some of {', '.join(LOSSES)}")
        if self.temperature <= 0:
            raise ValueError(f"temperature={self.temperature}: it must be above 0")

    def rate(self, step: int) -> float:
        """Factor on the learning rate at `step`: linear up, linear down to a twentieth."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        left = (self.steps - step) / max(1, self.steps - self.warmup)
        return 0.05 + 0.95 * max(0.0, left)

    def is_shallow(self, step: int) -> bool:
        """Does `step` run the first `shallow_layers` alone?"""
        import numpy as np  # see `narrow_widths`

        return bool(self.shallow) and bool(np.random.default_rng([self.seed, step, 2]).random() < self.shallow)

    def narrow_widths(self, step: int) -> list[float]:
        """The narrower widths that `step` trains."""
        import numpy as np  # not at the top: the command line's --help reads these settings without it

        narrow = list(self.widths[1:])
        if not narrow or self.sampling == "none" or not self.narrow_share:
            return []
        if self.sampling == "all":
            return narrow
        random = np.random.default_rng([self.seed, step, 1])
        if self.sampling == "random" or len(narrow) == 1:
            return [narrow[int(random.integers(len(narrow)))]]
        return [narrow[-1], narrow[int(random.integers(len(narrow) - 1))]]

    def to_json(self) -> str:
        """The settings as JSON, keys sorted."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True, indent=1)
