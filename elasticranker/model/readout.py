"""Readouts: from the hidden states after a layer to one score a pair.

`ClsReadout` is what cross-encoders have: a (pooled) linear head on the first token. It needs a model in which that
token has gathered the answer, that is, full depth. `InteractionReadout` compares the query's and the document's token
states (late interaction, ColBERT, Khattab and Zaharia 2020, but over states that have seen the other text), so it works
after any layer, even after none. `SplitReadout` adds to that the cosine of the two texts' mean states, what bi-encoders
score by. Choose `split` for checkpoints in split layout, `interaction` for others trained elastically, `cls` for
cross-encoders that exist.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POOLERS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "gelu": F.gelu}


class Segments(NamedTuple):
    """Where the texts of a batch of pairs stand.

    `first_slots` is the number of leading positions that hold every query token of the batch (a bucket property, so
    that a pair's arithmetic doesn't depend on its batch mates).
    """

    query: Tensor  # bool [B, first_slots]: is this position a query token?
    document: Tensor  # bool [B, T]: is this position a document token?
    first_slots: int
    texts: Tensor | None = None  # bool [B, 2, T], split layout only: the query's and the document's own positions

    def to(self, device: torch.device) -> Segments:
        """The same on another device."""
        texts = None if self.texts is None else self.texts.to(device)
        return Segments(self.query.to(device), self.document.to(device), self.first_slots, texts)


def segments(
    query_start: int, query_ends: Tensor, doc_starts: Tensor, doc_ends: Tensor, first_slots: int, tokens: int
) -> Segments:
    """`Segments` from the half-open positions `[B]` of the query's and the document's tokens."""
    position = torch.arange(tokens, device=query_ends.device)
    query = (position[:first_slots] >= query_start) & (position[:first_slots] < query_ends[:, None])
    document = (position >= doc_starts[:, None]) & (position < doc_ends[:, None])
    return Segments(query, document, first_slots)


class ClsReadout(nn.Module):
    """The head of an ordinary cross-encoder: `[CLS]`, an optional dense layer with activation, a linear layer.

    One label: its logit is the score. Two labels (as trained with cross-entropy over "not relevant", "relevant"): the
    score is the difference of the logits, the log-odds of relevance.
    """

    kind = "cls"

    def __init__(self, hidden: int, labels: int = 1, pooler: str | None = None) -> None:
        super().__init__()
        if labels not in (1, 2):
            raise ValueError(f"labels={labels}: a reranker's head has one or two logits")
        self.pooler = pooler
        if pooler is not None:
            self.dense = nn.Parameter(torch.empty(hidden, hidden).normal_(std=0.02))
            self.dense_bias = nn.Parameter(torch.zeros(hidden))
        self.head = nn.Parameter(torch.zeros(labels, hidden))
        self.head_bias = nn.Parameter(torch.zeros(labels))

    def logits(self, hidden: Tensor) -> Tensor:
        """Logits `[B, labels]` (float32) of hidden states `[B, T, H]`, as the Hugging Face model gives them."""
        first = hidden[:, 0].float()
        if self.pooler is not None:
            first = POOLERS[self.pooler](F.linear(first, self.dense, self.dense_bias))
        return F.linear(first, self.head, self.head_bias)

    def forward(self, hidden: Tensor, where: Segments) -> Tensor:
        """Scores `[B]` (float32) of hidden states `[B, T, H]`."""
        logits = self.logits(hidden)
        return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]


class InteractionReadout(nn.Module):
    """Weighted MaxSim over joint states and a linear `[CLS]` term.

    `score = S a * sum_i w(h_i) max_j cos(h_i, h_j) / sum_i w(h_i) + v . h_cls + c`, with `i` over the query's and `j`
    over the document's tokens, `w = softplus(u . h_i + u0)` a learned term weight, `a` a learned scale and `S`
    (`SCALE`) a constant that gives `a` unit size. Untrained (`a = 1`, `u = v = c = 0`) it is plain MaxSim, a
    training-free readout. An empty query or document has MaxSim -1, the least that there is.
    """

    kind = "interaction"
    SCALE = 20.0

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.term = nn.Parameter(torch.zeros(hidden))
        self.term_bias = nn.Parameter(torch.full((1,), 0.5413))  # softplus(0.5413) = 1
        self.cls = nn.Parameter(torch.zeros(hidden))
        self.scale = nn.Parameter(torch.ones(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, hidden: Tensor, where: Segments) -> Tensor:
        """Scores `[B]` (float32) of hidden states `[B, T, H]`."""
        hidden = hidden.float()  # a similarity rounded to bfloat16 would blur what the scale then spreads
        matched = self.matched(hidden, where)
        return self.SCALE * self.scale * matched + F.linear(hidden[:, 0], self.cls[None])[..., 0] + self.bias

    def matched(self, hidden: Tensor, where: Segments) -> Tensor:
        """Weighted MaxSim `[B]` of float32 states `[B, T, H]`: from -1 to 1."""
        slots = hidden[:, : where.first_slots]
        shrink = torch.linalg.vector_norm(hidden, dim=-1).clamp_min(1e-6).reciprocal()  # [B, T]
        similarity = torch.bmm(slots, hidden.transpose(1, 2)) * shrink[:, : where.first_slots, None] * shrink[:, None]
        best = similarity.masked_fill(~where.document[:, None, :], -1.0).amax(-1)  # [B, Q]
        weight = F.softplus(F.linear(slots, self.term[None])[..., 0] + self.term_bias).masked_fill(~where.query, 0.0)
        total = weight.sum(-1)
        return torch.where(total > 0, (weight * best).sum(-1) / total.clamp_min(1e-9), -torch.ones_like(total))


def means(hidden: Tensor, texts: Tensor) -> Tensor:
    """Mean states `[B, K, H]` (float32) of `K` texts a row, that stand at `texts` (bool `[B, K, T]`) of `[B, T, H]`."""
    weight = texts.float()
    return torch.bmm(weight, hidden.float()) / weight.sum(-1, keepdim=True)


class SplitReadout(InteractionReadout):
    """Cosine of the two texts' mean states, beside weighted MaxSim and a linear `[CLS]` term; split layout only.

    `score = C b * cos(P q, P d) + S a * MaxSim + v . h_cls + c`, with `q` and `d` the means of the query's and the
    document's states, `P` a learned projection (the identity where `projected` is False: at full depth, whose means are
    the backbone's own vectors) and `C` (`COSINE`) a constant that gives `b` unit size: the inverse of the temperature
    that E5 (Wang et al. 2022) was trained with, roughly. `start` sets `a` and `b` for an untrained encoder.
    """

    kind = "split"
    COSINE = 50.0

    def __init__(self, hidden: int, projected: bool = True) -> None:
        super().__init__(hidden)
        self.cosine = nn.Parameter(torch.ones(1))
        self.projected = projected
        if projected:
            self.projection = nn.Parameter(torch.eye(hidden))

    @torch.no_grad()
    def start(self, share: float) -> None:
        """Weigh the terms for an exit after `share` of the layers: tokens count early, means late."""
        self.scale.fill_(0.75 * (1 - share))
        self.cosine.fill_(share**2)

    def vectors(self, hidden: Tensor, where: Segments) -> Tensor:
        """Unit vectors `[B, 2, H]` (float32) of the query and the document from states `[B, T, H]`."""
        if where.texts is None:
            raise ValueError("a split readout needs pairs in split layout: use a SplitPairEncoder")
        return self.pooled(hidden, where.texts)

    def pooled(self, hidden: Tensor, texts: Tensor) -> Tensor:
        """Unit vectors `[B, N, H]` (float32) of `N` texts a row, whose own positions `texts` `[B, N, T]` tells."""
        return self.project(means(hidden, texts))

    def project(self, mean: Tensor) -> Tensor:
        """Unit vectors `[..., H]` of mean states of that shape: in the space of the full model's own."""
        return F.normalize(F.linear(mean, self.projection) if self.projected else mean, dim=-1)

    def forward(self, hidden: Tensor, where: Segments) -> Tensor:
        """Scores `[B]` (float32) of hidden states `[B, T, H]`."""
        hidden = hidden.float()  # once, for both
        return self.score(hidden, where, self.vectors(hidden, where))

    def score(self, hidden: Tensor, where: Segments, vectors: Tensor) -> Tensor:
        """The same, where the vectors are there already."""
        cosine = self.COSINE * self.cosine * (vectors[:, 0] * vectors[:, 1]).sum(-1)
        return cosine + super().forward(hidden, where)


def make_readout(
    hidden: int, *, readout: str, labels: int = 1, pooler: str | None = None, projected: bool = True
) -> nn.Module:
    """A readout by the name that checkpoints give it.

    Raises:
        ValueError: an unknown name.
    """
    if readout == InteractionReadout.kind:
        return InteractionReadout(hidden)
    if readout == SplitReadout.kind:
        return SplitReadout(hidden, projected)
    if readout == ClsReadout.kind:
        return ClsReadout(hidden, labels, pooler)
    raise ValueError(f"unknown readout {readout!r}: this version knows 'interaction', 'split' and 'cls'")
