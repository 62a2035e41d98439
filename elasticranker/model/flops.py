"""Makes PyTorch's own FLOP counter see what the engine runs.

`FlopCounterMode` (PyTorch 2.13) has no formula for the fused CPU attention kernel and counts it as nothing. Importing
this module registers the formula that it uses for every other attention kernel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import flop_registry, register_flop_formula, sdpa_flop_count

_KERNEL = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu

if _KERNEL not in flop_registry:

    @register_flop_formula(_KERNEL)
    def _attention(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
        return int(sdpa_flop_count(query, key, value))
