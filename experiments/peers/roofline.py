"""How much of this machine's best matrix-product rate a run uses."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from elasticranker.model.encoder import Shape

LARGE = (2048, 2048, 2048)


def product_rates(
    shape: Shape, dtype: torch.dtype, *, tokens: int = 4096, seconds: float = 0.2, large: tuple[int, int, int] = LARGE
) -> dict[str, float]:
    """GFLOP/s of single matrix products: those of one layer, and a large one.

    Args:
        shape: of the encoder.
        dtype: of both factors.
        tokens: rows of the layer's products, as many as a batch has.
        seconds: to spend on each; the fastest repetition counts.
        large: sizes (rows, inner, columns) of the large product.

    Returns:
        Rate by the product's sizes, for example "4096x384x1536".
    """
    import torch

    hidden, inner, neurons = shape.hidden, shape.heads * shape.head_size, shape.neurons
    sizes = [(tokens, hidden, 3 * inner), (tokens, inner, hidden), (tokens, hidden, neurons), (tokens, neurons, hidden)]
    rates = {}
    with torch.inference_mode():
        for rows, middle, columns in [*sizes, large]:
            left = torch.randn(rows, middle).to(dtype)
            right = torch.randn(columns, middle).to(dtype).t()  # as a linear layer keeps its weights
            torch.mm(left, right)
            least, until = float("inf"), time.perf_counter() + seconds
            while least == float("inf") or time.perf_counter() < until:
                started = time.perf_counter()
                torch.mm(left, right)
                least = min(least, time.perf_counter() - started)
            rates[f"{rows}x{middle}x{columns}"] = 2 * rows * middle * columns / max(least, 1e-9) / 1e9
    return rates


def roofline(name: str, achieved: float, rates: dict[str, float]) -> str:
    """One line: what a run achieved (GFLOP/s of its matrix products' FLOPs over its whole time) of the best there is.

    Example:
        >>> roofline("ours, full", 300.0, {"4096x384x1536": 500.0, "2048x2048x2048": 600.0})
        'ours, full: 300 GFLOP/s, 50 % of the best matrix product here (600 GFLOP/s at 2048x2048x2048; ...'
    """
    best, own = max(rates, key=lambda size: rates[size]), list(rates)[:-1]
    of_layer = max((rates[size] for size in own), default=rates[best])
    return (
        f"{name}: {achieved:.0f} GFLOP/s, {achieved / rates[best]:.0%} of the best matrix product here "
        f"({rates[best]:.0f} GFLOP/s at {best}; {of_layer:.0f} at the best of a layer's own sizes)"
    )
