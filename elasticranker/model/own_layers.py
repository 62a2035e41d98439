"""The layers of a query encoder: those that it shares with the others, or copies with its own corrections."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

from elasticranker.model.corrections import Correction
from elasticranker.model.encoder import ElasticLayer, Encoder
from elasticranker.model.readout import SplitReadout

READING, WRITING = ("qkv", "up"), ("out", "down")  # products from, and to, a token's state


def own_layers(encoder: Encoder, exit: SplitReadout, kept: Sequence[int]) -> list[ElasticLayer]:
    """The layers of the sub-network that ends in `exit`: those it shares, or corrected copies of them.

    Args:
        encoder: whose layers.
        exit: one of its exits.
        kept: which layers (from 0), as `DenseReading.kept` tells.
    """
    layers = [encoder.layer(index) for index in kept]
    if not exit.corrections:
        return layers
    copies = [copy.deepcopy(layer) for layer in layers]
    for layer, correction in zip(copies, exit.corrections, strict=True):
        cast(Correction, correction).fold(layer)
    return copies


def sizes_of(layer: ElasticLayer) -> dict[str, tuple[int, int]]:
    """Rows and columns of a layer's products, heads and gates laid side by side.

    Example:
        >>> sizes_of(encoder.layer(0))["down"]  # doctest: +SKIP
        (384, 1536)
    """
    sizes = {}
    for name in (*READING, *WRITING):
        tensor = getattr(layer, name)
        inner = tensor.shape[-1] if name in READING else tensor.numel() // tensor.shape[0]
        sizes[name] = (tensor.numel() // inner, inner)
    return sizes
