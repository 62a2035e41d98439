"""The sub-networks that are nested in one encoder, by name."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import total_ordering
from typing import Any


@total_ordering
@dataclass(frozen=True)
class SubNet:
    """The first `depth` layers, with the first `width` share of each layer's heads and neurons. Depth 0: no layer.

    With `tokens`, over that many tokens of a document from the end that isn't cut off, instead of all of them. A first
    look of this kind is cheap where documents are long; whoever reads on pays for the whole document, since a token's
    states depend on all that was read.

    They sort by depth, then width, then tokens.

    Example:
        >>> [str(subnet) for subnet in sorted([SubNet(12), SubNet(2), SubNet(2, tokens=48), SubNet(2, 0.5)])]
        ['2x0.5', '2@48', '2', '12']
    """

    depth: int
    width: float = 1.0
    tokens: int | None = None

    def __post_init__(self) -> None:
        if self.depth < 0 or not 0 < self.width <= 1 or (self.tokens is not None and self.tokens < 1):
            raise ValueError(f"{self}: depth must be 0 or more, width above 0 and at most 1, tokens 1 or more, if any")

    def __lt__(self, other: SubNet) -> bool:
        return self._rank < other._rank

    @property
    def _rank(self) -> tuple[int, float, float]:
        return self.depth, self.width, math.inf if self.tokens is None else self.tokens

    def continues(self, other: SubNet | None) -> bool:
        """Can it go on from the hidden states that `other` left?"""
        # Depth 0 runs no layer, so its states serve every width.
        return (
            other is not None
            and self.depth >= other.depth
            and (other.width == self.width or other.depth == 0)
            and other.tokens == self.tokens
        )

    def to_json(self) -> dict[str, Any]:
        """Numbers by name, for `elastic.json`."""
        cut = {} if self.tokens is None else {"tokens": self.tokens}
        return {"depth": self.depth, "width": self.width} | cut

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> SubNet:
        """What `to_json` wrote, whatever else is beside it."""
        tokens = found.get("tokens")
        return cls(int(found["depth"]), float(found["width"]), None if tokens is None else int(tokens))

    def __str__(self) -> str:
        wide = f"{self.depth}" if self.width == 1 else f"{self.depth}x{self.width:g}"
        return wide if self.tokens is None else f"{wide}@{self.tokens}"
