"""A Hugging Face configuration: read from a checkpoint, refused where it asks for what isn't done, or a `Shape`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from elasticranker.model.encoder import Shape
from elasticranker.model.hub import resolve
from elasticranker.model.products import ACTIVATIONS

FAMILIES = {
    "bert": "bert",
    "electra": "electra",
    "roberta": "roberta",
    "xlm-roberta": "roberta",
    "camembert": "roberta",
}


def read_config(source: str | Path) -> Any:
    """The Hugging Face configuration of a checkpoint of a supported type. A checkpoint's own code is never run.

    Args:
        source: a folder or an id on the hub.

    Raises:
        ValueError: there is none, or it asks for something that isn't supported.
    """
    from transformers import AutoConfig

    folder = Path(resolve(source))
    try:
        written = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(
            f"{source} has no config.json: it is neither an elastic checkpoint nor a Hugging Face model"
        ) from error
    except ValueError as error:
        raise ValueError(f"config.json in {source} is not valid JSON ({error}): get the checkpoint again") from error
    if written.get("model_type") not in FAMILIES:  # before transformers asks whether to run the code in `auto_map`
        raise ValueError(
            f"model type {written.get('model_type')!r} is not supported: use a checkpoint of type {', '.join(FAMILIES)}"
            + ("; code that comes with a checkpoint is never run" if "auto_map" in written else "")
        )
    if (folder / "adapter_config.json").exists():
        raise ValueError(f"{source} has an adapter (adapter_config.json) beside its model: merge it into the weights")
    if "quantization_config" in written:
        raise ValueError(f"the weights in {source} are quantised (quantization_config): use a checkpoint in full")
    return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def family_of(config: Any) -> str:
    """The family of a supported Hugging Face configuration (see `read_config`)."""
    return FAMILIES[config.model_type]


def shape_of(config: Any) -> Shape:
    """`Shape` of a Hugging Face configuration."""
    family = family_of(config)
    if config.hidden_act not in ACTIVATIONS:
        raise ValueError(f"hidden_act {config.hidden_act!r} is not supported: one of {', '.join(ACTIVATIONS)}")
    if getattr(config, "position_embedding_type", "absolute") != "absolute":
        raise ValueError(f"position_embedding_type {config.position_embedding_type!r}: only 'absolute' is supported")
    if getattr(config, "is_decoder", False):
        raise ValueError("is_decoder=True: a decoder's tokens don't see those after them, use an encoder's checkpoint")
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
