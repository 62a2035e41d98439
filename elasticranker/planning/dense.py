"""How a checkpoint reads one text alone: which layers a sub-network has then, and which sub-networks are worth it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from elasticranker.planning.subnet import SubNet


@dataclass(frozen=True)
class DenseReading:
    """What `ElasticDenser` needs to know of a checkpoint beside its weights.

    Attributes:
        order: all layers (from 0), those first that a sub-network has first; empty for the first to the last. A text's
            states are handed on to nobody, so that its layers need not be a prefix: some of the last ones, which make
            vectors of states, are worth more than those in the middle.
        dims: numbers of leading dimensions, besides all, that vectors were trained to be cut to (Matryoshka
            representations, Kusupati et al. 2022).
        rated: sub-networks and how good their vectors of queries are, 1 for the whole model's.

    Example:
        >>> DenseReading(order=(0, 3, 1, 2)).kept(2, 4)
        (0, 3)
    """

    order: tuple[int, ...] = ()
    dims: tuple[int, ...] = ()
    rated: tuple[tuple[SubNet, float], ...] = ()

    def kept(self, depth: int, layers: int) -> tuple[int, ...]:
        """The layers (from 0) that a sub-network of so many layers has, out of `layers`."""
        return tuple(sorted((self.order or range(layers))[:depth]))

    def preferred(self, subnets: Iterable[SubNet], full: SubNet) -> tuple[SubNet, ...]:
        """Sub-networks from the best to the worst, the whole model first.

        Args:
            subnets: what the checkpoint holds.
            full: the whole model.

        Returns:
            The rated ones by their quality; where none are, those of full width by their depth.
        """
        held = set(subnets)
        if self.rated:
            order = sorted(self.rated, key=lambda entry: (-entry[1], entry[0]))
            others = [subnet for subnet, _ in order if subnet in held]
        else:
            others = sorted((subnet for subnet in held if subnet.width == 1), reverse=True)
        return (full, *(subnet for subnet in others if subnet != full))

    def to_json(self) -> dict[str, Any]:
        """Plain values, for `elastic.json`."""
        rated = [subnet.to_json() | {"quality": quality} for subnet, quality in self.rated]
        return {"layers": list(self.order) or "first", "dims": list(self.dims), "rated": rated}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> DenseReading:
        """What `to_json` wrote.

        Raises:
            ValueError: not of that form.
        """
        try:
            order = () if value["layers"] == "first" else tuple(value["layers"])
            if sorted(order) != list(range(len(order))):
                raise ValueError(f"unknown layers {value['layers']!r}: this version knows 'first' and an order of all")
            rated = tuple((SubNet.from_json(entry), float(entry["quality"])) for entry in value["rated"])
            return cls(order, tuple(int(dim) for dim in value["dims"]), rated)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"`dense` in elastic.json is malformed ({type(error).__name__}: {error})") from error


def best_within(preferred: Iterable[SubNet], price: Callable[[SubNet], int], budget: float) -> SubNet | None:
    """The first of some sub-networks that costs at most `budget` FLOPs; None where none does.

    Example:
        >>> best_within([SubNet(12), SubNet(6), SubNet(3)], lambda subnet: 10 * subnet.depth, 70)
        SubNet(depth=6, width=1.0)
    """
    return next((subnet for subnet in preferred if price(subnet) <= budget), None)
