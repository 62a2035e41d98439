"""Plans that nobody needs to tune: what a tuned one must never be worse than, on the queries that it was tuned on."""

from __future__ import annotations

from collections.abc import Sequence

from elasticranker.planning.plan import Plan, Stage, SubNet

PRIORS = (0.0, 0.2, 0.5, 1.0, 2.0)  # of the filter, beside its own scores
KEEP = 1e6  # a weight of the incoming score that outweighs any other: its order stays
FILTER_SHARE = 0.1  # more than depth 0 costs for all; what it leaves rolls over


def simple_plans(subnets: Sequence[SubNet], full: SubNet) -> list[Plan]:
    """Fixed top-k, a filter by embedding-layer states before the whole model, one depth for all, and the order kept.

    The first is what everyone does: the whole model on as many candidates as the budget affords. The second is
    Similarity-based Early Exit (Busolin et al. 2025) with several weights of the incoming score. The last holds a small
    budget to the quality of a first stage that no small sub-network improves.

    Example:
        >>> [str(plan) for plan in simple_plans([SubNet(3), SubNet(12)], SubNet(12))]
        ['12:100%', '3:100%', '3:100%+1e+06']
    """
    plans = [Plan((Stage(full, 1.0),))]
    if SubNet(0) in subnets:
        plans += [Plan((Stage(SubNet(0), FILTER_SHARE, prior), Stage(full, 1 - FILTER_SHARE))) for prior in PRIORS]
    plans += [Plan((Stage(subnet, 1.0),)) for subnet in subnets if subnet != full]
    if below := [subnet for subnet in subnets if subnet != full]:
        plans.append(Plan((Stage(min(below), 1.0, KEEP),)))
    return plans
