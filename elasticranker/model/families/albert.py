"""ALBERT (Lan et al. 2020): BERT's layer, one (or a few) for all depths, over narrow embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elasticranker.model.families.bert import BODY, BertShape, sizes
from elasticranker.model.families.family import Family, Head

_LAYER = "encoder.albert_layer_groups.{}.albert_layers.0."
LAYER = {
    "qkv.0": _LAYER + "attention.query.weight",
    "qkv.1": _LAYER + "attention.key.weight",
    "qkv.2": _LAYER + "attention.value.weight",
    "qkv_bias.0": _LAYER + "attention.query.bias",
    "qkv_bias.1": _LAYER + "attention.key.bias",
    "qkv_bias.2": _LAYER + "attention.value.bias",
    "out": _LAYER + "attention.dense.weight",
    "out_bias": _LAYER + "attention.dense.bias",
    "norm1": _LAYER + "attention.LayerNorm.weight",
    "norm1_bias": _LAYER + "attention.LayerNorm.bias",
    "up": _LAYER + "ffn.weight",
    "up_bias": _LAYER + "ffn.bias",
    "down": _LAYER + "ffn_output.weight",
    "down_bias": _LAYER + "ffn_output.bias",
    "norm2": _LAYER + "full_layer_layer_norm.weight",
    "norm2_bias": _LAYER + "full_layer_layer_norm.bias",
}


@dataclass(frozen=True)
class AlbertShape(BertShape):
    """Sizes of an ALBERT: `shared` distinct layers stand for `layers`, in runs of one length."""

    family: str = "albert"
    shared: int = 1

    @property
    def distinct(self) -> int:
        """Layers that have tensors of their own."""
        return self.shared

    def own(self, index: int) -> int:
        """Which of the distinct layers stands in place `index`."""
        return index * self.shared // self.layers


def _shape(config: Any) -> AlbertShape:
    if config.inner_group_num != 1:
        raise ValueError(f"inner_group_num={config.inner_group_num}: only ALBERTs with 1 are supported")
    if config.embedding_size == config.hidden_size:
        raise ValueError(
            f"embedding_size={config.embedding_size}: only ALBERTs whose embeddings are narrower than hidden_size are "
            "supported"
        )
    return AlbertShape(**sizes(config), shared=config.num_hidden_groups)


def _cut(config: Any, depth: int) -> None:
    if config.num_hidden_groups != 1 and depth != config.num_hidden_layers:
        raise ValueError(
            f"depth={depth}: an ALBERT of {config.num_hidden_groups} distinct layers spreads them over its depth, so "
            "Hugging Face has no cut one: export it with --onnx (`export_onnx`)"
        )
    config.num_hidden_layers = depth


ALBERT = Family(
    types=("albert",),
    shape=_shape,
    head=lambda config: Head("pooler", "tanh", "classifier"),
    body=BODY
    | {
        "embeddings.projection": "encoder.embedding_hidden_mapping_in.weight",
        "embeddings.projection_bias": "encoder.embedding_hidden_mapping_in.bias",
    },
    layer=LAYER,
    shapes=AlbertShape,
    cut=_cut,
)
