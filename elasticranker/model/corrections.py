"""What a query encoder has of its own: corrections of low rank to the layers that it shares with the others.

A layer that stands behind the first one in one sub-network and behind the eighth in another gets other states to work
on, and serves neither as well as a layer of its own would. `W + out in` of a small rank (LoRA, Hu et al. 2021), for
each product of each layer of each sub-network, gives back most of that for a few per cent of the weights. Added up
once, when a sub-network is first used, it costs no time and no FLOPs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn


class Correction(nn.Module):
    """What one sub-network adds to the products of one of its layers. Untrained it adds nothing.

    Args:
        rank: of each addition.
        sizes: rows and columns of each product, by its name (see `elasticranker.model.own_layers.sizes_of`).
    """

    def __init__(self, rank: int, sizes: Mapping[str, tuple[int, int]]) -> None:
        super().__init__()
        self.names = tuple(sizes)
        for name, (rows, columns) in sizes.items():
            self.register_parameter(f"{name}_in", nn.Parameter(torch.randn(rank, columns) * columns**-0.5))
            self.register_parameter(f"{name}_out", nn.Parameter(torch.zeros(rows, rank)))

    def added(self) -> dict[str, Tensor]:
        """What is added to each product `[rows, columns]`."""
        return {name: getattr(self, f"{name}_out") @ getattr(self, f"{name}_in") for name in self.names}

    def correct(self, weights: Any) -> Any:
        """A layer's float32 `Weights` at full width with the additions (differentiable)."""
        return replace(weights, **self._sums(weights))

    @torch.no_grad()
    def fold(self, layer: nn.Module) -> None:
        """Add them to an `ElasticLayer` itself (in place)."""
        for name, total in self._sums(layer).items():
            getattr(layer, name).copy_(total)

    def _sums(self, layer: Any) -> dict[str, Tensor]:
        """Each product of a layer, or of its weights, with what is added, in that one's shape."""
        products = {name: getattr(layer, name) for name in self.names}
        return {name: products[name] + more.view_as(products[name]) for name, more in self.added().items()}


def corrections(options: Mapping[str, Any] | None) -> nn.ModuleList:
    """Untrained corrections as a checkpoint tells of them: `rank`, `layers` (how many) and `sizes`; none of None."""
    if options is None:
        return nn.ModuleList()
    sizes = {name: (int(rows), int(columns)) for name, (rows, columns) in options["sizes"].items()}
    return nn.ModuleList(Correction(int(options["rank"]), sizes) for _ in range(int(options["layers"])))
