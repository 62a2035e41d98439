"""The rank stage: one run that teaches every sub-network to rerank.

Needs torch, transformers, accelerate, safetensors and numpy, nothing else.
"""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from elasticranker.files import renewed_folder
from elasticranker.model.card import model_card
from elasticranker.model.checkpoint import Checkpoint, fingerprint, is_elastic, load
from elasticranker.model.encoder import Encoder
from elasticranker.model.huggingface import from_hugging_face
from elasticranker.model.loaded import refuse_chosen_layers
from elasticranker.model.saved import read_settings, read_tokenizer
from elasticranker.training.data.batches import Sampler, StepData
from elasticranker.training.data.groups import Groups, digest, read_info
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.blending import blend
from elasticranker.training.trainer.fitting import fit_exits
from elasticranker.training.trainer.loop import Loop
from elasticranker.training.trainer.ordering import order_by_importance
from elasticranker.training.trainer.provenance import provenance_after
from elasticranker.training.trainer.step import ElasticStep
from elasticranker.training.trainer.validation import validate


class ElasticTrainer(Loop):
    """Trains an elastic encoder from a backbone and prepared groups.

    Args:
        backbone: Hugging Face id or folder of an encoder or cross-encoder of a supported family, whose own head
            is left aside: every exit gets a new readout; or an elastic checkpoint, `"default"` for the one that
            ships, whose training goes on with its exits and widths.
        data: a prepared folder (`elasticranker prepare`).
        output: folder of the run; the elastic checkpoint comes into its `checkpoint`.
        settings: what fixes the trajectory.
        lower: an elastic checkpoint in joint layout that was trained from the same backbone, whose lower layers are a
            head start for split layout (see `elasticranker.training.trainer.blending`).
        batch_pairs: pairs that run together; by default 64, on a GPU 512.
        options: `resume`, `max_minutes`, `validate_every`, `save_every`, `keep`, `dtype`, `on_step`: see `Loop`.

    Raises:
        ValueError: unusable data or backbone, or `output` holds another run.

    Example:
        >>> trainer = ElasticTrainer("intfloat/e5-small-v2", "prepared", "run", resume=True)  # doctest: +SKIP
        >>> ElasticRanker(trainer.train() / "checkpoint")  # doctest: +SKIP
    """

    stage = "rank"
    stored: ClassVar[str | None] = "bfloat16"  # dtype of the weights on disk: what they will be run in
    module: ElasticStep

    def __init__(
        self,
        backbone: str | Path,
        data: str | Path,
        output: str | Path,
        settings: TrainingSettings | None = None,
        *,
        lower: str | Path | None = None,
        batch_pairs: int | None = None,
        **options: Any,
    ) -> None:
        settings = settings or TrainingSettings()
        self.backbone, self.data, self.lower = str(backbone), Path(data), lower
        self.weighed: set[int] = set()  # depths whose exits have the readouts of `lower`
        self.sources = {"backbone": fingerprint(self.backbone), "data": digest(data)}
        if lower is not None:
            self.sources["lower"] = fingerprint(str(lower))
        super().__init__(output, settings, self.sources, **options)
        self.start: Checkpoint | None = load(self.backbone) if is_elastic(self.backbone) else None
        if self.start is not None:
            refuse_chosen_layers(self.start, self.backbone)
        self.earlier = self.start.provenance if self.start is not None else {}  # the story that goes on here
        if self.start is not None:
            check_widths(settings.widths, self.start.widths)
            encoder, self.config, self.tokenizer = self.start.encoder, self.start.config, self.start.tokenizer
        else:
            encoder, self.config = from_hugging_face(
                self.backbone,
                keep_head=False,
                split=settings.layout == "split",
                first_cross=settings.first_cross,
                document_start=settings.document_start,
            )
            self.tokenizer = read_tokenizer(self.backbone, encoder.shape.vocabulary)
            pooling = read_settings(self.backbone, self.tokenizer, kind="SentenceTransformer").pooling
            if encoder.shape.split and pooling != "mean":
                raise ValueError(
                    f"backbone {backbone} makes vectors by {pooling}, but split layout compares the means of the "
                    "texts' states: give a backbone whose vectors are means, or layout='joint' (--layout joint)"
                )
        if lower is not None:
            if self.start is not None or not encoder.shape.split:
                raise ValueError(f"lower={lower}: a head start is for a new run in split layout (--layout split)")
            head_start = load(str(lower))
            self.weighed = blend(encoder, head_start.encoder, settings.lower_layers)
            self.earlier = head_start.provenance
        elif settings.lower_layers:
            raise ValueError(
                f"lower_layers={settings.lower_layers}: layers of a head start, and none is named; give lower (--lower)"
            )
        self.encoder: Encoder = choose_exits(encoder, settings.depths).to(self.device).train()
        check_length(encoder, settings.max_length)
        self.encoder.embeddings.token.requires_grad_(not settings.freeze_tokens)
        # What it will be in the end, but for its weights and its story.
        self.checkpoint = Checkpoint(
            self.encoder,
            self.tokenizer,
            self.config,
            settings.widths,
            max_length=self.start.max_length if self.start is not None else None,
            prefixes=self.start.prefixes if self.start is not None else settings.prefixes,
            prompt=self.start.prompt if self.start is not None else "",
        )
        self.shallow = settings.shallow_layers or encoder.shape.layers // 2  # the layers that a shallow step runs
        if settings.shallow and not self.encoder.depths[0] <= self.shallow <= encoder.shape.layers:
            raise ValueError(
                f"shallow_layers={settings.shallow_layers}: the backbone has {encoder.shape.layers} layers, and its "
                f"first exit is after {self.encoder.depths[0]}"
            )
        lengths = {"max_length": settings.max_length, "max_query_length": settings.max_query_length}
        groups = Groups.load(data)
        if encoder.shape.split and groups.vectors is None and (settings.align_full or settings.align_exits):
            raise ValueError(
                f"{data} has no vectors to align to: prepare it again with --vectors, or give align_full=0 and "
                "align_exits=0 (--align-full 0 --align-exits 0)"
            )
        self.sampler = Sampler(
            groups,
            self.checkpoint.pairs(**lengths),
            groups_per_step=settings.groups_per_step,
            group_size=settings.group_size,
            narrow_share=settings.narrow_share if len(settings.widths) > 1 else 0.0,
            source_weights=settings.source_weights or None,
            lone_queries=settings.lone_queries,
            lone_documents=settings.lone_documents,
            seed=settings.seed,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
            batch_pairs=batch_pairs or (512 if self.device.type == "cuda" else 64),
        )
        if self.keep == "best" and not self.sampler.groups.held_out.any():
            warnings.warn(
                f"keep='best': {data} holds out no query that would tell which weights are best, so the last ones are "
                "kept. A tenth of a source's queries are held out, so prepare ten or more; keep='last' (--keep last) "
                "says that the last ones are meant",
                stacklevel=2,
            )
        self.module = self.make_step()
        self._begin()

    @property
    def product(self) -> Path:
        """The elastic checkpoint."""
        return self.output / "checkpoint"

    def step_data(self, number: int) -> StepData:
        """This process's groups of a step."""
        data: StepData = self.sampler.step(number)
        return data._replace(deepest=self.shallow) if self.settings.is_shallow(number) else data

    def make_step(self) -> ElasticStep:
        """What computes the loss of a step of `encoder`, whose weights are the start's."""
        return ElasticStep(self.encoder, self.settings, self.dtype, self.accelerator.num_processes)

    def prepare_start(self) -> None:
        """Exits where least squares puts them, heads and neurons in order; what is gone on with has both."""
        settings = self.settings
        if self.start is not None:
            return
        if self.encoder.shape.split and settings.fit_steps:
            samples = self.unseen(settings.fit_steps, "fitting exits")
            fit_exits(self.encoder, samples, settings.temperature, weighed=self.weighed)
        if self.lower is None:
            self.order()

    def order(self) -> None:
        """Most important heads and neurons first, so that a narrow width keeps what matters."""
        settings = self.settings
        if len(settings.widths) > 1 and settings.importance_steps:
            order_by_importance(self.module, self.unseen(settings.importance_steps, "ordering heads and neurons"))

    def validate(self) -> dict[str, Any] | None:
        """See `elasticranker.training.trainer.validation.validate`."""
        return validate(self.encoder, self.sampler, self.dtype, self.device)

    def finish(self, kept: str, weights: dict[str, Tensor]) -> None:
        """Write the elastic checkpoint."""
        encoder = copy.deepcopy(self.encoder).cpu().eval()
        encoder.load_state_dict(weights)
        queries = {name: counts["queries"] for name, counts in self.sampler.groups.counts().items()}
        story = provenance_after(
            self.earlier,
            self.settings,
            self.progress,
            backbone=self.backbone,
            fingerprints=self.sources,
            teacher=read_info(self.data).get("teacher", ""),
            sources=queries,
            kept=kept,
        )
        checkpoint = replace(self.checkpoint, encoder=encoder, provenance=story)
        with renewed_folder(self.product) as folder:
            checkpoint.save(folder, card=model_card(checkpoint), dtype=self.stored)


def choose_exits(encoder: Encoder, depths: tuple[int, ...]) -> Encoder:
    """The encoder with exits after `depths` and after its last layer alone; all exits stay where none are named.

    Raises:
        ValueError: it has fewer layers.
    """
    layers = encoder.shape.layers
    if depths and not 0 <= min(depths) <= max(depths) <= layers:
        raise ValueError(f"depths={depths}: the backbone has {layers} layers, so choose from 0 to {layers}")
    if depths:
        kept = sorted({*depths, layers})
        if missing := [depth for depth in kept if str(depth) not in encoder.exits]:
            raise ValueError(f"depths={depths}: the checkpoint to go on from has no exit after layers {missing}")
        encoder.exits = nn.ModuleDict({str(depth): encoder.exits[str(depth)] for depth in kept})
    return encoder


def check_widths(widths: tuple[float, ...], trained: tuple[float, ...]) -> None:
    """Raise a ValueError where `widths` aren't those that a checkpoint was trained with."""
    if set(widths) != set(trained):
        raise ValueError(f"widths={widths}: the checkpoint to go on from has {trained}; give those")


def check_length(encoder: Encoder, max_length: int) -> None:
    """Raise a ValueError where `max_length` tokens are more than the encoder has positions for."""
    longest = encoder.shape.positions - encoder.shape.position_offset
    if max_length > longest:
        raise ValueError(f"max_length={max_length}: the backbone has positions for {longest} tokens")
