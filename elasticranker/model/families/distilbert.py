"""DistilBERT (Sanh et al. 2019): BERT's layers under other names, without token types; its head has a ReLU."""

from __future__ import annotations

from typing import Any

from elasticranker.model.families.bert import BODY, BertShape
from elasticranker.model.families.family import Family, Head, check_activation

LAYER = {
    "qkv.0": "transformer.layer.{}.attention.q_lin.weight",
    "qkv.1": "transformer.layer.{}.attention.k_lin.weight",
    "qkv.2": "transformer.layer.{}.attention.v_lin.weight",
    "qkv_bias.0": "transformer.layer.{}.attention.q_lin.bias",
    "qkv_bias.1": "transformer.layer.{}.attention.k_lin.bias",
    "qkv_bias.2": "transformer.layer.{}.attention.v_lin.bias",
    "out": "transformer.layer.{}.attention.out_lin.weight",
    "out_bias": "transformer.layer.{}.attention.out_lin.bias",
    "norm1": "transformer.layer.{}.sa_layer_norm.weight",
    "norm1_bias": "transformer.layer.{}.sa_layer_norm.bias",
    "up": "transformer.layer.{}.ffn.lin1.weight",
    "up_bias": "transformer.layer.{}.ffn.lin1.bias",
    "down": "transformer.layer.{}.ffn.lin2.weight",
    "down_bias": "transformer.layer.{}.ffn.lin2.bias",
    "norm2": "transformer.layer.{}.output_layer_norm.weight",
    "norm2_bias": "transformer.layer.{}.output_layer_norm.bias",
}


def _shape(config: Any) -> BertShape:
    return BertShape(
        vocabulary=config.vocab_size,
        positions=config.max_position_embeddings,
        types=0,
        layers=config.n_layers,
        hidden=config.dim,
        heads=config.n_heads,
        head_size=config.dim // config.n_heads,
        neurons=config.hidden_dim,
        embedding=config.dim,
        activation=check_activation("activation", config.activation),
    )


DISTILBERT = Family(
    types=("distilbert",),
    shape=_shape,
    head=lambda config: Head("pre_classifier", "relu", "classifier"),
    body=BODY,
    layer=LAYER,
    shapes=BertShape,
)
