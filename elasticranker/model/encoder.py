"""The elastic encoder: a transformer encoder whose prefixes are encoders too.

Read it top to bottom: `Shape` (sizes), `Weights` (what a layer multiplies by, and how), `ElasticLayer` (its trained
tensors), `Encoder` (embeddings, layers, exits). What a family of backbones has of its own, its embeddings and layers,
stands in its file of `elasticranker.model.families`; BERT's is the one to read first. The same functions serve
training, inference and export; only where the tensors come from differs (`ElasticLayer.cut` slices the trained ones,
`Engine.weights` keeps contiguous copies of such slices).

Pairs are laid out in one of two ways (`Shape.split`). *Joint*: `[CLS] query [SEP] document [SEP]`, as cross-encoders
are trained. *Split*: each text as a bi-encoder reads it, with a `[CLS]` and positions of its own, side by side in one
sequence; attention between the two is weakened by a learned bias a head, and absent before layer `first_cross`. With no
attention between them it is the bi-encoder, so a cross-encoder can start as its teacher. Where documents' positions
begin at a `document_start` above 0, their tokens have the type of a pair's second text too: so layers that were trained
in joint layout find what they know.

Sources: width as a prefix of heads and neurons ordered by importance, DynaBERT (Hou et al. 2020); parameter-sharing
sub-models of every depth, *On Elastic Language Models* (Zhang et al. 2024); lower layers that read the two texts apart,
PreTTR (MacAvaney et al. 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, TypeVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticranker.model.products import Products
from elasticranker.model.readout import Segments


@dataclass(frozen=True)
class Shape:
    """Sizes of an encoder, as its Hugging Face configuration gives them.

    `embedding` differs from `hidden` in small ELECTRAs and in ALBERT (a projection joins them). `position_offset` is
    where a text's positions start: 0 for BERT and ELECTRA, padding id + 1 for the RoBERTa family. `types` is 1 where
    the two texts of a pair share a token type (RoBERTa), 0 where there are none (DistilBERT), 2 elsewhere. `split` lays
    pairs out text by text (see above), and the two texts see each other from layer `first_cross` (from 0) on; at
    `layers` they never do. `document_start` is the first position of such a pair's document: 0, as of a text alone, or
    more, as behind a query.

    A family has a subclass, whose fields say what else it needs and whose `make_...` build it; `family` names it in
    checkpoints. `splits` says whether its pairs can be in split layout, `gates` how many projections a feed-forward
    neuron has.
    """

    splits: ClassVar[bool] = True
    gates: ClassVar[int] = 1

    vocabulary: int
    positions: int
    types: int
    layers: int
    hidden: int
    heads: int
    head_size: int
    neurons: int
    embedding: int
    epsilon: float = 1e-12
    activation: str = "gelu"
    position_offset: int = 0
    split: bool = False
    first_cross: int = 0
    document_start: int = 0
    family: str = "bert"

    @property
    def distinct(self) -> int:
        """Layers that have tensors of their own."""
        return self.layers

    def own(self, index: int) -> int:
        """Which of the distinct layers stands in place `index`."""
        return index

    @property
    def windows(self) -> tuple[int, ...]:
        """A layer's reach: how far a token looks to either side, 0 for everywhere; empty where all look everywhere."""
        return ()

    def make_embeddings(self) -> nn.Module:
        """Untrained embeddings: a module from `ids, types, dtype, first` to hidden states, as BERT's is.

        Shapes that can be in split layout take `second` too.
        """
        raise NotImplementedError

    def make_layer(self, index: int) -> ElasticLayer:
        """One of the distinct layers, untrained."""
        raise NotImplementedError

    def make_final(self) -> nn.Module | None:
        """What hidden states go through before a readout; None where nothing is."""
        return None

    @property
    def apart(self) -> int:
        """Layers, from the first on, in which a pair's texts don't see each other."""
        return min(self.first_cross, self.layers) if self.split else 0

    def heads_at(self, width: float) -> int:
        """Heads of a layer that a sub-network of this `width` keeps (at least one)."""
        return max(1, round(self.heads * width))

    def neurons_at(self, width: float) -> int:
        """Feed-forward neurons of a layer that a sub-network of this `width` keeps (at least one)."""
        return max(1, round(self.neurons * width))


_W = TypeVar("_W", bound="Weights")


@dataclass(frozen=True)
class Weights:
    """What one layer multiplies by at one width. `h` heads of size `d`, `f` neurons, hidden size `H`.

    A family's own has more fields (tensors, None or plain values) and its own `run`.
    """

    qkv: Tensor  # [3hd, H]
    qkv_bias: Tensor | None  # [3hd]
    out: Tensor  # [H, hd]
    up: Tensor  # [f, H]; [2, f, H] where neurons are gated
    down: Tensor  # [H, f]

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
        """One transformer layer over texts of several lengths.

        Everything but attention works token by token, so the texts of all groups share those products: few, large ones.

        Args:
            hidden: `[N, H]` hidden states, group after group, text after text.
            groups: how the `N` tokens make texts.
            shape: sizes of the encoder.
            products: how to multiply; by default written out.
            head_gate: `[h]` factors on the heads' outputs, for measuring importance.
            neuron_gate: `[f]` factors on the neurons' outputs, likewise.

        Returns:
            `[N, H]` hidden states after the layer.
        """
        raise NotImplementedError

    def seen(self, hidden: Tensor, shape: Shape) -> Tensor:
        """What the layer projects to queries, keys and values, of its input."""
        return hidden

    def tensors(self) -> dict[str, Tensor]:
        """Its tensors by name."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.tensors().values())

    def map(self: _W, change: Callable[[Tensor], Tensor]) -> _W:
        """The same of changed tensors."""
        return replace(self, **{name: change(tensor) for name, tensor in self.tensors().items()})


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """Softmax attention `[B, h, T, d]` of queries of that shape, and keys and values `[B, h, K, d]`, under a mask.

    The mask is added to the logits: `[B or 1, h or 1, T or 1, K]`.

    Training on a CPU writes the products out: the backward pass of PyTorch's fused CPU kernel (2.13) takes over four
    times as long as those of the plain products, which use the matrix units. Everywhere else the fused kernel wins.
    """
    if not (torch.is_grad_enabled() and query.requires_grad and query.device.type == "cpu"):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    batch, heads, tokens, size = query.shape
    query, key, value = (x.reshape(batch * heads, -1, size) for x in (query * size**-0.5, key, value))
    weight = torch.bmm(query, key.transpose(1, 2)).view(batch, heads, tokens, -1) + mask
    weight = torch.softmax(weight, -1).view(batch * heads, tokens, -1)
    return torch.bmm(weight, value).view(batch, heads, tokens, size)


@dataclass(frozen=True, eq=False)
class Group:
    """Texts of one padded length inside a batch: `size` texts of `tokens` tokens, and their `padding_mask`.

    For pairs in split layout the `first` tokens are the one text and the others the other; 0 for texts alone.
    """

    size: int
    tokens: int
    padding: Tensor  # [B, 1, 1, T]
    first: int = 0
    made: dict[Hashable, Tensor] = field(default_factory=dict, repr=False)

    def once(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """What layers need of a group's length or padding, made for the first that asks."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def others(self) -> Tensor:
        """For each of the two texts of split pairs, `[2, T]` 1 at the other one's tokens, else 0."""

        def make() -> Tensor:
            second = torch.arange(self.tokens, device=self.padding.device) >= self.first
            return torch.stack([second, ~second]).to(self.padding.dtype)

        return self.once("others", make)


def joined(parts: list[Tensor]) -> Tensor:
    """Rows of all parts."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


class ElasticLayer(nn.Module):
    """The trained tensors of one layer; what a family's own has to do.

    `projecting` is how the names of those begin that queries, keys and values depend on.
    """

    projecting: ClassVar[tuple[str, ...]] = ("qkv",)

    def cut(self, width: float, dtype: torch.dtype) -> Weights:
        """The layer's first `width` share of heads and neurons, as tensors of `dtype` (differentiable)."""
        raise NotImplementedError

    def reorder(self, heads: Tensor, neurons: Tensor) -> None:
        """Put heads and neurons into another order (in place); the layer computes what it did before."""
        raise NotImplementedError


def blank_after(lengths: Tensor, tokens: int) -> Tensor:
    """`[B, T]` True at the padding of right-padded texts with `lengths` `[B]` tokens."""
    return torch.arange(tokens, device=lengths.device) >= lengths[:, None]


def padding_mask(blank: Tensor, dtype: torch.dtype) -> Tensor:
    """`[B, 1, 1, T]` additive attention mask of texts that are padding where `blank` `[B, T]` is True."""
    mask = torch.zeros(blank.shape, dtype=dtype, device=blank.device)
    # Half of the least number: a bias may be added to it.
    return mask.masked_fill_(blank, torch.finfo(dtype).min / 2)[:, None, None, :]


class Encoder(nn.Module):
    """Embeddings, layers and exits: every sub-network of a checkpoint, sharing one set of parameters.

    `exits` maps a depth (0 to `shape.layers`) to its readout; depth 0 reads the embeddings.
    """

    def __init__(self, shape: Shape, readouts: dict[int, nn.Module]) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = shape.make_embeddings()
        self.layers = nn.ModuleList(shape.make_layer(index) for index in range(shape.distinct))
        self.final = shape.make_final()
        self.exits = nn.ModuleDict({str(depth): readout for depth, readout in sorted(readouts.items())})

    @property
    def depths(self) -> tuple[int, ...]:
        """Depths that have an exit, ascending."""
        return tuple(int(depth) for depth in self.exits)

    def layer(self, index: int) -> ElasticLayer:
        """The trained tensors of one layer."""
        return cast(ElasticLayer, self.layers[self.shape.own(index)])

    def weights(self, width: float, dtype: torch.dtype) -> Sequence[Weights]:
        """Every layer cut to `width`, differentiable: slice it by depth and pass it to `run_layers`."""
        cut = [cast(ElasticLayer, layer).cut(width, dtype) for layer in self.layers]
        return [cut[self.shape.own(index)] for index in range(self.shape.layers)]

    def freeze(self, width: float, dtype: torch.dtype) -> list[Weights]:
        """`weights` for inference: contiguous tensors, made once; layers that are one stay one."""
        with torch.inference_mode():
            cut = self.weights(width, dtype)
            made = {id(layer): layer.map(Tensor.contiguous) for layer in cut}
            return [made[id(layer)] for layer in cut]

    def at_depths(
        self,
        hidden: Tensor,
        weights: Sequence[Weights],
        depths: Iterable[int],
        padding: Tensor,
        first: int = 0,
    ) -> Iterator[tuple[int, Tensor]]:
        """Each of some depths (ascending), and the hidden states after so many layers: one pass for all."""
        done = 0
        for depth in depths:
            hidden = self.run_layers(hidden, weights[done:depth], padding, first)
            done = depth
            yield depth, hidden

    def run_layers(self, hidden: Tensor, weights: Sequence[Weights], padding: Tensor, first: int = 0) -> Tensor:
        """Hidden states `[B, T, H]` after the layers `weights`, of texts or pairs of one padded length."""
        batch, tokens, size = hidden.shape
        group = Group(batch, tokens, padding, first)
        return self.run_groups(hidden.reshape(-1, size), weights, [group]).view_as(hidden)

    def run_groups(
        self, hidden: Tensor, weights: Sequence[Weights], groups: Sequence[Group], products: Products | None = None
    ) -> Tensor:
        """Hidden states `[N, H]` after the layers `weights`, of groups of texts of several lengths."""
        for layer in weights:
            hidden = layer.run(hidden, groups, self.shape, products=products)
        return hidden

    def states(self, hidden: Tensor) -> Tensor:
        """What readouts see of the hidden states after any layer: normed where layers norm their input alone."""
        return hidden if self.final is None else cast(Tensor, self.final(hidden))

    def read(self, hidden: Tensor, depth: int, where: Segments) -> Tensor:
        """Scores `[B]` of the exit after `depth` layers."""
        return cast(Tensor, self.exits[str(depth)](self.states(hidden), where))
