"""The align stage: sub-networks learn a larger encoder's relations between tokens, from plain text, before any task."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from elasticranker.files import renewed_folder, write_json
from elasticranker.model.checkpoint import fingerprint
from elasticranker.model.encoder import Encoder, blank_after, padding_mask
from elasticranker.model.huggingface import from_hugging_face
from elasticranker.model.saved import read_tokenizer
from elasticranker.training.data.texts import TextBatch, TextSampler, TextStep, digest, read_texts
from elasticranker.training.origin import place_name
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.alignment import check_heads, project, relation_loss, relations
from elasticranker.training.trainer.encoder_folder import save_encoder
from elasticranker.training.trainer.loop import Loop
from elasticranker.training.trainer.provenance import provenance
from elasticranker.training.trainer.rank_stage import check_length
from elasticranker.training.trainer.step import exit_shares


class RelationTeacher:
    """The relations of one layer of an encoder.

    Args:
        source: Hugging Face id or folder.
        layer: from 1; 0 for the last.
        heads: relation heads.
        device: where to run.
        dtype: of weights and activations.

    Raises:
        ValueError: it hasn't that layer, or its features can't be cut into so many heads.
    """

    def __init__(self, source: str, *, layer: int, heads: int, device: torch.device, dtype: torch.dtype) -> None:
        encoder, _ = from_hugging_face(source, keep_head=False)
        if not 0 <= layer <= encoder.shape.layers:
            raise ValueError(f"teacher_layer={layer}: the teacher has {encoder.shape.layers} layers")
        check_heads(encoder.shape.heads * encoder.shape.head_size, heads, "the teacher")
        self.encoder, self.heads, self.dtype = encoder.to(device), heads, dtype
        self.layer = layer or encoder.shape.layers
        with torch.no_grad():
            self.weights = encoder.weights(1.0, dtype)[: self.layer]

    @torch.no_grad()
    def relations(self, batch: TextBatch) -> Tensor:
        """Log-probabilities `[3, B, heads, T, T]`; see `elasticranker.training.trainer.alignment.relations`."""
        hidden = self.encoder.embeddings(batch.ids, batch.types, self.dtype)
        padding = padding_mask(blank_after(batch.lengths, hidden.shape[1]), self.dtype)
        hidden = self.encoder.run_layers(hidden, self.weights[:-1], padding)
        return relations(project(hidden, self.weights[-1], self.encoder.shape), batch.lengths, self.heads)


class AlignStep(nn.Module):
    """The relation loss of every sub-network of a step: all depths at full width, then some narrower widths.

    Args:
        encoder: the student.
        teacher: what is imitated.
        depths: depths whose last layer is aligned, ascending.
        settings: weights of depths and widths.
        dtype: of weights and activations.
    """

    def __init__(
        self,
        encoder: Encoder,
        teacher: RelationTeacher,
        depths: tuple[int, ...],
        settings: TrainingSettings,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.encoder, self.teacher, self.depths, self.dtype = encoder, teacher, depths, dtype
        self.narrow_weight = settings.narrow_weight
        self.shares: Tensor
        self.register_buffer("shares", exit_shares(settings, depths), persistent=False)

    def forward(self, data: TextStep, widths: list[float]) -> tuple[Tensor, Tensor]:
        """The loss, and the detached loss of each depth `[1 + len(widths), depths]` (full width first)."""
        losses = [self.losses(data.full, 1.0) / data.texts]
        losses += [self.losses(data.narrow, width) / data.narrow_texts for width in widths]
        weighted = [(self.shares * loss).sum() for loss in losses]
        total = weighted[0]
        if widths:
            total = total + self.narrow_weight * torch.stack(weighted[1:]).mean()
        return total, torch.stack(losses).detach()

    def losses(self, batches: list[TextBatch], width: float) -> Tensor:
        """`[depths]` sum over texts of the loss at each depth."""
        weights = self.encoder.weights(width, self.dtype)
        sums = [torch.zeros(len(self.depths), device=self.shares.device)]
        for batch in batches:
            target = self.teacher.relations(batch)
            hidden = self.encoder.embeddings(batch.ids, batch.types, self.dtype)
            padding = padding_mask(blank_after(batch.lengths, hidden.shape[1]), self.dtype)
            done, losses = 0, []
            for depth in self.depths:
                hidden = self.encoder.run_layers(hidden, weights[done : depth - 1], padding)
                done = depth - 1
                student = relations(
                    project(hidden, weights[done], self.encoder.shape), batch.lengths, self.teacher.heads
                )
                losses.append(relation_loss(student, target, batch.lengths).sum())
            sums.append(torch.stack(losses))
        return torch.stack(sums).sum(0)


class AlignmentTrainer(Loop):
    """Aligns an encoder's sub-networks with a larger one; its product is a start for `ElasticTrainer`.

    Readouts aren't touched, nor what the deepest layer does after its projections, which no relation depends on. Heads
    and neurons stay in their order: the rank stage measures their importance for its own loss.

    Args:
        backbone: Hugging Face id or folder of the student.
        teacher: likewise, of an encoder with the same vocabulary.
        data: a text file (one text a line), or a prepared folder, whose documents are taken.
        output: folder of the run; the encoder comes into its `encoder`.
        settings: what fixes the trajectory.
        batch_texts: texts that run together; by default 64, on a GPU 256.
        options: `resume`, `max_minutes`, `validate_every`, `save_every`, `keep`, `dtype`, `on_step`: see `Loop`.

    Raises:
        ValueError: teacher and student don't go together, unusable data, or `output` holds another run.

    Example:
        >>> AlignmentTrainer("small", "large", "texts.txt", "aligned").train()  # doctest: +SKIP
        >>> ElasticTrainer("aligned/encoder", "prepared", "run").train()  # doctest: +SKIP
    """

    stage = "align"
    module: AlignStep

    def __init__(
        self,
        backbone: str | Path,
        teacher: str | Path,
        data: str | Path,
        output: str | Path,
        settings: TrainingSettings | None = None,
        *,
        batch_texts: int | None = None,
        **options: Any,
    ) -> None:
        settings = settings or TrainingSettings()
        self.backbone, self.teacher, self.data = str(backbone), str(teacher), Path(data)
        self.sources = {
            "backbone": fingerprint(self.backbone),
            "teacher": fingerprint(self.teacher),
            "data": digest(data),
        }
        super().__init__(output, settings, self.sources, **options)
        self.tokenizer = read_tokenizer(self.backbone)
        if read_tokenizer(self.teacher).get_vocab() != self.tokenizer.get_vocab():
            raise ValueError(
                f"teacher {teacher} and backbone {backbone} have different vocabularies: their tokens can't be compared"
            )
        guide = RelationTeacher(
            self.teacher,
            layer=settings.teacher_layer,
            heads=settings.relation_heads,
            device=self.device,
            dtype=self.dtype,
        )
        check_length(guide.encoder, settings.max_length)
        encoder, self.config = from_hugging_face(self.backbone, keep_head=False)
        check_length(encoder, settings.max_length)
        for width in settings.widths:
            shape = encoder.shape
            check_heads(shape.heads_at(width) * shape.head_size, settings.relation_heads, f"the width {width:g}")
        self.encoder = encoder.to(self.device).train()
        depths = aligned_depths(encoder.shape.layers, settings.depths)
        freeze_unaligned(encoder, freeze_tokens=settings.freeze_tokens)
        self.sampler = TextSampler(
            self.tokenizer,
            read_texts(data),
            settings.groups_per_step * settings.group_size,
            settings.max_length,
            batch_texts=batch_texts or (256 if self.device.type == "cuda" else 64),
            narrow_share=settings.narrow_share if len(settings.widths) > 1 else 0.0,
            seed=settings.seed,
            rank=self.accelerator.process_index,
            processes=self.accelerator.num_processes,
        )
        self.module = AlignStep(encoder, guide, depths, settings, self.dtype)
        self._begin()

    @property
    def product(self) -> Path:
        """The aligned encoder, as a Hugging Face folder."""
        return self.output / "encoder"

    @torch.inference_mode()
    def validate(self) -> dict[str, Any]:
        """The loss at full width by depth on the texts that are held out; its negative mean is the `score`."""
        batches = [TextBatch(*(tensor.to(self.device) for tensor in batch)) for batch in self.sampler.validation()]
        losses = (self.module.losses(batches, 1.0) / len(self.sampler.held)).tolist()
        return {"held_out": [round(loss, 4) for loss in losses], "score": -sum(losses) / len(losses)}

    def finish(self, kept: str, weights: dict[str, Tensor]) -> None:
        """Write the encoder as a Hugging Face folder."""
        encoder = copy.deepcopy(self.encoder).cpu()
        encoder.load_state_dict(weights)
        story = provenance(
            self.settings,
            self.progress,
            backbone=place_name(self.backbone),
            teacher=place_name(self.teacher),
            fingerprints=self.sources,
            texts=len(self.sampler.texts),
            kept=kept,
        )
        with renewed_folder(self.product) as folder:
            save_encoder(encoder, self.config, self.tokenizer, folder)
            write_json(folder / "provenance.json", story)


def aligned_depths(layers: int, chosen: tuple[int, ...]) -> tuple[int, ...]:
    """The depths to align: those chosen, or every quarter of the layers; the whole model always.

    Raises:
        ValueError: depths that the model hasn't; depth 0 has no relations.
    """
    if chosen and not 1 <= chosen[0] <= chosen[-1] <= layers:
        raise ValueError(f"depths={chosen}: the backbone has {layers} layers, so choose from 1 to {layers}")
    quarters = {max(1, round(layers * quarter / 4)) for quarter in range(1, 5)}
    return tuple(sorted({*(chosen or quarters), layers}))


def freeze_unaligned(encoder: Encoder, *, freeze_tokens: bool) -> None:
    """Leave out of training what the relation loss doesn't depend on, and the token embeddings if so wished."""
    encoder.exits.requires_grad_(False)
    encoder.embeddings.token.requires_grad_(not freeze_tokens)
    if encoder.final is not None:
        encoder.final.requires_grad_(False)
    last, shape = encoder.shape.layers - 1, encoder.shape
    if shape.own(last) in (shape.own(index) for index in range(last)):
        return  # shared with a layer of which more counts
    layer = encoder.layer(last)
    for name, parameter in layer.named_parameters():
        if not name.startswith(layer.projecting):
            parameter.requires_grad_(False)
