"""Validation on held-out queries: how well does each exit rank the candidates of queries that nobody trained on?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from elasticranker.model.encoder import Encoder
from elasticranker.training.data.batches import Sampler, each_tensor
from elasticranker.training.trainer.step import read_exits


@torch.inference_mode()
def validate(
    encoder: Encoder,
    sampler: Sampler,
    dtype: torch.dtype,
    device: torch.device,
    *,
    queries: int = 160,
    candidates: int = 20,
) -> dict[str, Any] | None:
    """Reciprocal rank of the first judged positive at every exit of full width, and agreement with the teacher.

    Returns:
        `rr` (mean over judged queries, an exit each), `agreement` (mean top-1 agreement with the teacher) and `score`,
        the mean of both over exits: what `best` is chosen by. None where no query is held out.
    """
    ranks, agreements = [], []
    for data in sampler.validation(queries, candidates):
        data = each_tensor(data, lambda tensor: tensor.to(device))
        groups, size = data.mask.shape
        scores = read_exits(encoder, data.full, groups * size, 1.0, dtype).scores.view(-1, groups, size)
        scores = scores.masked_fill(~data.mask, -torch.inf)
        agreements.append((scores.argmax(-1) == data.teacher.masked_fill(~data.mask, -torch.inf).argmax(-1)).cpu())
        positive = data.labels == 1
        best = scores.masked_fill(~positive, -torch.inf).amax(-1, keepdim=True)
        rank = 1 + (scores > best).sum(-1)  # [exits, groups]
        ranks.append(torch.where(positive.any(-1), 1.0 / rank, torch.nan).cpu())
    if not ranks:
        return None
    found = torch.cat(ranks, 1).numpy()
    found = found[:, ~np.isnan(found[0])]
    rr = found.mean(1) if found.shape[1] else np.zeros(len(found))
    agreement = torch.cat(agreements, 1).float().mean(1).numpy()
    return {
        "rr": [round(float(value), 4) for value in rr],
        "agreement": [round(float(value), 4) for value in agreement],
        "score": float((rr.mean() + agreement.mean()) / 2),
    }
