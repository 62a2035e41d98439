"""The task stage: one run that fine-tunes every sub-network on labelled texts, for classification or regression."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elasticranker.files import renewed_folder
from elasticranker.model.checkpoint import Checkpoint, fingerprint
from elasticranker.model.encoder import Encoder
from elasticranker.model.huggingface import from_hugging_face
from elasticranker.model.inputs import InputEncoder
from elasticranker.model.readout import MeanReadout
from elasticranker.model.saved import read_tokenizer
from elasticranker.training.data.examples import Examples, ExampleSampler
from elasticranker.training.origin import place_name
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.loop import Loop
from elasticranker.training.trainer.provenance import provenance
from elasticranker.training.trainer.rank_stage import check_length
from elasticranker.training.trainer.task_step import TaskLoss, TaskStep


class TaskTrainer(Loop):
    """Fine-tunes an elastic encoder on examples; its product is an elastic classifier (or regression).

    Nothing is held out: give `examples` that are not reported on. The weights that are kept are the averaged last ones.

    Args:
        backbone: Hugging Face id or folder of an encoder (BERT, ELECTRA, RoBERTa families); a head is left aside.
        examples: what is learnt.
        output: folder of the run; the classifier comes into its `checkpoint`.
        settings: what fixes the trajectory. A step has `groups_per_step * group_size` examples; `depths` empty are all
            from 1. What concerns queries, teachers and layouts has no effect.
        layers: cut the backbone to its first so many layers, as a model of that depth alone has them; all by default.
        batch_examples: examples that run together, the longest with the longest; by default 8, on a GPU 512.
        options: `resume`, `max_minutes`, `save_every`, `dtype`, `on_step`: see `Loop`.

    Raises:
        ValueError: settings or backbone don't fit, or `output` holds another run.

    Example:
        >>> trainer = TaskTrainer("intfloat/e5-small-v2", examples, "run", resume=True)  # doctest: +SKIP
        >>> exit_of(trainer.train() / "checkpoint", depth=3)  # doctest: +SKIP
    """

    stage = "task"
    module: TaskStep

    def __init__(
        self,
        backbone: str | Path,
        examples: Examples,
        output: str | Path,
        settings: TrainingSettings | None = None,
        *,
        layers: int | None = None,
        batch_examples: int | None = None,
        **options: Any,
    ) -> None:
        settings = settings or TrainingSettings()
        self.backbone, self.examples = str(backbone), examples
        self.sources = {"backbone": fingerprint(self.backbone), "data": examples.digest()}
        identity = self.sources | {"layers": str(layers or "all")}
        super().__init__(output, settings, identity, **{"keep": "last"} | options)
        encoder, self.config = from_hugging_face(self.backbone, keep_head=False)
        check_length(encoder, settings.max_length)
        self.tokenizer = read_tokenizer(self.backbone, encoder.shape.vocabulary)
        cut_layers(encoder, layers)
        self.config.num_hidden_layers = encoder.shape.layers
        # a regression that starts at 0 first shifts every exit to the labels' mean, by the states that all exits share
        start = float(examples.labels.mean()) if examples.classes == 1 else 0.0
        give_readouts(encoder, settings, examples.classes, start)
        self.encoder: Encoder = encoder.to(self.device).train()
        self.encoder.embeddings.token.requires_grad_(not settings.freeze_tokens)
        self.sampler = ExampleSampler(
            InputEncoder(self.tokenizer, max_length=settings.max_length),
            examples,
            settings.groups_per_step * settings.group_size,
            batch_examples=batch_examples or (512 if self.device.type == "cuda" else 8),
            narrow_share=settings.narrow_share if len(settings.widths) > 1 else 0.0,
            seed=settings.seed,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        self.module = TaskStep(self.encoder, TaskLoss(examples.classes), settings, self.dtype)
        self._begin()

    @property
    def product(self) -> Path:
        """The elastic classifier."""
        return self.output / "checkpoint"

    def prepare_start(self) -> None:
        """Most important heads and neurons first, so that a narrow width keeps what matters."""
        settings = self.settings
        if len(settings.widths) > 1 and settings.importance_steps:
            moved = list(self.unseen(settings.importance_steps, "ordering heads and neurons"))
            self.module.order_by_importance(moved)

    def validate(self) -> None:
        """Nothing is held out."""
        return None

    def finish(self, kept: str, weights: dict[str, Tensor]) -> None:
        """Write the classifier."""
        encoder = copy.deepcopy(self.encoder).cpu().eval()
        encoder.load_state_dict(weights)
        story = provenance(
            self.settings,
            self.progress,
            backbone=place_name(self.backbone),
            fingerprints=self.sources,
            examples=len(self.examples),
            classes=self.examples.classes,
            kept=kept,
        )
        made = Checkpoint(
            encoder, self.tokenizer, self.config, self.settings.widths, None, story, self.settings.max_length
        )
        with renewed_folder(self.product) as folder:
            made.save(folder, dtype="bfloat16")  # what it will be run in


def cut_layers(encoder: Encoder, layers: int | None) -> None:
    """Leave an encoder its first `layers` layers (in place).

    Raises:
        ValueError: it has fewer.
    """
    there = encoder.shape.layers
    if layers is not None and not 1 <= layers <= there:
        raise ValueError(f"layers={layers}: the backbone has {there} layers, so choose from 1 to {there}")
    encoder.shape = replace(encoder.shape, layers=layers or there)
    encoder.layers = encoder.layers[: encoder.shape.layers]


def give_readouts(encoder: Encoder, settings: TrainingSettings, classes: int, start: float = 0.0) -> None:
    """Put untrained heads after the depths of the settings and after the last layer (in place).

    All their logits are `start`.

    Raises:
        ValueError: the encoder has fewer layers.
    """
    layers = encoder.shape.layers
    if settings.depths and not 0 <= settings.depths[0] <= settings.depths[-1] <= layers:
        raise ValueError(f"depths={settings.depths}: the backbone has {layers} layers, so choose from 0 to {layers}")
    depths = sorted({*(settings.depths or range(1, layers + 1)), layers})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        readouts = {str(depth): MeanReadout(encoder.shape.hidden, classes) for depth in depths}
    for readout in readouts.values():
        nn.init.constant_(readout.head_bias, start)
    encoder.exits = nn.ModuleDict(readouts)
