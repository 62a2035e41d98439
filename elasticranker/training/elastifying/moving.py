"""How far a full model moved from the cross-encoder that it was, on the same candidates of the same queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from elasticranker.planning.plan import Floats
from elasticranker.training.tuning.tables import Table, ndcg

CUTOFF = 10
PERSISTENCE = 0.9  # of the reader whom rank-biased overlap imagines


def rbo(first: np.ndarray, second: np.ndarray, *, depth: int = CUTOFF, persistence: float = PERSISTENCE) -> float:
    """Rank-biased overlap of two rankings' first `depth` items (Webber et al. 2010), 1 for equal ones.

    The sum is over what was looked at alone, divided by what equal rankings would get.

    Example:
        >>> rbo(np.array([3, 1, 2]), np.array([3, 1, 2]))
        1.0
    """
    depth = min(depth, len(first), len(second))
    weights = persistence ** np.arange(depth)
    shared = [len(np.intersect1d(first[: end + 1], second[: end + 1])) / (end + 1) for end in range(depth)]
    return float((weights * shared).sum() / weights.sum()) if depth else 1.0


def moved(tables: Sequence[Table], originals: Sequence[Table]) -> dict[str, Any]:
    """How far the full model's rankings are from the original's.

    Args:
        tables: of the elastic checkpoint.
        originals: of the cross-encoder, with the same candidates.

    Returns:
        Means over queries: `tau` (Kendall's, b, over all candidates of a query that has two or more), `rbo` (of the
        first ten), `ndcg` and `ndcg_original` (nDCG@10 by the judgements, ideal rankings being those of the
        candidates); `largest` difference of a score, `queries` and the most `candidates` of one.
    """
    taus, overlaps, quality, before, largest = [], [], [], [], 0.0
    for table, original in zip(tables, originals, strict=True):
        now, then = table.scores[table.full], original.scores[original.full]
        order, ordered = _order(now), _order(then)
        if len(now) > 1:
            taus.append(1.0 if np.array_equal(now, then) else _tau(now, then))
        overlaps.append(rbo(order, ordered))
        quality.append(ndcg(table.labels, order))
        before.append(ndcg(table.labels, ordered))
        largest = max(largest, float(np.abs(now - then).max(initial=0.0)))
    means = {"tau": taus, "rbo": overlaps, "ndcg": quality, "ndcg_original": before}
    return {name: round(float(np.mean(values)), 6) if values else 1.0 for name, values in means.items()} | {
        "largest": largest,
        "queries": len(tables),
        "candidates": max(len(table.labels) for table in tables),
    }


def _tau(now: Floats, then: Floats) -> float:
    """Kendall's tau-b; 0 where one of the two gives all candidates the same score."""
    found = float(kendalltau(now, then).statistic)
    return found if np.isfinite(found) else 0.0


def _order(scores: Floats) -> np.ndarray:
    return np.argsort(-scores, kind="stable")
