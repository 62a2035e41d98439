"""The running average of the weights, which ranks better than the last ones (Polyak and Juditsky 1992)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Averages of some parameters.

    Args:
        parameters: name to parameter; their values now are the first average.

    Attributes:
        values: name to averaged value.
    """

    def __init__(self, parameters: dict[str, nn.Parameter]) -> None:
        self.parameters = parameters
        self.values: dict[str, Tensor] = {name: value.detach().clone() for name, value in parameters.items()}

    def restart(self) -> None:
        """Begin again at the parameters' values."""
        self.values = {name: value.detach().clone() for name, value in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int, decay: float) -> None:
        """Take in the values after `step` (from 0). The decay grows to `decay`, or the untrained start would linger."""
        decay = min(decay, (1 + step) / (10 + step))
        now = [parameter.detach() for parameter in self.parameters.values()]
        torch._foreach_lerp_([self.values[name] for name in self.parameters], now, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The parameters hold their averages while the `with` block runs."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, parameter in self.parameters.items():
            kept = parameter.detach().clone()
            parameter.copy_(self.values[name])
            self.values[name].copy_(kept)
