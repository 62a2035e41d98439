"""The harness: effectiveness against cost, measured so that others can repeat it.

`trade_off` compares rerankers over the same candidates and gives a `TradeOff`: a table, a figure, per-query values,
tests. Names are loaded when first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "TradeOff": "elasticranker.evaluation.tradeoff",
    "effectiveness": "elasticranker.evaluation.measures",
    "trade_off": "elasticranker.evaluation.comparing",
}
__all__ = ["TradeOff", "effectiveness", "trade_off"]

if TYPE_CHECKING:
    from elasticranker.evaluation.comparing import trade_off
    from elasticranker.evaluation.measures import effectiveness
    from elasticranker.evaluation.tradeoff import TradeOff


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
