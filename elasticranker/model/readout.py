"""Readouts: from the hidden states after a layer to one score a pair, or to a text's logits.

`ClsReadout` is what cross-encoders have: a (pooled) linear head on the first token. It needs a model in which that
token has gathered the answer, that is, full depth. `InteractionReadout` compares the query's and the document's token
states (late interaction, ColBERT, Khattab and Zaharia 2020, but over states that have seen the other text), so it works
after any layer, even after none. `SplitReadout` adds to that the cosine of the two texts' mean states, what bi-encoders
score by. Choose `split` for checkpoints in split layout, `interaction` for others trained elastically, `cls` for
cross-encoders that exist. `MeanReadout` (`mean`) doesn't rank: it gives the logits of a classifier, or the number of a
regression, for a text or a pair of texts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticranker.model.corrections import corrections

POOLERS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": torch.tanh, "gelu": F.gelu, "relu": F.relu}


class Segments(NamedTuple):
    """Where the texts of a batch of pairs stand.

    `first_slots` is the number of leading positions that hold every query token of the batch (a bucket property, so
    that a pair's arithmetic doesn't depend on its batch mates).
    """

    query: Tensor  # bool [B, first_slots]: is this position a query token?
    document: Tensor  # bool [B, T]: is this position a document token?
    first_slots: int
    texts: Tensor | None = None  # bool [B, 2, T], split layout only: the query's and the document's own positions
    lengths: Tensor | None = None  # int64 [B], joint layout only: tokens of the pair, special ones included

    def to(self, device: torch.device) -> Segments:
        """The same on another device."""
        texts = None if self.texts is None else self.texts.to(device)
        lengths = None if self.lengths is None else self.lengths.to(device)
        return Segments(self.query.to(device), self.document.to(device), self.first_slots, texts, lengths)


def segments(
    query_start: int,
    query_ends: Tensor,
    doc_starts: Tensor,
    doc_ends: Tensor,
    first_slots: int,
    tokens: int,
    after: int = 0,
) -> Segments:
    """`Segments` from the half-open positions `[B]` of the query's and the document's tokens; `after` more follow."""
    position = torch.arange(tokens, device=query_ends.device)
    query = (position[:first_slots] >= query_start) & (position[:first_slots] < query_ends[:, None])
    document = (position >= doc_starts[:, None]) & (position < doc_ends[:, None])
    return Segments(query, document, first_slots, lengths=doc_ends + after)


class Head(nn.Module):
    """From vectors to logits: an optional dense layer with activation, an optional normalisation, a linear layer.

    Args:
        hidden: size `H` of the vectors.
        labels: number of logits.
        pooler: activation of the dense layer; None for no dense layer.
        norm: epsilon of a normalisation before the linear layer; None for none.
        bias: have dense layer and normalisation biases?
    """

    dense_bias: nn.Parameter | None
    norm_bias: nn.Parameter | None

    def __init__(
        self, hidden: int, labels: int, pooler: str | None, *, norm: float | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        self.pooler, self.epsilon = pooler, norm
        self.options: dict[str, Any] = {"labels": labels, "pooler": pooler}
        self.options |= {"norm": norm, "bias": bias} if norm is not None or not bias else {}
        self.dense_bias = self.norm_bias = None
        if pooler is not None:
            self.dense = nn.Parameter(torch.empty(hidden, hidden).normal_(std=0.02))
            if bias:
                self.dense_bias = nn.Parameter(torch.zeros(hidden))
        if norm is not None:
            self.norm = nn.Parameter(torch.ones(hidden))
            if bias:
                self.norm_bias = nn.Parameter(torch.zeros(hidden))
        self.head = nn.Parameter(torch.zeros(labels, hidden))
        self.head_bias = nn.Parameter(torch.zeros(labels))

    def of_vectors(self, vectors: Tensor) -> Tensor:
        """Logits `[B, labels]` of float32 vectors `[B, H]`."""
        if self.pooler is not None:
            vectors = POOLERS[self.pooler](F.linear(vectors, self.dense, self.dense_bias))
        if self.epsilon is not None:
            vectors = F.layer_norm(vectors, self.norm.shape, self.norm, self.norm_bias, self.epsilon)
        return F.linear(vectors, self.head, self.head_bias)


class ClsReadout(Head):
    """The head of an ordinary cross-encoder: `[CLS]`, an optional dense layer with activation, a linear layer.

    One label: its logit is the score. Two labels (as trained with cross-entropy over "not relevant", "relevant"): the
    score is the difference of the logits, the log-odds of relevance.

    Args:
        hidden: hidden size.
        labels: one or two.
        pooler: the dense layer's activation; None for no dense layer.
        norm: epsilon of a layer norm after the dense layer (ModernBERT); None for none.
        bias: have the dense layer and its norm one?
        mean: read the mean of a pair's states instead of `[CLS]`.
    """

    kind = "cls"

    def __init__(
        self, hidden: int, labels: int = 1, pooler: str | None = None, *, mean: bool = False, **options: Any
    ) -> None:
        if labels not in (1, 2):
            raise ValueError(f"labels={labels}: a reranker's head has one or two logits")
        super().__init__(hidden, labels, pooler, **options)
        self.mean = mean
        self.options |= {"mean": True} if mean else {}

    def state(self, hidden: Tensor, where: Segments | None = None) -> Tensor:
        """What the head reads of hidden states `[B, T, H]`: one vector a pair, `[B, H]` (float32)."""
        return _mean(hidden.float(), where) if self.mean else hidden[:, 0].float()

    def logits(self, hidden: Tensor, where: Segments | None = None) -> Tensor:
        """Logits `[B, labels]` (float32) of hidden states `[B, T, H]`, as the Hugging Face model gives them."""
        return self.of_vectors(self.state(hidden, where))

    def forward(self, hidden: Tensor, where: Segments) -> Tensor:
        """Scores `[B]` (float32) of hidden states `[B, T, H]`."""
        logits = self.logits(hidden, where)
        return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]


def _mean(hidden: Tensor, where: Segments | None) -> Tensor:
    """Mean `[B, H]` of the states `[B, T, H]` of a pair's tokens, special ones included."""
    if where is None or where.lengths is None:
        raise ValueError("the mean of a pair's states is read in joint layout only: use a PairEncoder")
    present = torch.arange(hidden.shape[1], device=hidden.device) < where.lengths[:, None]
    return (hidden * present[..., None]).sum(1) / where.lengths[:, None]


class MeanReadout(Head):
    """A classifier's head over the mean of all of a text's states, special tokens among them.

    The mean, since what a shallow sub-network knows stands in the tokens: `[CLS]` gathers it many layers later. To this
    readout a text is a document without a query (see `elasticranker.model.inputs`). One label is a regression.
    """

    kind = "mean"

    def __init__(self, hidden: int, labels: int, pooler: str | None = "tanh") -> None:
        if labels < 1:
            raise ValueError(f"labels={labels}: give the number of classes, or 1 for a regression")
        super().__init__(hidden, labels, pooler)

    def forward(self, hidden: Tensor, where: Segments) -> Tensor:
        """Logits `[B, labels]` (float32) of hidden states `[B, T, H]`."""
        present = where.document.float()[:, :, None]
        return self.of_vectors((hidden.float() * present).sum(1) / present.sum(1).clamp_min(1.0))


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

    Args:
        hidden: size of a state.
        projected: whether there is a `P`.
        corrected: of a query encoder that has corrections of its layers, `rank`, `layers` and `sizes` of them (see
            `elasticranker.model.corrections`).
    """

    kind = "split"
    COSINE = 50.0

    def __init__(self, hidden: int, projected: bool = True, corrected: dict[str, Any] | None = None) -> None:
        super().__init__(hidden)
        self.corrected, self.corrections = corrected, corrections(corrected)
        self.cosine = nn.Parameter(torch.ones(1))
        self.projected = projected
        if projected:
            self.projection = nn.Parameter(torch.eye(hidden))

    @property
    def options(self) -> dict[str, Any]:
        """What a checkpoint tells of it."""
        return {"projected": self.projected} | ({"corrected": self.corrected} if self.corrected else {})

    def correct_layers(self, rank: int, layers: int, sizes: dict[str, tuple[int, int]]) -> None:
        """Give it untrained corrections of so many layers."""
        self.corrected = {"rank": rank, "layers": layers, "sizes": {name: list(size) for name, size in sizes.items()}}
        self.corrections = corrections(self.corrected)

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
    hidden: int,
    *,
    readout: str,
    labels: int = 1,
    pooler: str | None = None,
    projected: bool = True,
    corrected: dict[str, Any] | None = None,
    **head: Any,
) -> nn.Module:
    """A readout by the name that checkpoints give it; `head` is more of `ClsReadout`.

    Raises:
        ValueError: an unknown name.
    """
    if readout == InteractionReadout.kind:
        return InteractionReadout(hidden)
    if readout == SplitReadout.kind:
        return SplitReadout(hidden, projected, corrected)
    if readout == ClsReadout.kind:
        return ClsReadout(hidden, labels, pooler, **head)
    if readout == MeanReadout.kind:
        return MeanReadout(hidden, labels, pooler)
    raise ValueError(f"unknown readout {readout!r}: this version knows 'interaction', 'split', 'cls' and 'mean'")
