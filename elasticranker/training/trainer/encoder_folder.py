"""An encoder's body as a Hugging Face folder, which any library loads and `train --backbone` takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from elasticranker.model.configuration import family_of
from elasticranker.model.encoder import Encoder
from elasticranker.model.huggingface import quiet, write_body


def save_encoder(encoder: Encoder, config: Any, tokenizer: Any, folder: str | Path) -> Path:
    """Write the body (embeddings and layers; no head, and no readout) as a Hugging Face encoder.

    Args:
        encoder: at full width; a reordered one computes what it did before.
        config: the backbone's Hugging Face configuration.
        tokenizer: the backbone's.
        folder: where.
    """
    from transformers import AutoModel

    model = AutoModel.from_config(config).float()  # made in the configuration's own dtype
    with torch.no_grad():
        write_body(encoder, model.state_dict(), family_of(config))
    with quiet():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return Path(folder)
