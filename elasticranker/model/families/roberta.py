"""RoBERTa (Liu et al. 2019), XLM-R, CamemBERT: BERT's layers; positions start behind the padding id."""

from __future__ import annotations

from elasticranker.model.families.bert import BODY, LAYER, BertShape, sizes
from elasticranker.model.families.family import Family, Head

ROBERTA = Family(
    types=("roberta", "xlm-roberta", "camembert"),
    shape=lambda config: BertShape(**sizes(config), position_offset=config.pad_token_id + 1),
    head=lambda config: Head("classifier.dense", "tanh", "classifier.out_proj"),
    body=BODY,
    layer=LAYER,
    shapes=BertShape,
)
