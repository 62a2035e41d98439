"""Cutting an encoder out of a Hugging Face checkpoint, and writing one back.

BERT, ELECTRA and the RoBERTa family (RoBERTa, XLM-R, CamemBERT) name their tensors alike, so one table serves all
three; what differs is the embedding projection (ELECTRA), the position offset (RoBERTa) and the head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from elasticranker.model.encoder import ACTIVATIONS, Encoder, Shape
from elasticranker.model.readout import ClsReadout, InteractionReadout

FAMILIES = {
    "bert": "bert",
    "electra": "electra",
    "roberta": "roberta",
    "xlm-roberta": "roberta",
    "camembert": "roberta",
}
_EMBEDDINGS = {
    "token": "embeddings.word_embeddings.weight",
    "position": "embeddings.position_embeddings.weight",
    "segment": "embeddings.token_type_embeddings.weight",
    "norm": "embeddings.LayerNorm.weight",
    "norm_bias": "embeddings.LayerNorm.bias",
    "projection": "embeddings_project.weight",
    "projection_bias": "embeddings_project.bias",
}
_LAYER = {
    "out": "attention.output.dense.weight",
    "out_bias": "attention.output.dense.bias",
    "norm1": "attention.output.LayerNorm.weight",
    "norm1_bias": "attention.output.LayerNorm.bias",
    "up": "intermediate.dense.weight",
    "up_bias": "intermediate.dense.bias",
    "down": "output.dense.weight",
    "down_bias": "output.dense.bias",
    "norm2": "output.LayerNorm.weight",
    "norm2_bias": "output.LayerNorm.bias",
}
_HEADS = {  # family: (dense layer, its activation, last layer)
    "bert": ("pooler.dense", "tanh", "classifier"),
    "electra": ("classifier.dense", "gelu", "classifier.out_proj"),
    "roberta": ("classifier.dense", "tanh", "classifier.out_proj"),
}


def family_of(config: Any) -> str:
    """The family of a Hugging Face configuration; ValueError names the supported ones."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ValueError(
            f"model type {config.model_type!r} is not supported: use a checkpoint of type {', '.join(FAMILIES)}"
        )
    return family


def shape_of(config: Any) -> Shape:
    """`Shape` of a Hugging Face configuration."""
    family = family_of(config)
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(f"hidden_act {config.hidden_act!r} is not supported: one of {', '.join(ACTIVATIONS)}")
    if getattr(config, "position_embedding_type", "absolute") != "absolute":
        raise ValueError(f"position_embedding_type {config.position_embedding_type!r}: only 'absolute' is supported")
    return Shape(
        vocabulary=config.vocab_size,
        positions=config.max_position_embeddings,
        types=config.type_vocab_size,
        layers=config.num_hidden_layers,
        hidden=config.hidden_size,
        heads=config.num_attention_heads,
        head_size=config.hidden_size // config.num_attention_heads,
        neurons=config.intermediate_size,
        embedding=getattr(config, "embedding_size", config.hidden_size),
        epsilon=config.layer_norm_eps,
        activation=config.hidden_act,
        position_offset=config.pad_token_id + 1 if family == "roberta" else 0,
    )


def from_hugging_face(source: str, *, keep_head: bool = True) -> tuple[Encoder, Any]:
    """Encoder with the weights of a Hugging Face checkpoint.

    A cross-encoder (an architecture `...ForSequenceClassification` with one or two labels) keeps its head as the
    readout after its last layer and gets the training-free similarity of embedding-layer states as depth 0. A bare
    encoder, or `keep_head=False`, gets untrained interaction readouts after every layer: a start for training.

    Args:
        source: a local folder or an id on the Hugging Face hub.
        keep_head: keep the cross-encoder's head where there is one.

    Returns:
        The encoder (float32, evaluation mode) and the Hugging Face configuration.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification

    config = AutoConfig.from_pretrained(source)
    shape = shape_of(config)
    classifies = any(name.endswith("ForSequenceClassification") for name in config.architectures or [])
    if keep_head and classifies:
        model = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.float32)
        readouts = {0: InteractionReadout(shape.hidden), shape.layers: _head(model, family_of(config), shape)}
    else:
        model = AutoModel.from_pretrained(source, dtype=torch.float32)
        readouts = {depth: InteractionReadout(shape.hidden) for depth in range(shape.layers + 1)}
    encoder = Encoder(shape, readouts)
    _load_body(encoder, model.base_model.state_dict())
    return encoder.eval(), config


def _head(model: Any, family: str, shape: Shape) -> ClsReadout:
    dense, activation, last = _HEADS[family]
    state = model.state_dict()
    prefix = f"{model.base_model_prefix}." if dense.startswith("pooler") else ""
    readout = ClsReadout(shape.hidden, state[f"{last}.weight"].shape[0], pooler=activation)
    with torch.no_grad():
        readout.dense.copy_(state[f"{prefix}{dense}.weight"])
        readout.dense_bias.copy_(state[f"{prefix}{dense}.bias"])
        readout.head.copy_(state[f"{last}.weight"])
        readout.head_bias.copy_(state[f"{last}.bias"])
    return readout


@torch.no_grad()
def _load_body(encoder: Encoder, state: dict[str, Tensor]) -> None:
    for ours, theirs in _EMBEDDINGS.items():
        if hasattr(encoder.embeddings, ours):
            getattr(encoder.embeddings, ours).copy_(state[theirs])
    for index in range(encoder.shape.layers):
        layer = encoder.layer(index)
        prefix = f"encoder.layer.{index}."
        for part, name in enumerate(("query", "key", "value")):
            layer.qkv[part].copy_(state[f"{prefix}attention.self.{name}.weight"].view_as(layer.qkv[part]))
            layer.qkv_bias[part].copy_(state[f"{prefix}attention.self.{name}.bias"].view_as(layer.qkv_bias[part]))
        for ours, theirs in _LAYER.items():
            target = getattr(layer, ours)
            target.copy_(state[prefix + theirs].view_as(target))
