"""BERT (Devlin et al. 2019): post-norm layers over token, position and type embeddings.

ELECTRA, RoBERTa, DistilBERT, ALBERT and, but for a mask, MPNet are made of the same layers and embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticranker.model.encoder import ElasticLayer, Group, Shape, Weights, attend, joined
from elasticranker.model.families.family import Family, Head, check_activation
from elasticranker.model.products import Products, written_out

BODY = {
    "embeddings.token": "embeddings.word_embeddings.weight",
    "embeddings.position": "embeddings.position_embeddings.weight",
    "embeddings.segment": "embeddings.token_type_embeddings.weight",
    "embeddings.norm": "embeddings.LayerNorm.weight",
    "embeddings.norm_bias": "embeddings.LayerNorm.bias",
    "embeddings.projection": "embeddings_project.weight",
    "embeddings.projection_bias": "embeddings_project.bias",
}
LAYER = {
    "qkv.0": "encoder.layer.{}.attention.self.query.weight",
    "qkv.1": "encoder.layer.{}.attention.self.key.weight",
    "qkv.2": "encoder.layer.{}.attention.self.value.weight",
    "qkv_bias.0": "encoder.layer.{}.attention.self.query.bias",
    "qkv_bias.1": "encoder.layer.{}.attention.self.key.bias",
    "qkv_bias.2": "encoder.layer.{}.attention.self.value.bias",
    "out": "encoder.layer.{}.attention.output.dense.weight",
    "out_bias": "encoder.layer.{}.attention.output.dense.bias",
    "norm1": "encoder.layer.{}.attention.output.LayerNorm.weight",
    "norm1_bias": "encoder.layer.{}.attention.output.LayerNorm.bias",
    "up": "encoder.layer.{}.intermediate.dense.weight",
    "up_bias": "encoder.layer.{}.intermediate.dense.bias",
    "down": "encoder.layer.{}.output.dense.weight",
    "down_bias": "encoder.layer.{}.output.dense.bias",
    "norm2": "encoder.layer.{}.output.LayerNorm.weight",
    "norm2_bias": "encoder.layer.{}.output.LayerNorm.bias",
}
APART = -1e4  # a bias that leaves no attention: finite, so that its products and gradients are numbers
START = -4.0  # the bias that training starts with: hardly open


@dataclass(frozen=True)
class BertShape(Shape):
    """Sizes of an encoder of BERT's layers and embeddings."""

    def make_embeddings(self) -> Embeddings:
        """Untrained embeddings."""
        return Embeddings(self)

    def make_layer(self, index: int) -> Layer:
        """One of the distinct layers, untrained."""
        return Layer(self, crosses=self.split and index >= self.first_cross)


@dataclass(frozen=True)
class LayerWeights(Weights):
    """What a post-norm layer multiplies by at one width."""

    qkv_bias: Tensor  # [3hd]
    out_bias: Tensor  # [H]
    norm1: Tensor  # [H]
    norm1_bias: Tensor  # [H]
    up_bias: Tensor  # [f]
    down_bias: Tensor  # [H]
    norm2: Tensor  # [H]
    norm2_bias: Tensor  # [H]
    cross: Tensor  # [h] bias on attention between two split texts; [0] where pairs are joint

    def run(
        self,
        hidden: Tensor,
        groups: Sequence[Group],
        shape: Shape,
        *,
        products: Products | None = None,
        head_gate: Tensor | None = None,
        neuron_gate: Tensor | None = None,
    ) -> Tensor:
        """One post-norm layer; see `Weights.run`."""
        products = products or written_out(shape.activation)
        heads = self.out.shape[1] // shape.head_size
        qkv = joined([products.plain(rows, self.qkv, self.qkv_bias) for rows in products.cut(hidden)])  # [N, 3hd]
        parts = qkv.split([group.size * group.tokens for group in groups])
        outputs = []
        for part, group in zip(parts, groups, strict=True):
            split = part.view(group.size, group.tokens, 3, heads, shape.head_size)
            query, key, value = split.permute(2, 0, 3, 1, 4)  # [B, h, T, d] each
            mixed = self.mix(query, key, value, group)  # [B, T, h, d]
            if head_gate is not None:
                mixed = mixed * head_gate[:, None]
            outputs.append(mixed.reshape(-1, heads * shape.head_size))
        after = []
        for mixed, rows in zip(products.cut(joined(outputs)), products.cut(hidden), strict=True):  # [n, hd], [n, H]
            rows = products.added(mixed, self.out, self.out_bias, rows)
            rows = F.layer_norm(rows, (shape.hidden,), self.norm1, self.norm1_bias, shape.epsilon)
            inner = products.activated(rows, self.up, self.up_bias)  # [n, f]
            if neuron_gate is not None:
                inner = inner * neuron_gate
            rows = products.added(inner, self.down, self.down_bias, rows)
            after.append(F.layer_norm(rows, (shape.hidden,), self.norm2, self.norm2_bias, shape.epsilon))
        return joined(after)

    def mix(self, query: Tensor, key: Tensor, value: Tensor, group: Group) -> Tensor:
        """Attention's outputs `[B, T, h, d]` of a group's queries, keys and values `[B, h, T, d]`.

        A split pair's two texts one after the other: all tokens of a text see the other text by one bias a head, so the
        mask of each is `[B, h, 1, T]`. For the whole pair it would be a number a logit.
        """
        if not group.first:
            return attend(query, key, value, self.mask(group)).transpose(1, 2)
        first = group.first
        mask = group.padding + self.cross[:, None, None] * group.others()  # [B, h, 2, T]
        asked = attend(query[:, :, :first], key, value, mask[:, :, :1])
        document = attend(query[:, :, first:], key, value, mask[:, :, 1:])
        return torch.cat([asked.transpose(1, 2), document.transpose(1, 2)], 1)

    def mask(self, group: Group) -> Tensor:
        """What is added to the attention logits `[B, h, T, T]` of a group of texts alone or pairs in joint layout."""
        return group.padding


class Layer(ElasticLayer):
    """The trained tensors of one layer, kept by head and by neuron so that a narrower width is a prefix.

    With `crosses`, the two texts of a pair in split layout see each other in it.
    """

    def __init__(self, shape: Shape, crosses: bool = False) -> None:
        super().__init__()
        self.shape = shape
        heads, size, hidden, neurons = shape.heads, shape.head_size, shape.hidden, shape.neurons
        self.qkv = nn.Parameter(torch.empty(3, heads, size, hidden).normal_(std=0.02))
        self.qkv_bias = nn.Parameter(torch.zeros(3, heads, size))
        self.out = nn.Parameter(torch.empty(hidden, heads, size).normal_(std=0.02))
        self.out_bias = nn.Parameter(torch.zeros(hidden))
        self.norm1 = nn.Parameter(torch.ones(hidden))
        self.norm1_bias = nn.Parameter(torch.zeros(hidden))
        self.up = nn.Parameter(torch.empty(neurons, hidden).normal_(std=0.02))
        self.up_bias = nn.Parameter(torch.zeros(neurons))
        self.down = nn.Parameter(torch.empty(hidden, neurons).normal_(std=0.02))
        self.down_bias = nn.Parameter(torch.zeros(hidden))
        self.norm2 = nn.Parameter(torch.ones(hidden))
        self.norm2_bias = nn.Parameter(torch.zeros(hidden))
        if crosses:
            self.cross = nn.Parameter(torch.full((heads,), START))

    def cut(self, width: float, dtype: torch.dtype) -> LayerWeights:
        """This layer's first `width` share of heads and neurons, as tensors of `dtype` (differentiable)."""
        return LayerWeights(**self._tensors(width)).map(lambda tensor: tensor.to(dtype))

    def _tensors(self, width: float) -> dict[str, Tensor]:
        """What `LayerWeights` takes."""
        heads, neurons = self.shape.heads_at(width), self.shape.neurons_at(width)
        return {
            "qkv": self.qkv[:, :heads].reshape(-1, self.shape.hidden),
            "qkv_bias": self.qkv_bias[:, :heads].reshape(-1),
            "out": self.out[:, :heads].reshape(self.shape.hidden, -1),
            "out_bias": self.out_bias,
            "norm1": self.norm1,
            "norm1_bias": self.norm1_bias,
            "up": self.up[:neurons],
            "up_bias": self.up_bias[:neurons],
            "down": self.down[:, :neurons],
            "down_bias": self.down_bias,
            "norm2": self.norm2,
            "norm2_bias": self.norm2_bias,
            "cross": self._cross(heads),
        }

    @torch.no_grad()
    def reorder(self, heads: Tensor, neurons: Tensor) -> None:
        """Put heads and neurons into another order (in place); the layer computes what it did before."""
        self.qkv.copy_(self.qkv[:, heads])
        self.qkv_bias.copy_(self.qkv_bias[:, heads])
        self.out.copy_(self.out[:, heads])
        if hasattr(self, "cross"):
            self.cross.copy_(self.cross[heads])
        self.up.copy_(self.up[neurons])
        self.up_bias.copy_(self.up_bias[neurons])
        self.down.copy_(self.down[:, neurons])

    def _cross(self, heads: int) -> Tensor:
        """Bias `[heads]` on attention between the texts of a pair."""
        if hasattr(self, "cross"):
            return self.cross[:heads]
        return torch.full((heads if self.shape.split else 0,), APART, device=self.norm1.device)


class Embeddings(nn.Module):
    """Token, position and type embeddings, normalised, and projected where the backbone's are narrower."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token = nn.Parameter(torch.empty(shape.vocabulary, shape.embedding).normal_(std=0.02))
        self.position = nn.Parameter(torch.empty(shape.positions, shape.embedding).normal_(std=0.02))
        if shape.types:
            self.segment = nn.Parameter(torch.empty(shape.types, shape.embedding).normal_(std=0.02))
        self.norm = nn.Parameter(torch.ones(shape.embedding))
        self.norm_bias = nn.Parameter(torch.zeros(shape.embedding))
        if shape.embedding != shape.hidden:
            self.projection = nn.Parameter(torch.empty(shape.hidden, shape.embedding).normal_(std=0.02))
            self.projection_bias = nn.Parameter(torch.zeros(shape.hidden))

    def forward(
        self, ids: Tensor, types: Tensor, dtype: torch.dtype, first: int = 0, *, second: bool = False
    ) -> Tensor:
        """Hidden states `[B, T, H]` of token ids and types `[B, T]`.

        After the `first` tokens a text of its own begins, a split pair's document. With `second`, all are a split
        pair's document.
        """
        start = self.shape.document_start if first or second else 0
        places = self.positions(ids[:, first:], start)
        if first:
            places = torch.cat([self.positions(ids[:, :first]), places], dim=-2)
        hidden = F.embedding(ids, self.token) + places
        if start and self.shape.types > 1:
            types = (torch.arange(ids.shape[1], device=ids.device) >= first).long().expand_as(ids)
        if self.shape.types:
            hidden = hidden + F.embedding(types, self.segment)
        hidden = F.layer_norm(hidden, (self.shape.embedding,), self.norm, self.norm_bias, self.shape.epsilon).to(dtype)
        if self.shape.embedding != self.shape.hidden:
            hidden = F.linear(hidden, self.projection.to(dtype), self.projection_bias.to(dtype))
        return hidden

    def positions(self, ids: Tensor, begin: int = 0) -> Tensor:
        """Position embeddings `[T, E]` or `[B, T, E]` of token ids `[B, T]`, whose positions start at `begin`.

        Tokens beyond the last position, such as the padding of a bucket, have the last one.
        """
        start, last = self.shape.position_offset, self.shape.positions - 1
        if not start:
            end = begin + ids.shape[1]
            if end <= last + 1:
                return self.position[begin:end]
            return self.position[torch.arange(begin, end, device=ids.device).clamp_max(last)]
        counted = ids != start - 1  # RoBERTa passes padding ids over, also where a text spells one out
        place = counted.cumsum(1) * counted + (start - 1)
        return F.embedding((place + begin * counted).clamp_max(last) if begin else place, self.position)


def sizes(config: Any) -> dict[str, Any]:
    """What `BertShape` takes, from a configuration in BERT's words.

    Raises:
        ValueError: it asks for what isn't done.
    """
    if getattr(config, "position_embedding_type", "absolute") != "absolute":
        raise ValueError(f"position_embedding_type {config.position_embedding_type!r}: only 'absolute' is supported")
    if getattr(config, "is_decoder", False):
        raise ValueError("is_decoder=True: a decoder's tokens don't see those after them, use an encoder's checkpoint")
    return {
        "vocabulary": config.vocab_size,
        "positions": config.max_position_embeddings,
        "types": getattr(config, "type_vocab_size", 0),
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "heads": config.num_attention_heads,
        "head_size": config.hidden_size // config.num_attention_heads,
        "neurons": config.intermediate_size,
        "embedding": getattr(config, "embedding_size", config.hidden_size),
        "epsilon": config.layer_norm_eps,
        "activation": check_activation("hidden_act", config.hidden_act),
    }


BERT = Family(
    types=("bert",),
    shape=lambda config: BertShape(**sizes(config)),
    head=lambda config: Head("pooler.dense", "tanh", "classifier"),
    body=BODY,
    layer=LAYER,
    shapes=BertShape,
)
