"""The matrix products of a layer, with what follows each of them: written out, or fused into one kernel.

A layer's other passes over memory (activation, residual sum) cost a third of its time on a CPU with matrix units.
oneDNN does them while the product's tile is in the cache; PyTorch reaches those kernels by operators that its own
compiler uses. `choose` takes them for scoring on a CPU; training and export write the layer out, which every device,
the gradient and ONNX understand.
"""

from __future__ import annotations

from collections.abc import Callable
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


class Products(NamedTuple):
    """How a layer multiplies `[N, K]` by `[M, K]` weights.

    Attributes:
        plain: `(x, weight, bias)` to `[N, M]`.
        activated: `(x, weight, bias)` to `[N, M]`, the layer's activation applied.
        added: `(x, weight, bias, residual)` to `[N, M]`, `residual` added.
    """

    plain: Callable[[Tensor, Tensor, Tensor], Tensor]
    activated: Callable[[Tensor, Tensor, Tensor], Tensor]
    added: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def written_out(activation: str) -> Products:
    """Products that every device runs and every tool can trace."""
    act = ACTIVATIONS[activation]
    return Products(
        F.linear,
        lambda x, weight, bias: act(F.linear(x, weight, bias)),
        lambda x, weight, bias, residual: residual + F.linear(x, weight, bias),
    )


def choose(activation: str, dtype: torch.dtype, device: torch.device) -> Products:
    """The fastest products for scoring: oneDNN's fused kernels where this PyTorch and processor have them."""
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
        lambda x, weight, bias: fused(x, weight, bias, "none", [], ""),
        lambda x, weight, bias: fused(x, weight, bias, name, [], algorithm),
        lambda x, weight, bias, residual: fused.binary(x, residual, weight, bias, "add"),
    )
