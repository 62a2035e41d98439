"""Relation alignment: how alike do two encoders relate the tokens of a text to each other?

The distillation loss of MiniLMv2 (Wang et al. 2021, *MiniLMv2: Multi-Head Self-Attention Relation Distillation for
Compressing Pretrained Transformers*, section 3), which ElasticLM (Zhang et al. 2024, *On Elastic Language Models*) uses
to align every sub-network with a larger teacher before any task is known: queries with queries, keys with keys, values
with values. Relations are compared, not vectors, so teacher and student may differ in size and in number of heads.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from elasticranker.model.encoder import Shape, Weights

ABSENT = -1e4  # stands for minus infinity: finite, so that 0 * it is 0


def project(hidden: Tensor, weights: Weights, shape: Shape) -> Tensor:
    """Queries, keys and values `[3, B, T, D]` of a layer from its input `[B, T, H]`; `D`: all heads in a row."""
    batch, tokens, _ = hidden.shape
    projected = F.linear(weights.seen(hidden, shape), weights.qkv, weights.qkv_bias)
    return projected.view(batch, tokens, 3, -1).permute(2, 0, 1, 3)


def relations(vectors: Tensor, lengths: Tensor, heads: int) -> Tensor:
    """Log-probabilities `[3, B, heads, T, T]` of the relations of vectors `[3, B, T, D]` to themselves.

    The softmax of scaled dot products, `softmax(X X' / sqrt(D / heads))`, over the tokens that a text has.

    Args:
        vectors: queries, keys and values.
        lengths: `[B]` tokens of each text.
        heads: relation heads: the `D` features are cut into so many parts, whatever the attention heads were.

    Example:
        >>> relations(torch.zeros(3, 1, 2, 4), torch.tensor([2]), heads=2).exp().unique()
        tensor([0.5000])
    """
    parts, batch, tokens, size = vectors.shape
    split = vectors.reshape(parts, batch, tokens, heads, size // heads).transpose(2, 3)
    products = (split @ split.transpose(-1, -2)).float() / (size // heads) ** 0.5
    absent = torch.arange(tokens, device=lengths.device) >= lengths[:, None]  # [B, T]
    return torch.log_softmax(products.masked_fill(absent[None, :, None, None, :], ABSENT), -1)


def relation_loss(student: Tensor, teacher: Tensor, lengths: Tensor) -> Tensor:
    """`KL(teacher || student)` of relations, summed over the three kinds, averaged over heads and a text's tokens.

    Args:
        student: log-probabilities `[3, B, heads, T, T]`.
        teacher: likewise, of the same texts and relation heads.
        lengths: `[B]` tokens of each text.

    Returns:
        `[B]` a loss a text.
    """
    divergence = (teacher.exp() * (teacher - student)).sum(-1)  # [3, B, heads, T]
    present = torch.arange(teacher.shape[-1], device=lengths.device) < lengths[:, None]  # [B, T]
    divergence = divergence.masked_fill(~present[None, :, None, :], 0.0)
    return divergence.sum((0, 2, 3)) / (lengths * teacher.shape[2])


def check_heads(features: int, heads: int, whose: str) -> None:
    """Raise a ValueError where `features` can't be cut into so many relation heads; it names those that would do."""
    if features % heads:
        fitting = ", ".join(str(number) for number in range(1, features + 1) if features % number == 0)
        raise ValueError(f"relation_heads={heads} does not divide the {features} features of {whose}: one of {fitting}")
