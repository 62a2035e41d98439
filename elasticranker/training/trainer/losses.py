"""What a sub-network is taught with. Every function takes scores `[G, C]` of `G` queries' `C` candidates and a mask.

`mask` `[G, C]` is True where there is a candidate. Every function gives a loss a query, `[G]`: 0 for one that it has
nothing to say about (no judged positive, one candidate), which doesn't count in the mean either (`Targets`). Choose
`kl` where a teacher scored the candidates, `lce` where people judged them, both (the default) where both did.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

ABSENT = -1e4  # stands for minus infinity in a masked logit: finite, so that 0 * it is 0


def target_distribution(teacher: Tensor, labels: Tensor, mask: Tensor, temperature: float, bonus: float) -> Tensor:
    """The distribution `[G, C]` over a query's candidates that is taught: `softmax((teacher + bonus * positive) / t)`.

    Args:
        teacher: `[G, C]` the teacher's scores.
        labels: `[G, C]` 1 positive, 0 negative, -1 not judged.
        mask: `[G, C]` where there is a candidate.
        temperature: what a unit of probability is worth in the teacher's scores (0.02 for E5's cosines).
        bonus: what a judged positive is worth beyond the teacher's score, in the teacher's units.
    """
    logits = (teacher + bonus * (labels == 1)) / temperature
    return torch.softmax(logits.masked_fill(~mask, ABSENT), -1)


def listwise_kl(scores: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """`KL(target || softmax(scores))` over each list (ListNet, Cao et al. 2007, with a soft target)."""
    log_scores = torch.log_softmax(scores.masked_fill(~mask, ABSENT), -1)
    return (target * (target.clamp_min(1e-9).log() - log_scores)).masked_fill(~mask, 0.0).sum(-1)


def lce(scores: Tensor, labels: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Localised contrastive estimation: cross-entropy of one positive against its negatives (Gao et al. 2021).

    Negatives that the teacher scores above the positive are left out: they are likely positives that nobody judged.
    """
    positive = (labels == 1) & mask
    best = torch.where(positive, teacher, torch.full_like(teacher, ABSENT))
    first = best.argmax(-1, keepdim=True)
    rival = mask & ~positive & (teacher <= best.gather(1, first)) & (labels == 0)
    keep = rival.scatter(1, first, True)
    losses = -torch.log_softmax(scores.masked_fill(~keep, ABSENT), -1).gather(1, first)[:, 0]
    return losses.masked_fill(~positive.any(-1), 0.0)


def margin_mse(scores: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Squared error of the score differences of all pairs of a list (Margin-MSE, Hofstaetter et al. 2020).

    `target` `[G, C]` are the teacher's scores, already in the model's units.
    """
    difference = (scores - target).masked_fill(~mask, 0.0)
    count = mask.sum(-1).clamp_min(1)
    mean = difference.sum(-1, keepdim=True) / count[:, None]
    variance = ((difference - mean) ** 2).masked_fill(~mask, 0.0).sum(-1) / count
    return 2 * variance  # mean over pairs of (d_i - d_j)^2 = 2 var(d)


def ranknet(scores: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Logistic loss over the pairs that the teacher orders (RankNet, Burges et al. 2005)."""
    ordered = _ordered(target, mask)
    losses = F.softplus(-(scores[:, :, None] - scores[:, None, :])).masked_fill(~ordered, 0.0)
    return losses.sum((1, 2)) / ordered.sum((1, 2)).clamp_min(1)


def bce(scores: Tensor, labels: Tensor, mask: Tensor) -> Tensor:
    """Binary cross-entropy of every judged pair (the pointwise loss of monoBERT, Nogueira and Cho 2019)."""
    judged = mask & (labels >= 0)
    losses = F.binary_cross_entropy_with_logits(scores, (labels == 1).float(), reduction="none")
    return losses.masked_fill(~judged, 0.0).sum(-1) / judged.sum(-1).clamp_min(1)


def _ordered(target: Tensor, mask: Tensor) -> Tensor:
    """`[G, C, C]` does the teacher put the one above the other?"""
    return (target[:, :, None] > target[:, None, :]) & mask[:, :, None] & mask[:, None, :]


class Targets:
    """What a step's candidates are taught, and the weighted sum of the losses against it.

    Args:
        teacher: `[G, C]` the teacher's scores.
        labels: `[G, C]` 1 positive, 0 negative, -1 not judged.
        mask: `[G, C]` where there is a candidate.
        weights: loss name (`elasticranker.training.settings.LOSSES`) to weight.
        temperature: see `target_distribution`; the teacher's scores over it are logits.
        bonus: see `target_distribution`.
        processes: how many share the step's queries. Their gradients will be averaged, so each loss is divided by the
            mean of the processes' counts: then the average is the gradient of the mean over all queries.
    """

    def __init__(
        self,
        teacher: Tensor,
        labels: Tensor,
        mask: Tensor,
        *,
        weights: dict[str, float],
        temperature: float,
        bonus: float,
        processes: int = 1,
    ) -> None:
        self.mask = mask
        distribution = target_distribution(teacher, labels, mask, temperature, bonus)
        logits = teacher / temperature
        losses: dict[str, Callable[[Tensor], Tensor]] = {
            "kl": lambda scores: listwise_kl(scores, distribution, mask),
            "lce": lambda scores: lce(scores, labels, teacher, mask),
            "margin_mse": lambda scores: margin_mse(scores, logits, mask),
            "ranknet": lambda scores: ranknet(scores, logits, mask),
            "bce": lambda scores: bce(scores, labels, mask),
        }
        concerned: dict[str, Callable[[], Tensor]] = {  # `[G]` the queries that count in the mean of a loss
            "kl": lambda: mask.any(-1),
            "lce": lambda: ((labels == 1) & mask).any(-1),
            "margin_mse": lambda: mask.sum(-1) > 1,
            "ranknet": lambda: _ordered(logits, mask).any(-1).any(-1),
            "bce": lambda: (mask & (labels >= 0)).any(-1),
        }
        names = [name for name, weight in weights.items() if weight]
        counts = _counts(torch.stack([concerned[name]().sum() for name in (*names, "kl")]), processes)
        self.terms = [(weights[name], losses[name], count) for name, count in zip(names, counts[:-1], strict=True)]
        self.queries = counts[-1]

    def loss(self, scores: Tensor) -> Tensor:
        """The weighted sum for scores `[G, C]`."""
        return torch.stack([weight * (loss(scores).sum() / count) for weight, loss, count in self.terms]).sum()

    def imitate(self, scores: Tensor, full: Tensor) -> Tensor:
        """Self-distillation: `KL` to the full model's own (detached) distribution over the list."""
        target = torch.softmax(full.detach().masked_fill(~self.mask, ABSENT), -1)
        return listwise_kl(scores, target, self.mask).sum() / self.queries


def _counts(own: Tensor, processes: int) -> Tensor:
    """How many queries each mean is over: this process's own, or the mean of all processes'."""
    if processes == 1:
        return own.clamp_min(1)
    total = own.float()
    torch.distributed.all_reduce(total)
    return total.clamp_min(1) / processes
