"""ELECTRA (Clark et al. 2020): BERT's layers; in the small ones embeddings are narrower and projected."""

from __future__ import annotations

from elasticranker.model.families.bert import BODY, LAYER, BertShape, sizes
from elasticranker.model.families.family import Family, Head

ELECTRA = Family(
    types=("electra",),
    shape=lambda config: BertShape(**sizes(config)),
    head=lambda config: Head("classifier.dense", "gelu", "classifier.out_proj"),
    body=BODY,
    layer=LAYER,
    shapes=BertShape,
)
