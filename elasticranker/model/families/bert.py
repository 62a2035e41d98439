"""BERT (Devlin et al. 2019): the layer of `elasticranker.model.encoder`. Other families name their tensors alike."""

from __future__ import annotations

from typing import Any

from elasticranker.model.encoder import Shape
from elasticranker.model.families.family import Family, Head, check_activation

BODY = {
    "embeddings.token": "embeddings.word_embeddings.weight",
    "embeddings.position": "embeddings.position_embeddings.weight",
    "embeddings.segment": "embeddings.token_type_embeddings.weight",
    "embeddings.norm": "embeddings.LayerNorm.weight",
    "embeddings.norm_bias": "embeddings.LayerNorm.bias",
    "embeddings.projection": "embeddings_project.weight",
    "embeddings.projection_bias": "embeddings_project.bias",
}
LAYER = {
    "qkv.0": "encoder.layer.{}.attention.self.query.weight",
    "qkv.1": "encoder.layer.{}.attention.self.key.weight",
    "qkv.2": "encoder.layer.{}.attention.self.value.weight",
    "qkv_bias.0": "encoder.layer.{}.attention.self.query.bias",
    "qkv_bias.1": "encoder.layer.{}.attention.self.key.bias",
    "qkv_bias.2": "encoder.layer.{}.attention.self.value.bias",
    "out": "encoder.layer.{}.attention.output.dense.weight",
    "out_bias": "encoder.layer.{}.attention.output.dense.bias",
    "norm1": "encoder.layer.{}.attention.output.LayerNorm.weight",
    "norm1_bias": "encoder.layer.{}.attention.output.LayerNorm.bias",
    "up": "encoder.layer.{}.intermediate.dense.weight",
    "up_bias": "encoder.layer.{}.intermediate.dense.bias",
    "down": "encoder.layer.{}.output.dense.weight",
    "down_bias": "encoder.layer.{}.output.dense.bias",
    "norm2": "encoder.layer.{}.output.LayerNorm.weight",
    "norm2_bias": "encoder.layer.{}.output.LayerNorm.bias",
}


def sizes(config: Any) -> dict[str, Any]:
    """What `Shape` takes, from a configuration in BERT's words.

    Raises:
        ValueError: it asks for what isn't done.
    """
    if getattr(config, "position_embedding_type", "absolute") != "absolute":
        raise ValueError(f"position_embedding_type {config.position_embedding_type!r}: only 'absolute' is supported")
    if getattr(config, "is_decoder", False):
        raise ValueError("is_decoder=True: a decoder's tokens don't see those after them, use an encoder's checkpoint")
    return {
        "vocabulary": config.vocab_size,
        "positions": config.max_position_embeddings,
        "types": getattr(config, "type_vocab_size", 0),
        "layers": config.num_hidden_layers,
        "hidden": config.hidden_size,
        "heads": config.num_attention_heads,
        "head_size": config.hidden_size // config.num_attention_heads,
        "neurons": config.intermediate_size,
        "embedding": getattr(config, "embedding_size", config.hidden_size),
        "epsilon": config.layer_norm_eps,
        "activation": check_activation("hidden_act", config.hidden_act),
    }


BERT = Family(
    types=("bert",),
    shape=lambda config: Shape(**sizes(config)),
    head=lambda config: Head("pooler.dense", "tanh", "classifier"),
    body=BODY,
    layer=LAYER,
)
