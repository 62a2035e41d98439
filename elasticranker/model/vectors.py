"""The engine of `ElasticDenser`: texts in, unit vectors out, each text by a sub-network of its own.

As in `engine.py`, texts of one bucket form a group: attention runs group by group without padding beyond the bucket,
everything else over all tokens of a batch at once, so that a vector doesn't depend on the texts beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from elasticranker.model import flops  # noqa: F401 (registers a formula)
from elasticranker.model.encoder import Encoder, Group, Weights, blank_after, padding_mask
from elasticranker.model.own_layers import own_layers
from elasticranker.model.products import choose
from elasticranker.model.readout import SplitReadout
from elasticranker.model.texts import TextEncoder, bucket
from elasticranker.planning.dense import DenseReading
from elasticranker.planning.subnet import SubNet

Progress = Callable[[int], object]


class VectorEngine:
    """Makes vectors with sub-networks of one encoder.

    Args:
        encoder: the trained encoder (float32); narrower and rounded copies are cut from it on demand, once each.
        reading: which layers its sub-networks have.
        dtype: of weights and activations; vectors are pooled in float32.
        device: where to run.
        batch_size: padded tokens of a batch.
    """

    def __init__(
        self, encoder: Encoder, reading: DenseReading, *, dtype: torch.dtype, device: torch.device, batch_size: int
    ) -> None:
        self.encoder, self.reading = encoder, reading
        self.dtype, self.device, self.batch_size = dtype, device, batch_size
        self._products = choose(encoder.shape.activation, dtype, device, most=batch_size)
        self._weights: dict[float, Sequence[Weights]] = {}
        self._corrected: dict[SubNet, list[Weights]] = {}

    @torch.inference_mode()
    def encode(
        self,
        rows: Sequence[np.ndarray],
        subnets: Sequence[SubNet],
        texts: TextEncoder,
        *,
        dim: int | None = None,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """Unit vectors `[n, H]` (float32) of tokenised texts.

        Args:
            rows: as `texts.tokens` gives them.
            subnets: the sub-network of each.
            texts: what tokenised them.
            dim: leading dimensions to keep; by default all.
            batch_size: padded tokens of a batch; by default the engine's.
            progress: called after each batch with the number of its texts.
        """
        size = dim or self.encoder.shape.hidden
        vectors = np.empty((len(rows), size), dtype=np.float32)
        order = sorted(range(len(rows)), key=lambda row: (subnets[row], bucket(rows[row])))
        for subnet, members in groupby(order, key=lambda row: subnets[row]):
            for batch in self._cut(list(members), rows, batch_size or self.batch_size):
                made = self._run([rows[row] for row in batch], subnet, texts)
                vectors[batch] = F.normalize(made[:, :size], dim=-1).cpu().numpy()
                if progress is not None:
                    progress(len(batch))
        return vectors

    def _cut(self, order: list[int], rows: Sequence[np.ndarray], batch_size: int) -> list[list[int]]:
        """Runs of rows whose padded tokens add up to at most `batch_size` (or one row)."""
        batches: list[list[int]] = []
        room = 0
        for row in order:
            if not batches or bucket(rows[row]) > room:
                batches.append([])
                room = batch_size
            batches[-1].append(row)
            room -= bucket(rows[row])
        return batches

    def _run(self, rows: list[np.ndarray], subnet: SubNet, texts: TextEncoder) -> Tensor:
        """Unit vectors `[n, H]` of texts that are sorted by bucket."""
        groups, states, own = [], [], []
        for tokens, members in groupby(rows, key=bucket):
            ids, lengths = (tensor.to(self.device) for tensor in texts.batch(list(members), tokens))
            blank = blank_after(lengths, tokens)
            groups.append(Group(len(ids), tokens, padding_mask(blank, self.dtype)))
            states.append(self.encoder.embeddings(ids, torch.zeros_like(ids), self.dtype).flatten(0, 1))
            own.append(~blank[:, None])
        readout = cast(SplitReadout, self.encoder.exits[str(subnet.depth)])
        hidden = self.encoder.run_groups(torch.cat(states), self._layers(subnet, readout), groups, self._products)
        parts = hidden.split([group.size * group.tokens for group in groups])
        return torch.cat(
            [
                readout.pooled(part.view(group.size, group.tokens, -1), where)[:, 0]
                for part, group, where in zip(parts, groups, own, strict=True)
            ]
        )

    def _layers(self, subnet: SubNet, readout: SplitReadout) -> list[Weights]:
        """The layers of a sub-network; those of one with corrections are its own, made once."""
        kept = self.reading.kept(subnet.depth, self.encoder.shape.layers)
        if not readout.corrections:
            every = self.weights(subnet.width)
            return [every[index] for index in kept]
        if subnet not in self._corrected:
            layers = own_layers(self.encoder, readout, kept)
            self._corrected[subnet] = [layer.cut(subnet.width, self.dtype).map(Tensor.contiguous) for layer in layers]
        return self._corrected[subnet]

    def weights(self, width: float) -> Sequence[Weights]:
        """Every layer at one width and this engine's dtype, as contiguous tensors made once."""
        if width not in self._weights:
            self._weights[width] = self.encoder.freeze(width, self.dtype)
        return self._weights[width]
