"""ElasticRanker: cross-encoder reranking whose cost per query you choose.

`ElasticRanker` is the PyTerrier transformer that reranks, `ElasticDenser` the one that retrieves by vectors, `Budget`
what a query may cost. Names are loaded when first used, so that importing this package starts no JVM and does not
import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from elasticranker.threads import spin_briefly
from elasticranker.version import __version__

spin_briefly()  # here, since it has to come before torch
_HOMES = {
    "Budget": "elasticranker.planning.budget",
    "ElasticDenser": "elasticranker.denser",
    "ElasticRanker": "elasticranker.ranker",
    "EnergyRouter": "elasticranker.routing",
    "JointInference": "elasticranker.routing",
    "RemoteRanker": "elasticranker.serving.remote",
    "elastify": "elasticranker.training.elastifying",
}
__all__ = [
    "Budget",
    "ElasticDenser",
    "ElasticRanker",
    "EnergyRouter",
    "JointInference",
    "RemoteRanker",
    "__version__",
    "elastify",
]

if TYPE_CHECKING:
    from elasticranker.denser import ElasticDenser
    from elasticranker.planning.budget import Budget
    from elasticranker.ranker import ElasticRanker
    from elasticranker.routing import EnergyRouter, JointInference
    from elasticranker.serving.remote import RemoteRanker
    from elasticranker.training.elastifying import elastify


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
