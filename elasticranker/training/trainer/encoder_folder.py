"""An encoder's body as a Hugging Face folder, which any library loads and `train --backbone` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elasticranker.model.encoder import Encoder
from elasticranker.model.export_dense import plain_encoder
from elasticranker.model.huggingface import quiet


def save_encoder(
    encoder: Encoder, config: Any, tokenizer: Any, folder: str | Path, *, kept: tuple[int, ...] | None = None
) -> Path:
    """Write the body (embeddings and layers; no head, and no readout) as a Hugging Face encoder.

    Args:
        encoder: at full width; a reordered one computes what it did before.
        config: the backbone's Hugging Face configuration.
        tokenizer: the backbone's.
        folder: where.
        kept: layers (from 0), by default all.
    """
    model = plain_encoder(encoder, config, None if kept is None else [encoder.layer(index) for index in kept])
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)
