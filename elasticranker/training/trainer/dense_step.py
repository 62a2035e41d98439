"""The loss of one step of the dense stage: every sub-network learns where the teacher's vectors are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticranker.model.corrections import Correction
from elasticranker.model.encoder import Encoder, Weights, blank_after, padding_mask
from elasticranker.model.readout import SplitReadout
from elasticranker.planning.dense import DenseReading
from elasticranker.training.data.dense_texts import VectorBatch, VectorStep
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.step import exit_shares


def read_vectors(
    encoder: Encoder,
    reading: DenseReading,
    batch: VectorBatch,
    width: float,
    dtype: torch.dtype,
    depths: tuple[int, ...] | None = None,
) -> Tensor:
    """Unit vectors `[exits, B, H]` (float32) of texts at every exit of one width, or at those after `depths` alone."""
    depths = encoder.depths if depths is None else depths
    readouts = [cast(SplitReadout, encoder.exits[str(depth)]) for depth in depths]
    shared = any(not readout.corrections for readout in readouts)
    weights = encoder.weights(width, dtype) if shared else []
    start, padding, own = states_before(encoder, batch, dtype)
    known: dict[tuple[int, ...], Tensor] = {(): start}  # states after some layers, which several depths begin with
    vectors = []
    for depth, readout in zip(depths, readouts, strict=True):
        kept = reading.kept(depth, encoder.shape.layers)
        if readout.corrections:
            states = encoder.run_layers(start, _corrected(encoder, readout, kept, dtype), padding)
            vectors.append(readout.pooled(states, own)[:, 0])
            continue
        for end in range(1, depth + 1):
            if kept[:end] not in known:
                before, layer = known[kept[: end - 1]], weights[kept[end - 1]]
                known[kept[:end]] = encoder.run_layers(before, [layer], padding)
        vectors.append(readout.pooled(known[kept], own)[:, 0])
    return torch.stack(vectors)


def _corrected(encoder: Encoder, readout: SplitReadout, kept: Sequence[int], dtype: torch.dtype) -> list[Weights]:
    """A query encoder's own layers, added up before they are rounded: steps are smaller than what rounding leaves."""
    made = []
    for index, correction in zip(kept, readout.corrections, strict=True):
        layer = cast(Correction, correction).correct(encoder.layer(index).cut(1.0, torch.float32))
        made.append(layer.map(lambda tensor: tensor.to(dtype)))
    return made


def states_before(encoder: Encoder, batch: VectorBatch, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """States before the first layer, the mask that layers take, and `[B, 1, T]` which tokens are a text's own."""
    blank = blank_after(batch.lengths, batch.ids.shape[1])
    states = encoder.embeddings(batch.ids, torch.zeros_like(batch.ids), dtype)
    return states, padding_mask(blank, dtype), ~blank[:, None]


def in_space(encoder: Encoder, vectors: Tensor) -> Tensor:
    """The teacher's vectors `[..., H]` as the whole model has them: rotated, where vectors may be cut."""
    whole = cast(SplitReadout, encoder.exits[str(encoder.shape.layers)])
    return F.linear(vectors, whole.projection) if whole.projected else vectors


class DenseStep(nn.Module):
    """The losses of every sub-network of a step: all exits of any weight at full width, then some narrower widths.

    A text's loss is `1 - cosine` of its vector to the teacher's, and the KL divergence of how it ranks the step's
    documents from how the teacher's vector does: with all dimensions and, on average, with the first of them alone that
    vectors may be cut to.

    Args:
        encoder: what is trained.
        reading: which layers its sub-networks have.
        settings: weights of losses, exits and widths.
        dtype: of weights and activations; master weights and losses stay float32.

    Attributes:
        taught: depths whose exits have any weight: the others aren't run.

    Raises:
        ValueError: no exit has any.
    """

    def __init__(self, encoder: Encoder, reading: DenseReading, settings: TrainingSettings, dtype: torch.dtype) -> None:
        super().__init__()
        self.encoder, self.reading, self.settings, self.dtype = encoder, reading, settings, dtype
        aligning = torch.full((len(encoder.depths),), settings.align_exits / max(1, len(encoder.depths) - 1))
        aligning[-1] = settings.align_full
        ranking = settings.losses.get("kl", 0.0) * exit_shares(settings, encoder.depths)
        used = (aligning + ranking) > 0
        if settings.query_rank:
            used[-1] = False  # it stays as it is
        if not used.any():
            raise ValueError(
                "no exit has any weight: give --align-full, --align-exits or --losses kl=... one above 0 (align_full, "
                "align_exits, losses)"
            )
        self.taught = tuple(
            depth for depth, any_weight in zip(encoder.depths, used.tolist(), strict=True) if any_weight
        )
        self.aligning: Tensor
        self.register_buffer("aligning", aligning[used], persistent=False)
        self.ranking: Tensor
        self.register_buffer("ranking", ranking[used], persistent=False)

    def forward(self, data: VectorStep, widths: list[float]) -> tuple[Tensor, Tensor]:
        """The loss, and the detached cosine distances `[1 + len(widths), exits]` of taught exits (full width first)."""
        sums = [self.losses(data.full, data.documents, 1.0) / data.texts]
        sums += [self.losses(data.narrow, data.documents, width) / data.narrow_texts for width in widths]
        each = [(self.aligning * apart).sum() + (self.ranking * diverging).sum() for apart, diverging in sums]
        total = each[0]
        if widths:
            total = total + self.settings.narrow_weight * torch.stack(each[1:]).mean()
        return total, torch.stack([apart for apart, _ in sums]).detach()

    def losses(self, batches: list[VectorBatch], documents: Tensor, width: float) -> Tensor:
        """`[2, exits]` sums over texts at each taught exit: of `1 - cosine`, and of the divergence."""
        sums = [torch.zeros(2, len(self.taught), device=documents.device)]
        heat = self.settings.temperature
        documents = in_space(self.encoder, documents)
        sizes = (documents.shape[1], *self.reading.dims)
        compared = {size: F.normalize(documents[:, :size], dim=-1) for size in sizes}
        for batch in batches:
            targets = in_space(self.encoder, batch.targets)
            vectors = read_vectors(self.encoder, self.reading, batch, width, self.dtype, self.taught)
            apart = 1 - (vectors * targets).sum(-1)  # [exits, B]
            taught = F.log_softmax(targets @ documents.T / heat, -1)  # [B, D]
            diverging = torch.zeros_like(apart)
            for size, cut in compared.items():
                own = F.log_softmax(F.normalize(vectors[..., :size], dim=-1) @ cut.T / heat, -1)  # [exits, B, D]
                diverging = diverging + (taught.exp() * (taught - own)).sum(-1) / len(compared)
            sums.append(torch.stack([apart.sum(-1), diverging.sum(-1)]))
        return torch.stack(sums).sum(0)
