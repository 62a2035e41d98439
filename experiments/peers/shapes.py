"""Random cross-encoders of known models' shapes: for how fast a model runs, its weights don't matter.

Texts are read with the default checkpoint's tokenizer, so that a made-up model sees as many tokens as a real one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elasticranker.files import writable_folder

SHAPES: dict[str, dict[str, Any]] = {
    "minilm-l6": {
        "model_type": "bert",
        "num_hidden_layers": 6,
        "hidden_size": 384,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
        "max_position_embeddings": 512,
    },
    "ettin-32m": {
        "model_type": "modernbert",
        "num_hidden_layers": 10,
        "hidden_size": 384,
        "num_attention_heads": 6,
        "intermediate_size": 576,
        "max_position_embeddings": 8192,
    },
}


def write_shape(name: str, folder: str | Path) -> Path:
    """Write a random cross-encoder of a shape, with a tokenizer.

    Args:
        name: of `SHAPES`.
        folder: where; what is there already is kept.

    Returns:
        The folder, which Hugging Face, sentence-transformers and `ElasticRanker` load.

    Example:
        >>> write_shape("ettin-32m", "random-ettin")  # doctest: +SKIP
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    from elasticranker.model.hub import resolve
    from elasticranker.model.huggingface import quiet

    folder = writable_folder(folder)
    if (folder / "model.safetensors").exists():
        return folder
    sizes = dict(SHAPES[name])
    tokenizer = AutoTokenizer.from_pretrained(resolve("default"))
    if sizes["model_type"] == "modernbert":
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
        sizes |= {f"{kind}_token_id": tokenizer.cls_token_id for kind in ("cls", "bos")}
        sizes |= {f"{kind}_token_id": tokenizer.sep_token_id for kind in ("sep", "eos")}
    config = AutoConfig.for_model(
        sizes.pop("model_type"),
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        num_labels=1,
        **sizes,
    )
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config)
    model.config.architectures = [type(model).__name__]
    tokenizer.save_pretrained(folder)
    with quiet():
        model.save_pretrained(folder)
    return folder
