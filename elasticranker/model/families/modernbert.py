"""ModernBERT (Warner et al. 2024; Ettin, Weller et al. 2025): norms before, rotary positions, windows, gated neurons.

Every few layers a token looks everywhere, in the others at a window around it; the two kinds turn their queries and
keys (Su et al. 2021) at speeds of their own. Nothing has a bias. A neuron is the product of two projections, one
activated (GeGLU, Shazeer 2020), so a narrower width cuts both.

Attention within a window is computed in blocks of half a window, each against itself and its two neighbours, wherever
that is cheaper than attention over all; `elasticranker.planning.cost.blocks` says where, and prices it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticranker.model.encoder import ElasticLayer, Group, Shape, Weights, attend, joined
from elasticranker.model.families.family import Family, Head, check_activation, check_pooler
from elasticranker.model.products import Products, written_out
from elasticranker.planning.cost import blocks

BODY = {
    "embeddings.token": "embeddings.tok_embeddings.weight",
    "embeddings.norm": "embeddings.norm.weight",
    "final.norm": "final_norm.weight",
}
LAYER = {
    "norm1": "layers.{}.attn_norm.weight",  # the first layer has none
    "qkv": "layers.{}.attn.Wqkv.weight",
    "out": "layers.{}.attn.Wo.weight",
    "norm2": "layers.{}.mlp_norm.weight",
    "up": "layers.{}.mlp.Wi.weight",
    "down": "layers.{}.mlp.Wo.weight",
}


@dataclass(frozen=True)
class ModernShape(Shape):
    """Sizes of a ModernBERT.

    `reaches` says of each layer how far a token looks to either side, 0 for everywhere; `everywhere` and `nearby` are
    the bases of the two kinds' rotary positions.
    """

    splits: ClassVar[bool] = False
    gates: ClassVar[int] = 2
    family: str = "modernbert"
    reaches: tuple[int, ...] = ()
    everywhere: float = 160_000.0
    nearby: float = 10_000.0

    @property
    def windows(self) -> tuple[int, ...]:
        """A layer's reach."""
        return self.reaches

    def make_embeddings(self) -> ModernEmbeddings:
        """Untrained embeddings."""
        return ModernEmbeddings(self)

    def make_layer(self, index: int) -> ModernLayer:
        """One of the layers, untrained."""
        return ModernLayer(self, index)

    def make_final(self) -> FinalNorm:
        """What hidden states go through before a readout."""
        return FinalNorm(self)


@dataclass(frozen=True)
class ModernWeights(Weights):
    """What one layer multiplies by at one width; `up` is `[2, f, H]`, the activated projection first."""

    norm1: Tensor | None  # [H]
    norm2: Tensor  # [H]
    window: int
    base: float

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
        """Hidden states after the layer; see `Weights.run`."""
        products = products or written_out(shape.activation)
        heads = self.out.shape[1] // shape.head_size
        qkv = joined([products.plain(self.seen(rows, shape), self.qkv, None) for rows in products.cut(hidden)])
        outputs = []
        for part, group in zip(qkv.split([group.size * group.tokens for group in groups]), groups, strict=True):
            split = part.view(group.size, group.tokens, 3, heads, shape.head_size)
            turned = turn(split[:, :, :2], turns(group, shape.head_size, self.base))  # [B, T, 2, h, d]
            mixed = look(turned[:, :, 0], turned[:, :, 1], split[:, :, 2], group, self.window)  # [B, T, h, d]
            if head_gate is not None:
                mixed = mixed * head_gate[:, None]
            outputs.append(mixed.reshape(-1, heads * shape.head_size))
        after = []
        for mixed, rows in zip(products.cut(joined(outputs)), products.cut(hidden), strict=True):  # [n, hd], [n, H]
            rows = products.added(mixed, self.out, None, rows)
            normed = F.layer_norm(rows, (shape.hidden,), self.norm2, None, shape.epsilon)
            inner = products.gated(normed, self.up[1], None, products.activated(normed, self.up[0], None))  # [n, f]
            if neuron_gate is not None:
                inner = inner * neuron_gate
            after.append(products.added(inner, self.down, None, rows))
        return joined(after)

    def seen(self, hidden: Tensor, shape: Shape) -> Tensor:
        """What the layer projects to queries, keys and values: its input, normed but in the first layer."""
        if self.norm1 is None:
            return hidden
        return F.layer_norm(hidden, (shape.hidden,), self.norm1, None, shape.epsilon)


def turns(group: Group, size: int, base: float) -> Tensor:
    """Cosines and sines `[2, T, 1, 1, d / 2]` of the angles of a text's positions."""

    def make() -> Tensor:
        device = group.padding.device
        speeds = 1.0 / base ** (torch.arange(0, size, 2, dtype=torch.float32, device=device) / size)
        angles = torch.outer(torch.arange(group.tokens, dtype=torch.float32, device=device), speeds)
        return torch.stack([angles.cos(), angles.sin()])[:, :, None, None]

    return group.once(("turns", base), make)


def turn(vectors: Tensor, angles: Tensor) -> Tensor:
    """Vectors `[B, T, .., h, d]`, each half of which is turned with the other by `turns`."""
    first, second = vectors.chunk(2, -1)
    cosine, sine = angles  # float32, and so is what they are multiplied to
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], -1).to(vectors.dtype)


def look(query: Tensor, key: Tensor, value: Tensor, group: Group, window: int) -> Tensor:
    """Attention `[B, T, h, d]` of queries, keys and values of that shape, over all or within a window."""
    known = isinstance(group.tokens, int)  # in a graph that is exported lengths are free
    if window and known and (count := blocks(group.tokens, window)):
        mask = group.once(("blocks", window), lambda: blocks_mask(group.padding, window, count))
        batch, tokens, heads, size = query.shape
        beyond = count * window - tokens
        asked = F.pad(query, (0, 0, 0, 0, 0, beyond)).view(batch * count, window, heads, size)
        keys, values = (
            F.pad(x, (0, 0, 0, 0, window, window + beyond)).unfold(1, 3 * window, window).mT.flatten(0, 1)
            for x in (key, value)
        )  # [B count, h, 3 window, d]
        mixed = attend(asked.transpose(1, 2), keys, values, mask)
        return mixed.transpose(1, 2).reshape(batch, count * window, heads, size)[:, :tokens]
    mask = group.padding
    if window and not (known and group.tokens <= window + 1):
        mask = group.once(("window", window), lambda: window_mask(group.padding, window))
    return attend(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2), mask).transpose(1, 2)


def window_mask(padding: Tensor, window: int) -> Tensor:
    """`[B, 1, T, T]` additive mask of padding `[B, 1, 1, T]` and of what lies beyond a window."""
    place = torch.arange(padding.shape[-1], device=padding.device)
    far = (place[None] - place[:, None]).abs() > window
    return padding.masked_fill(far, torch.finfo(padding.dtype).min / 2)


def blocks_mask(padding: Tensor, window: int, count: int) -> Tensor:
    """`[B count, 1, window, 3 window]` the same for blocks: each against the block before, itself, the one behind."""
    never = torch.finfo(padding.dtype).min / 2
    beyond = count * window - padding.shape[-1]
    blank = F.pad(padding[:, 0, 0], (window, window + beyond), value=never)
    blank = blank.unfold(1, 3 * window, window).flatten(0, 1)  # [B count, 3 window]
    place = torch.arange(3 * window, device=padding.device)
    far = (place[None] - window - place[:window, None]).abs() > window
    return blank[:, None, None].masked_fill(far, never)


class ModernLayer(ElasticLayer):
    """The trained tensors of one layer, kept by head and by neuron so that a narrower width is a prefix."""

    projecting = ("qkv", "norm1")

    def __init__(self, shape: ModernShape, index: int) -> None:
        super().__init__()
        self.shape, self.window = shape, shape.reaches[index]
        heads, size, hidden, neurons = shape.heads, shape.head_size, shape.hidden, shape.neurons
        if index:
            self.norm1 = nn.Parameter(torch.ones(hidden))
        self.qkv = nn.Parameter(torch.empty(3, heads, size, hidden).normal_(std=0.02))
        self.out = nn.Parameter(torch.empty(hidden, heads, size).normal_(std=0.02))
        self.norm2 = nn.Parameter(torch.ones(hidden))
        self.up = nn.Parameter(torch.empty(2, neurons, hidden).normal_(std=0.02))
        self.down = nn.Parameter(torch.empty(hidden, neurons).normal_(std=0.02))

    def cut(self, width: float, dtype: torch.dtype) -> ModernWeights:
        """This layer's first `width` share of heads and neurons, as tensors of `dtype` (differentiable)."""
        shape = self.shape
        heads, neurons = shape.heads_at(width), shape.neurons_at(width)
        return ModernWeights(
            qkv=self.qkv[:, :heads].reshape(-1, shape.hidden),
            qkv_bias=None,
            out=self.out[:, :heads].reshape(shape.hidden, -1),
            up=self.up[:, :neurons],
            down=self.down[:, :neurons],
            norm1=getattr(self, "norm1", None),
            norm2=self.norm2,
            window=self.window,
            base=shape.nearby if self.window else shape.everywhere,
        ).map(lambda tensor: tensor.to(dtype))

    @torch.no_grad()
    def reorder(self, heads: Tensor, neurons: Tensor) -> None:
        """Put heads and neurons into another order (in place); the layer computes what it did before."""
        self.qkv.copy_(self.qkv[:, heads])
        self.out.copy_(self.out[:, heads])
        self.up.copy_(self.up[:, neurons])
        self.down.copy_(self.down[:, neurons])


class ModernEmbeddings(nn.Module):
    """Token embeddings, normalised. Positions come in the layers."""

    def __init__(self, shape: ModernShape) -> None:
        super().__init__()
        self.epsilon = shape.epsilon
        self.token = nn.Parameter(torch.empty(shape.vocabulary, shape.hidden).normal_(std=0.02))
        self.norm = nn.Parameter(torch.ones(shape.hidden))

    def forward(self, ids: Tensor, types: Tensor, dtype: torch.dtype, first: int = 0) -> Tensor:
        """Hidden states `[B, T, H]` of token ids `[B, T]`; types and `first` say nothing here."""
        hidden = F.embedding(ids, self.token)
        return F.layer_norm(hidden, self.norm.shape, self.norm, None, self.epsilon).to(dtype)


class FinalNorm(nn.Module):
    """The norm behind the last layer, and here behind every one that is read."""

    def __init__(self, shape: ModernShape) -> None:
        super().__init__()
        self.epsilon = shape.epsilon
        self.norm = nn.Parameter(torch.ones(shape.hidden))

    def forward(self, hidden: Tensor) -> Tensor:
        """Normed states `[.., H]` (float32)."""
        return F.layer_norm(hidden.float(), self.norm.shape, self.norm, None, self.epsilon)


def _shape(config: Any) -> ModernShape:
    for name in ("norm_bias", "attention_bias", "mlp_bias"):
        if getattr(config, name):
            raise ValueError(f"{name}=True: only ModernBERTs without biases are supported")
    if config.local_attention < 2:
        raise ValueError(f"local_attention={config.local_attention}: a window of 2 tokens or more is supported")
    every = getattr(config, "global_attn_every_n_layers", 3)
    kinds = getattr(config, "layer_types", None) or [
        "sliding_attention" if index % every else "full_attention" for index in range(config.num_hidden_layers)
    ]
    return ModernShape(
        vocabulary=config.vocab_size,
        positions=config.max_position_embeddings,
        types=0,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        head_size=config.hidden_size // config.num_attention_heads,
        neurons=int(config.intermediate_size),
        embedding=config.hidden_size,
        epsilon=config.norm_eps,
        activation=check_activation("hidden_activation", config.hidden_activation),
        reaches=tuple(config.local_attention // 2 if kind == "sliding_attention" else 0 for kind in kinds),
        everywhere=_base(config, "full_attention"),
        nearby=_base(config, "sliding_attention"),
    )


def _base(config: Any, kind: str) -> float:
    """The base of the rotary positions of one kind of layer; transformers 4 has it under another name than 5."""
    if getattr(config, "rope_parameters", None) is None:
        base = config.local_rope_theta if kind == "sliding_attention" else None
        return float(config.global_rope_theta if base is None else base)
    rotary = config.rope_parameters[kind]
    if rotary.get("rope_type", "default") != "default":
        raise ValueError(f"rope_type {rotary['rope_type']!r}: only 'default' rotary positions are supported")
    return float(rotary["rope_theta"])


def _head(config: Any) -> Head:
    activation = check_pooler("classifier_activation", config.classifier_activation)
    mean = config.classifier_pooling == "mean"
    return Head("head.dense", activation, "classifier", norm="head.norm", epsilon=config.norm_eps, mean=mean)


def _cut(config: Any, depth: int) -> None:
    config.num_hidden_layers = depth
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:depth]


MODERNBERT = Family(
    types=("modernbert",),
    shape=_shape,
    head=_head,
    body=BODY,
    layer=LAYER,
    shapes=ModernShape,
    cut=_cut,
)
