"""Makes PyTorch's own FLOP counter see what the engine runs.

`FlopCounterMode` (PyTorch 2.13) has no formula for the fused CPU kernels of attention and of products with what follows
them, and counts them as nothing. Importing this module registers the formulas that it uses for the plain ones.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, mm_flop, register_flop_formula, sdpa_flop_count

_KERNEL = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

if _KERNEL not in flop_registry:

    @register_flop_formula(_KERNEL)
    def _attention(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
        return int(sdpa_flop_count(query, key, value))


_FUSED = getattr(getattr(torch.ops, "mkldnn", None), "_linear_pointwise", None)

if _FUSED is not None and _FUSED not in flop_registry:

    @register_flop_formula(_FUSED, get_raw=True)
    def _linear(x: Any, *args: Any, **kwargs: Any) -> int:
        # Both forms: (x, weight, ...) and (x, residual, weight, ...), all of two dimensions.
        weight = next(t for t in reversed(args) if isinstance(t, torch.Tensor) and t.dim() == 2)
        return int(mm_flop(x.shape, weight.shape[::-1]))
