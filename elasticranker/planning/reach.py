"""How far a plan gets on a typical list: what its shares of a budget come to in candidates."""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from elasticranker.planning.cost import CostModel
from elasticranker.planning.plan import Candidates, Integers, Plan, walk
from elasticranker.planning.subnet import SubNet
from elasticranker.planning.words import reached_in_words

CANDIDATES, TOKENS, SLOTS = 100, 128, 16
TYPICAL = f"of {CANDIDATES} candidates of {TOKENS} tokens each"


def reach_in_words(plan: Plan, cost: CostModel, share: float) -> str:
    """What a plan does with a share of the full cost, on a `TYPICAL` list.

    It walks the plan itself, with scores that keep the incoming order, so that what rolls over counts too.

    Args:
        plan: the plan.
        cost: prices.
        share: of the whole model's cost on that list.

    Example:
        >>> reach_in_words(ladder.plan(0.25), checkpoint.cost, 0.25)  # doctest: +SKIP
        'all candidates by the embeddings alone, the best third by 3 layers, ...'
    """
    full = SubNet(cost.layers)
    candidates = Candidates(_all(TOKENS), SLOTS, short={cut: _all(min(TOKENS, SLOTS + cut)) for cut in plan.cuts})
    walking = walk(plan, full, candidates, cost, int(share * candidates.whole(cost, full)))
    scored: dict[SubNet, int] = defaultdict(int)
    try:
        work = next(walking)
        while True:
            scored[work.subnet] += len(work.candidates)
            work = walking.send(-work.candidates.astype(float))
    except StopIteration:
        order = [stage.subnet for stage in plan.stages] + [full]
        counts = [(subnet, scored[subnet]) for subnet in dict.fromkeys(order) if scored[subnet]]
        return reached_in_words(counts, CANDIDATES, cost.layers)


def _all(tokens: int) -> Integers:
    return np.full(CANDIDATES, tokens, dtype=np.int64)
