"""What a model costs on each input, asked before it runs, and what a mean budget leaves for Super."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyterrier as pt
from pyterrier.transformer import IdentityTransformer

from elasticranker.planning.budget import Budget

Cost: TypeAlias = float | Callable[[pd.DataFrame], pd.Series] | None


def query_costs(ranker: pt.Transformer, cost: Cost, candidates: pd.DataFrame, role: str) -> npt.NDArray[np.float64]:
    """FLOPs (or whatever unit `cost` is in) of a ranker for each query, in the order of the frame's queries.

    Args:
        ranker: The reranker.
        cost: A number per pair, a function from the frame to a Series by qid, or None to ask the ranker itself.
        candidates: The frame that the ranker would be given.
        role: "swift" or "super", for errors.

    Raises:
        ValueError: The ranker doesn't know its cost, or a query's cost is missing or negative.

    Example:
        >>> query_costs(monot5, 2.5e11, candidates, "super")   # 250 GFLOPs a pair
    """
    function = _own_cost(ranker, role) if cost is None else _per_pair(cost) if not callable(cost) else cost
    found = function(candidates)
    by_qid = dict(zip(found.index.tolist(), found.tolist(), strict=True))
    if len(by_qid) < len(found):
        raise ValueError(
            f"{role}_cost gives {len(found)} costs for {len(by_qid)} queries: give each query's once, by qid"
        )
    qids = list(dict.fromkeys(candidates["qid"].tolist()))
    costs = np.asarray([by_qid.get(qid, np.nan) for qid in qids], dtype=np.float64)
    if not (costs >= 0).all():
        wrong = int((~(costs >= 0)).argmax())
        raise ValueError(f"{role}_cost gives {costs[wrong]} for query {qids[wrong]!r}: a cost must be 0 or more")
    return costs


def checked_budget(budget: Budget | str | None) -> Budget | None:
    """A mean budget, read.

    Raises:
        ValueError: It is no budget, or one of time.
    """
    parsed = None if budget is None else Budget(budget)
    if parsed is not None and parsed.kind == "time":
        raise ValueError(f"a mean budget must be a share or FLOPs (25%, 20 GFLOPs), but is {str(parsed)!r}")
    return parsed


def allowance(budget: Budget, swift_costs: npt.NDArray[np.float64], super_costs: npt.NDArray[np.float64]) -> Fraction:
    """What Super may spend in all so that the mean cost of an input, Swift's included, is within the budget.

    Args:
        budget: A share of Super's own costs on all inputs, or FLOPs per input.
        swift_costs: Per input (for rankers: per query).
        super_costs: Per input, on the whole of it (for rankers: on the whole list).

    Raises:
        ValueError: Swift alone is dearer than the budget.
    """
    swift_total, super_total = (sum(map(Fraction, costs), Fraction()) for costs in (swift_costs, super_costs))
    value = Fraction(budget.value)
    total = value * super_total if budget.kind == "share" else value * len(swift_costs)
    if swift_total > total * Fraction(1 + 1e-9):  # two budgets of one size may differ by rounding
        raise ValueError(
            f"swift alone may cost {float(swift_total) / len(swift_costs):.4g} on average, but the mean budget {budget}"
            f" is {float(total) / len(swift_costs):.4g}: give a larger budget or a cheaper swift"
        )
    return max(total - swift_total, Fraction())


def _per_pair(cost: float) -> Callable[[pd.DataFrame], pd.Series]:
    def costs(candidates: pd.DataFrame) -> pd.Series:
        sizes = Counter(candidates["qid"].tolist())
        return pd.Series([cost * size for size in sizes.values()], index=pd.Index(list(sizes), tupleize_cols=False))

    return costs


def _own_cost(ranker: pt.Transformer, role: str) -> Callable[[pd.DataFrame], pd.Series]:
    """The most that an `ElasticRanker` may spend under its own budget; nothing for identity."""
    if isinstance(ranker, IdentityTransformer):
        return _per_pair(0.0)
    full_cost, budget = getattr(ranker, "full_cost", None), getattr(ranker, "budget", None)
    if full_cost is None or not isinstance(budget, Budget):
        raise ValueError(
            f"a mean budget needs to know what {role} costs, and {ranker!r} doesn't say: give {role}_cost, as FLOPs "
            "per pair or as a function from a frame to a Series of FLOPs by qid"
        )
    if budget.kind == "share":
        return lambda candidates: full_cost(candidates) * budget.value
    if budget.kind == "flops":
        return lambda candidates: full_cost(candidates).clip(upper=budget.value)
    return full_cost  # a time has no bound in FLOPs below the full model's
