"""What a pair costs: floating point operations of the matrix products, the number that budgets are kept in.

Pure arithmetic, so that the promise about budgets can be checked by reading this file and `plan.py`. The figures equal
what `torch.utils.flop_counter.FlopCounterMode` counts (multiplications and additions of matrix products and attention).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True)
class CostModel:
    """FLOPs of one pair through a sub-network of one checkpoint.

    Attributes:
        layers: of the backbone.
        hidden: hidden size `H`.
        heads: heads of a full layer.
        head_size: size `d` of a head.
        neurons: feed-forward neurons of a full layer.
        embedding: size of the embeddings; where it isn't `hidden`, a projection is paid once a pair.
        readouts: depth to what its exit multiplies: `interaction`, or `cls/<labels>` with `+pooler` where there is one.

    Example:
        >>> cost = CostModel(12, 384, 12, 32, 1536, 384, {12: "cls/1"})
        >>> cost.layer(128, 1.0)
        478150656
    """

    layers: int
    hidden: int
    heads: int
    head_size: int
    neurons: int
    embedding: int
    readouts: dict[int, str]

    def layer(self, tokens: int, width: float) -> int:
        """One layer on `tokens` (bucketed) tokens: `2tH 3hd + 4 t^2 hd + 2t hd H + 4tHf`."""
        inner = max(1, round(self.heads * width)) * self.head_size
        neurons = max(1, round(self.neurons * width))
        return 8 * tokens * self.hidden * inner + 4 * tokens * tokens * inner + 4 * tokens * self.hidden * neurons

    def exit(self, tokens: int, slots: int, depth: int) -> int:
        """The readout after `depth` layers: what it multiplies for `tokens` tokens, `slots` of them the query's."""
        readout = self.readouts[depth]
        if readout == "interaction":  # similarities, term weights, [CLS] term
            return 2 * slots * tokens * self.hidden + 2 * slots * self.hidden + 2 * self.hidden
        labels = int(readout.removeprefix("cls/").removesuffix("+pooler"))
        pooler = 2 * self.hidden * self.hidden if readout.endswith("+pooler") else 0
        return pooler + 2 * self.hidden * labels

    def start(self, tokens: int) -> int:
        """What a pair pays once, before the first layer: the projection of narrower embeddings."""
        return 2 * tokens * self.embedding * self.hidden if self.embedding != self.hidden else 0

    def pair(self, tokens: int, slots: int, depth: int, width: float, since: int | None = None) -> int:
        """A pair through the first `depth` layers at `width`, and its exit.

        Args:
            tokens: tokens of the pair, rounded up to its bucket.
            slots: leading positions that hold its query, rounded up likewise.
            depth: layers to run.
            width: share of heads and neurons.
            since: the depth whose hidden states (of the same width) are at hand; None where none are.
        """
        return _pair(self, tokens, slots, depth, width, since)

    def __hash__(self) -> int:
        return hash((self.layers, self.hidden, self.heads, self.neurons, self.embedding, tuple(self.readouts.items())))


@lru_cache(maxsize=65536)
def _pair(cost: CostModel, tokens: int, slots: int, depth: int, width: float, since: int | None) -> int:
    once = cost.start(tokens) if since is None else 0
    return once + (depth - (since or 0)) * cost.layer(tokens, width) + cost.exit(tokens, slots, depth)
