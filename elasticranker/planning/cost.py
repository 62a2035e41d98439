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
            `cls/<labels>` with `+pooler` where there is one.
        apart: layers, from the first on, in which the two texts of a pair don't see each other (split layout).

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

    def layer(self, tokens: int, width: float) -> int:
        """One layer on `tokens` (bucketed) tokens: `2tH 3hd + 4 t^2 hd + 2t hd H + 4tHf`."""
        inner = max(1, round(self.heads * width)) * self.head_size
        neurons = max(1, round(self.neurons * width))
        return 8 * tokens * self.hidden * inner + 4 * tokens * tokens * inner + 4 * tokens * self.hidden * neurons

    def exit(self, tokens: int, slots: int, depth: int) -> int:
        """The readout after `depth` layers: what it multiplies for `tokens` tokens, `slots` of them the query's."""
        readout = self.readouts[depth]
        interaction = 2 * slots * tokens * self.hidden + 2 * slots * self.hidden + 2 * self.hidden
        if readout == "interaction":  # similarities, term weights, [CLS] term
            return interaction
        if readout.startswith("split"):  # and the means of two texts, projected
            projection = 4 * self.hidden * self.hidden if readout.endswith("+projection") else 0
            return interaction + 4 * tokens * self.hidden + projection
        labels = int(readout.removeprefix("cls/").removesuffix("+pooler"))
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
        return (self.start(slots) if since is None else 0) + (depth - (since or 0)) * self.layer(slots, width)

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
        sizes = (self.layers, self.hidden, self.heads, self.neurons, self.embedding, self.apart)
        return hash((sizes, tuple(self.readouts.items())))


@lru_cache(maxsize=65536)
def _pair(cost: CostModel, tokens: int, slots: int, depth: int, width: float, since: int | None) -> int:
    done = since or 0
    document = tokens - slots if cost.apart else tokens
    once = cost.start(document) if since is None else 0
    alone = max(0, min(depth, cost.apart) - done)
    together = depth - done - alone
    layers = alone * cost.layer(document, width) + together * cost.layer(tokens, width)
    return once + layers + cost.exit(tokens, slots, depth)
