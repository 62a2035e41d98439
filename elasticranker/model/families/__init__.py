"""The families of backbones, a file each: its names, its sizes and, where it isn't BERT's, its layer.

A new one is a file here and a line in `FAMILIES`; CONTRIBUTING says what else to do for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from elasticranker.model.encoder import Shape
from elasticranker.model.families.albert import ALBERT
from elasticranker.model.families.bert import BERT
from elasticranker.model.families.distilbert import DISTILBERT
from elasticranker.model.families.electra import ELECTRA
from elasticranker.model.families.family import Family
from elasticranker.model.families.modernbert import MODERNBERT
from elasticranker.model.families.mpnet import MPNET
from elasticranker.model.families.roberta import ROBERTA

FAMILIES = (BERT, ELECTRA, ROBERTA, DISTILBERT, MPNET, ALBERT, MODERNBERT)
TYPES: dict[str, Family] = {name: family for family in FAMILIES for name in family.types}
# To have it: a table of positions that each layer projects with its own queries and keys, two more products a head
# with that table, gathered by distance and added to the logits, and their price in planning/cost.py.
_DISENTANGLED = (
    ": its attention adds to the logits of two tokens what each of them makes of their distance, in every layer anew, "
    "where the layers here add a mask that no token's state changes"
)
_REFUSED = {"deberta": _DISENTANGLED, "deberta-v2": _DISENTANGLED}


def why_not(model_type: str | None) -> str:
    """Why a type isn't supported, where more can be said than that it isn't: a part of an error."""
    return _REFUSED.get(model_type or "", "")


def read_shape(written: Mapping[str, Any]) -> Shape:
    """The `Shape` that a checkpoint's manifest holds.

    Raises:
        ValueError: of a family that isn't known here.
    """
    family = written.get("family", "bert")
    if family not in TYPES:
        raise ValueError(
            f"the checkpoint's backbone is a {family!r}, which this version doesn't know: update elasticranker"
        )
    values: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in written.items()}
    return TYPES[family].shapes(**values)
