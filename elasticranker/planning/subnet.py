"""The sub-networks that are nested in one encoder, by name."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class SubNet:
    """The first `depth` layers, with the first `width` share of each layer's heads and neurons. Depth 0: no layer."""

    depth: int
    width: float = 1.0

    def __post_init__(self) -> None:
        if self.depth < 0 or not 0 < self.width <= 1:
            raise ValueError(f"{self}: depth must be 0 or more, width above 0 and at most 1")

    def continues(self, other: SubNet | None) -> bool:
        """Can it go on from the hidden states that `other` left?"""
        # Depth 0 runs no layer, so its states serve every width.
        return other is not None and self.depth >= other.depth and (other.width == self.width or other.depth == 0)

    def __str__(self) -> str:
        return f"{self.depth}" if self.width == 1 else f"{self.depth}x{self.width:g}"
