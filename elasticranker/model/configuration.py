"""A Hugging Face configuration: read from a checkpoint, and refused where it asks for what isn't done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from elasticranker.model.families import TYPES, why_not
from elasticranker.model.families.family import Family
from elasticranker.model.hub import resolve


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
    if written.get("model_type") not in TYPES:  # before transformers asks whether to run the code in `auto_map`
        raise ValueError(
            f"model type {written.get('model_type')!r} is not supported{why_not(written.get('model_type'))}: use a "
            f"checkpoint of type {', '.join(TYPES)}"
            + ("; code that comes with a checkpoint is never run" if "auto_map" in written else "")
        )
    if (folder / "adapter_config.json").exists():
        raise ValueError(f"{source} has an adapter (adapter_config.json) beside its model: merge it into the weights")
    if "quantization_config" in written:
        raise ValueError(f"the weights in {source} are quantised (quantization_config): use a checkpoint in full")
    return AutoConfig.from_pretrained(folder, trust_remote_code=False)


def family_of(config: Any) -> Family:
    """The family of a supported Hugging Face configuration (see `read_config`)."""
    return TYPES[config.model_type]
