"""Peers of a checkpoint in split layout: its weights as a bi-encoder, which is as near as other runtimes come.

They read every query and every document alone, by the whole model, and score by the cosine of the two vectors: our
full model without attention between the texts, MaxSim and `[CLS]`. A query is encoded once for all its documents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from elasticranker.model.checkpoint import Checkpoint
from elasticranker.model.export_dense import export_sentence_transformer
from elasticranker.model.huggingface import quiet
from elasticranker.planning.plan import Floats
from experiments.peers.setup import Pairs, Scorer, Setup

Encode = Callable[[Sequence[str], Literal["query", "document"], int], np.ndarray]  # texts, kind, batch: [n, H]


def by_cosine(encode: Encode) -> Scorer:
    """Scores pairs by what encodes texts to vectors of length 1."""

    def score(pairs: Pairs, batch: int) -> Floats:
        queries = list(dict.fromkeys(query for query, _ in pairs))
        place = {query: number for number, query in enumerate(queries)}
        asked = encode(queries, "query", batch)[[place[query] for query, _ in pairs]]
        read = encode([text for _, text in pairs], "document", batch)
        return np.asarray((asked * read).sum(-1), dtype=np.float64)

    return score


def open_bi_encoder(setup: Setup, dtype: str) -> Scorer:
    """A `SentenceTransformer` of the full model.

    Args:
        setup: the weights and where to run.
        dtype: "float32" or "bfloat16".

    Raises:
        ImportError: sentence-transformers isn't installed.
    """
    from sentence_transformers import SentenceTransformer

    folder = plain_copy(setup.checkpoint(), Path(setup.exports) / "plain")
    with quiet():
        model = SentenceTransformer(
            str(folder), device=setup.device, model_kwargs={"dtype": getattr(torch, dtype)}, local_files_only=True
        )
    model.max_seq_length = setup.max_length

    def encode(texts: Sequence[str], kind: str, batch: int) -> np.ndarray:
        vectors = model.encode(
            list(texts), prompt_name=kind, batch_size=batch, show_progress_bar=False, convert_to_tensor=True
        )
        return vectors.float().cpu().numpy()  # numpy has no bfloat16

    return by_cosine(encode)


def plain_copy(checkpoint: Checkpoint, folder: Path) -> Path:
    """The whole model as a bi-encoder of sentence-transformers, written once."""
    if not (folder / "modules.json").exists():
        export_sentence_transformer(checkpoint, folder, depth=checkpoint.encoder.shape.layers)
    return folder
