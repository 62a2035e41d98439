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
        readouts: depth to what its exit multiplies: `interaction`, `split` with `+projection` where there is one, or
            `cls/<labels>` or `mean/<labels>` with `+pooler` where there is one.
        apart: layers, from the first on, in which the two texts of a pair don't see each other (split layout).
        gates: projections `g` that a feed-forward neuron is made of (2: gated).
        windows: a layer's reach, how many tokens a token looks to either side; 0 for all of them. Empty: all are 0.

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
    apart: int = 0
    gates: int = 1
    windows: tuple[int, ...] = ()

    def layer(self, tokens: int, width: float, window: int = 0) -> int:
        """One layer on `tokens` (bucketed) tokens: `2tH 3hd + 4a hd + 2t hd H + 2(g+1)tHf`, with `a` by `attended`."""
        inner = max(1, round(self.heads * width)) * self.head_size
        neurons = max(1, round(self.neurons * width))
        projections = 8 * tokens * self.hidden * inner + 2 * (self.gates + 1) * tokens * self.hidden * neurons
        return projections + 4 * attended(tokens, window) * inner

    def layers_of(self, tokens: int, width: float, since: int, depth: int) -> int:
        """The layers after the first `since`, up to `depth`."""
        if not self.windows:
            return (depth - since) * self.layer(tokens, width)
        return sum(self.layer(tokens, width, window) for window in self.windows[since:depth])

    def exit(self, tokens: int, slots: int, depth: int) -> int:
        """The readout after `depth` layers: what it multiplies for `tokens` tokens, `slots` of them the query's."""
        readout = self.readouts[depth]
        interaction = 2 * slots * tokens * self.hidden + 2 * slots * self.hidden + 2 * self.hidden
        if readout == "interaction":  # similarities, term weights, [CLS] term
            return interaction
        if readout.startswith("split"):  # and the means of two texts, projected
            projection = 4 * self.hidden * self.hidden if readout.endswith("+projection") else 0
            return interaction + 4 * tokens * self.hidden + projection
        labels = int(readout.partition("/")[2].removesuffix("+pooler"))
        pooler = 2 * self.hidden * self.hidden if readout.endswith("+pooler") else 0
        return pooler + 2 * self.hidden * labels

    def start(self, tokens: int) -> int:
        """What tokens pay once, before the first layer: the projection of narrower embeddings."""
        return 2 * tokens * self.embedding * self.hidden if self.embedding != self.hidden else 0

    def pair(self, tokens: int, slots: int, depth: int, width: float, since: int | None = None) -> int:
        """A pair through the first `depth` layers at `width`, and its exit.

        Where its texts are apart (before layer `apart`), its document alone: its query is paid once for all documents,
        see `query`.

        Args:
            tokens: tokens of the pair, rounded up to its bucket.
            slots: leading positions that hold its query, rounded up likewise.
            depth: layers to run.
            width: share of heads and neurons.
            since: the depth whose hidden states (of the same width) are at hand; None where none are.
        """
        return _pair(self, tokens, slots, depth, width, since)

    def query(self, slots: int, depth: int, width: float, since: int | None = None) -> int:
        """A query's text through those of the first `depth` layers in which it is apart from any document."""
        depth = min(depth, self.apart)
        if not self.apart or (since is not None and since >= depth):
            return 0
        return (self.start(slots) if since is None else 0) + self.layers_of(slots, width, since or 0, depth)

    def vector(self, tokens: int, depth: int, width: float) -> int:
        """A text alone through `depth` layers at `width`, and its vector: the mean of its states, projected.

        Args:
            tokens: of the text, prefix and special ones included, rounded up to its bucket.
            depth: layers to run, whichever they are.
            width: share of heads and neurons.

        Raises:
            ValueError: the exit makes no vectors.
        """
        if not self.readouts[depth].startswith("split"):
            raise ValueError(
                f"the exit after layer {depth} is of kind {self.readouts[depth]!r}, which makes no vectors"
            )
        projection = 2 * self.hidden * self.hidden if self.readouts[depth].endswith("+projection") else 0
        return self.start(tokens) + depth * self.layer(tokens, width) + 2 * tokens * self.hidden + projection

    def __hash__(self) -> int:
        sizes = (self.layers, self.hidden, self.heads, self.neurons, self.embedding, self.apart, self.gates)
        return hash((sizes, self.windows, tuple(self.readouts.items())))


def blocks(tokens: int, window: int) -> int:
    """In how many blocks of `window` tokens attention within a window is computed; 0 where all of it is cheaper.

    A block's tokens see it and its two neighbours, so three blocks are multiplied for each.

    Example:
        >>> blocks(512, 64), blocks(128, 64)
        (8, 0)
    """
    count = -(-tokens // window) if window else 0
    return count if 3 * count * window * window < tokens * tokens else 0


def attended(tokens: int, window: int = 0) -> int:
    """Pairs of tokens that a layer's attention multiplies: all, or blocks within a window."""
    return 3 * blocks(tokens, window) * window * window or tokens * tokens


@lru_cache(maxsize=65536)
def _pair(cost: CostModel, tokens: int, slots: int, depth: int, width: float, since: int | None) -> int:
    done = since or 0
    document = tokens - slots if cost.apart else tokens
    once = cost.start(document) if since is None else 0
    alone = max(0, min(depth, cost.apart) - done)
    layers = cost.layers_of(document, width, done, done + alone) + cost.layers_of(tokens, width, done + alone, depth)
    return once + layers + cost.exit(tokens, slots, depth)
