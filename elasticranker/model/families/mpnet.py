"""MPNet (Song et al. 2020): BERT's layer, whose attention knows how far tokens are apart, in buckets (as T5's does).

All layers share one table of biases. Each has a copy of its own here, in the order of its own heads, and no training
changes it; `to_hugging_face` finds out whether one table can still stand for all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticranker.model.encoder import Group
from elasticranker.model.families.bert import BODY, BertShape, Layer, LayerWeights, sizes
from elasticranker.model.families.family import Family, Head

PADDING = 1  # whatever the configuration says
FARTHEST = 128  # tokens apart: what is farther shares a bucket
LAYER = {
    "qkv.0": "encoder.layer.{}.attention.attn.q.weight",
    "qkv.1": "encoder.layer.{}.attention.attn.k.weight",
    "qkv.2": "encoder.layer.{}.attention.attn.v.weight",
    "qkv_bias.0": "encoder.layer.{}.attention.attn.q.bias",
    "qkv_bias.1": "encoder.layer.{}.attention.attn.k.bias",
    "qkv_bias.2": "encoder.layer.{}.attention.attn.v.bias",
    "out": "encoder.layer.{}.attention.attn.o.weight",
    "out_bias": "encoder.layer.{}.attention.attn.o.bias",
    "norm1": "encoder.layer.{}.attention.LayerNorm.weight",
    "norm1_bias": "encoder.layer.{}.attention.LayerNorm.bias",
    "up": "encoder.layer.{}.intermediate.dense.weight",
    "up_bias": "encoder.layer.{}.intermediate.dense.bias",
    "down": "encoder.layer.{}.output.dense.weight",
    "down_bias": "encoder.layer.{}.output.dense.bias",
    "norm2": "encoder.layer.{}.output.LayerNorm.weight",
    "norm2_bias": "encoder.layer.{}.output.LayerNorm.bias",
    "relative": "encoder.relative_attention_bias.weight",
}


@dataclass(frozen=True)
class MPNetShape(BertShape):
    """Sizes of an MPNet: `buckets` of distances between tokens."""

    splits: ClassVar[bool] = False
    family: str = "mpnet"
    buckets: int = 32

    def make_layer(self, index: int) -> MPNetLayer:
        """One of the layers, untrained."""
        return MPNetLayer(self)


@dataclass(frozen=True)
class MPNetWeights(LayerWeights):
    """What one layer multiplies by at one width."""

    relative: Tensor  # [buckets, h]

    def mask(self, group: Group) -> Tensor:
        """What is added to the attention logits `[B, h, T, T]` of a group."""
        device = self.relative.device
        buckets = group.once("buckets", lambda: distance_buckets(group.tokens, device))  # [T, T]
        return group.padding + F.embedding(buckets, self.relative).permute(2, 0, 1)


class MPNetLayer(Layer):
    """The trained tensors of one layer."""

    def __init__(self, shape: MPNetShape) -> None:
        super().__init__(shape)
        self.relative = nn.Parameter(torch.zeros(shape.buckets, shape.heads), requires_grad=False)

    def cut(self, width: float, dtype: torch.dtype) -> MPNetWeights:
        """This layer's first `width` share of heads and neurons, as tensors of `dtype` (differentiable)."""
        relative = self.relative[:, : self.shape.heads_at(width)]
        return MPNetWeights(**self._tensors(width), relative=relative).map(lambda tensor: tensor.to(dtype))

    @torch.no_grad()
    def reorder(self, heads: Tensor, neurons: Tensor) -> None:
        """Put heads and neurons into another order (in place); the layer computes what it did before."""
        super().reorder(heads, neurons)
        self.relative.copy_(self.relative[:, heads])


def distance_buckets(tokens: int, device: torch.device) -> Tensor:
    """Buckets `[T, T]` of the distances from token to token: 16 for those behind, 16 for those ahead.

    The nearest eight have one each, the others share eight of logarithmic size.
    """
    place = torch.arange(tokens, device=device)
    ahead = place[None] - place[:, None]
    distance = ahead.abs()
    far = 8 + (torch.log(distance.clamp(min=8).float() / 8) / math.log(FARTHEST / 8) * 8).long()
    return torch.where(distance < 8, distance, far.clamp(max=15)) + 16 * (ahead > 0)


def _shape(config: Any) -> MPNetShape:
    if config.relative_attention_num_buckets < 32:
        raise ValueError(
            f"relative_attention_num_buckets={config.relative_attention_num_buckets}: MPNet's attention uses 32"
        )
    return MPNetShape(**sizes(config), position_offset=PADDING + 1, buckets=config.relative_attention_num_buckets)


MPNET = Family(
    types=("mpnet",),
    shape=_shape,
    head=lambda config: Head("classifier.dense", "tanh", "classifier.out_proj"),
    body=BODY,
    layer=LAYER,
    shapes=MPNetShape,
)
