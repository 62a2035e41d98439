"""The matrix products of a layer, with what follows each of them: written out, or fused into one kernel.

A layer's other passes over memory (activation, residual sum) cost a third of its time on a CPU with matrix units.
oneDNN does them while the product's tile is in the cache; PyTorch reaches those kernels by operators that its own
compiler uses. `choose` takes them for scoring on a CPU; training and export write the layer out, which every device,
the gradient and ONNX understand.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": lambda x: F.gelu(x, approximate="tanh"),
    "gelu_pytorch_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
}
_FUSED = {  # oneDNN's names: function, algorithm
    "gelu": ("gelu", "none"),
    "gelu_new": ("gelu", "tanh"),
    "gelu_pytorch_tanh": ("gelu", "tanh"),
    "relu": ("relu", ""),
}


BLOCK, PART = 1024, 128  # rows
FULL = 0.9  # of the most rows: a batch that the next pair didn't fit into


class Products(NamedTuple):
    """How a layer multiplies `[N, K]` by `[M, K]` weights.

    Attributes:
        cut: `[N, K]` to the blocks of rows to multiply at a time.
        plain: `(x, weight, bias)` to `[N, M]`.
        activated: `(x, weight, bias)` to `[N, M]`, the layer's activation applied.
        added: `(x, weight, bias, residual)` to `[N, M]`, `residual` added.
        gated: `(x, weight, bias, factor)` to `[N, M]`, times `factor`.

    A bias may be None.
    """

    cut: Callable[[Tensor], Sequence[Tensor]]
    plain: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    activated: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    added: Callable[[Tensor, Tensor, Tensor | None, Tensor], Tensor]
    gated: Callable[[Tensor, Tensor, Tensor | None, Tensor], Tensor]


def written_out(activation: str) -> Products:
    """Products that every device runs and every tool can trace."""
    act = ACTIVATIONS[activation]
    return Products(
        lambda x: [x],
        F.linear,
        lambda x, weight, bias: act(F.linear(x, weight, bias)),
        lambda x, weight, bias, residual: residual + F.linear(x, weight, bias),
        lambda x, weight, bias, factor: factor * F.linear(x, weight, bias),
    )


def choose(activation: str, dtype: torch.dtype, device: torch.device, *, most: int) -> Products:
    """The fastest products for scoring: oneDNN's fused kernels where this PyTorch and processor have them.

    Args:
        activation: of the layers, by its name in Hugging Face's configuration.
        dtype: of weights and activations.
        device: where to run.
        most: rows that a batch is filled up to.
    """
    kernels: Any = torch.ops.mkldnn
    if device.type != "cpu" or activation not in _FUSED or not torch.backends.mkldnn.is_available():
        return written_out(activation)
    if not hasattr(kernels, "_linear_pointwise"):
        return written_out(activation)
    if dtype == torch.bfloat16 and not kernels._is_mkldnn_bf16_supported():
        return written_out(activation)
    name, algorithm = _FUSED[activation]
    fused = kernels._linear_pointwise
    return Products(
        lambda x: x.split(few_shapes(len(x), most=most)),
        lambda x, weight, bias: fused(x, weight, bias, "none", [], ""),
        lambda x, weight, bias: fused(x, weight, bias, name, [], algorithm),
        lambda x, weight, bias, residual: fused.binary(x, residual, weight, bias, "add"),
        lambda x, weight, bias, factor: fused.binary(x, factor, weight, bias, "mul"),
    )


def few_shapes(rows: int, *, most: int) -> list[int]:
    """`rows` as a sum of few different numbers: whole blocks, a multiple of `PART`, and what is left.

    oneDNN makes and keeps code for every shape that it meets: some 5 ms and a megabyte each. Batches that were filled
    up to `most` rows have few sizes. The others, the last ones of a stage, have hundreds; their blocks have about
    thirty, which are met once and for all.

    Example:
        >>> few_shapes(2 * 1024 + 300, most=4096)
        [1024, 1024, 256, 44]
    """
    if rows > FULL * most:
        return [rows]
    whole, left = divmod(rows, BLOCK)
    part = left - left % PART
    return [BLOCK] * whole + [size for size in (part, left - part) if size]
