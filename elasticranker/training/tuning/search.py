"""Tuning the ladder: which plans are worth their cost, found on tables instead of by running the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from elasticranker.planning.cost import CostModel
from elasticranker.planning.ladder import Ladder, Rung, untuned
from elasticranker.planning.plan import Plan, Stage, SubNet
from elasticranker.training.tuning.simple import simple_plans
from elasticranker.training.tuning.tables import Table

SHARES = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.35, 0.5, 0.7)
NARROW_BELOW = 0.2
ROUNDS = 5  # of variations of the best plan so far: one leaves the best of a few hundred random plans nearly as it is
PRIORS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)
Progress = Callable[[int], object]


@dataclass(frozen=True)
class SplitHalf:
    """What tuning on one half of the queries is worth on the other, an entry a share.

    Attributes:
        shares: of the full cost.
        full: quality of the full model.
        own: quality on the very queries that were tuned on (both halves, averaged): optimistic.
        other: quality on the queries that were not: what to expect.
    """

    shares: tuple[float, ...]
    full: float
    own: tuple[float, ...]
    other: tuple[float, ...]


def mean_quality(plan: Plan, tables: Sequence[Table], cost: CostModel, share: float) -> float:
    """Mean quality of a plan over queries, with a budget of `share` of each one's full cost."""
    if not tables:
        return float("nan")
    return float(np.mean([t.quality(t.replay(plan, cost, int(share * t.full_cost(cost))).order) for t in tables]))


def tune(
    tables: Sequence[Table],
    cost: CostModel,
    *,
    shares: Sequence[float] = SHARES,
    trials: int = 240,
    narrow_below: float = NARROW_BELOW,
    seed: int = 0,
    progress: Progress | None = None,
) -> Ladder:
    """Find the best plan for each share.

    Random plans and variations of the cheaper rung's best are tried on a sample of the queries; the best quarter of
    them is tried on four times as many, and so on (successive halving, Jamieson and Talwalkar 2016). Plans that need no
    tuning (`simple_plans`) are tried on all of them, so that no rung is worse than those on these queries. Then the
    best plan so far is varied, some rounds.

    Args:
        tables: of the validation queries.
        cost: prices.
        shares: of the full cost, rising.
        trials: plans tried a share.
        narrow_below: shares below this one may use narrower sub-networks. Their products are small and run at fewer
            FLOPs a second, so that a plan with them saves less time than FLOPs: worth it where every FLOP counts.
        seed: of the draws.
        progress: called after each share with the number of plans tried.

    Returns:
        A ladder of one rung a share; a share at which a cheaper rung's plan did better takes over that plan.
    """
    if len(tables) < 2:
        raise ValueError(f"{len(tables)} validation queries are too few to tune a ladder on: give at least 2")
    random = np.random.default_rng(seed)
    everything = sorted(tables[0].scores)
    full = tables[0].full
    rungs: list[Rung] = []
    found: list[Plan] = []
    for share in shares:
        subnets = [subnet for subnet in everything if subnet.width == 1 or share < narrow_below]
        known = [plan for plan in found if all(stage.subnet in subnets for stage in plan.stages)]
        simple = simple_plans(subnets, full)
        plans = list(dict.fromkeys([*known[-4:], untuned(subnets).plan(share)]))
        for plan in known[-2:]:
            plans += [vary(plan, subnets, random) for _ in range(trials // 6)]
        plans += [draw(subnets, random) for _ in range(max(0, trials - len(plans)))]
        best, quality = _halving(plans, tables, cost, share, random, simple)
        for _ in range(ROUNDS):
            refined = [vary(best, subnets, random) for _ in range(trials // 4)]
            best, quality = _halving(refined, tables, cost, share, random, [best])
        found.append(best)
        rungs.append(Rung(share, best, round(quality, 4)))
        if progress is not None:
            progress(trials + ROUNDS * (trials // 4))
    return Ladder(tuple(rungs), full)


def split_half(
    tables: Sequence[Table],
    cost: CostModel,
    *,
    shares: Sequence[float] = SHARES,
    trials: int = 240,
    seed: int = 0,
    progress: Progress | None = None,
) -> SplitHalf:
    """Tune on each half of the queries and measure on both, to see how much of a ladder's quality is luck."""
    order = np.random.default_rng(seed).permutation(len(tables))
    halves = [[tables[i] for i in order[0::2]], [tables[i] for i in order[1::2]]]
    own, other = np.zeros((2, len(shares))), np.zeros((2, len(shares)))
    for index, half in enumerate(halves):
        ladder = tune(half, cost, shares=shares, trials=trials, seed=seed + 1 + index, progress=progress)
        for column, rung in enumerate(ladder.rungs):
            own[index, column] = mean_quality(rung.plan, half, cost, rung.share)
            other[index, column] = mean_quality(rung.plan, halves[1 - index], cost, rung.share)
    full = Plan((Stage(tables[0].full, 1.0),))
    return SplitHalf(
        tuple(shares),
        mean_quality(full, tables, cost, 1.0),
        tuple(own.mean(0).round(4).tolist()),
        tuple(other.mean(0).round(4).tolist()),
    )


def draw(subnets: Sequence[SubNet], random: np.random.Generator) -> Plan:
    """A random plan: two to four sub-networks from cheap to dear, falling priors."""
    count = int(random.integers(2, 5))
    chosen = sorted({subnets[int(i)] for i in random.choice(len(subnets), min(count, len(subnets)), replace=False)})
    if random.random() < 0.6 and subnets[0].depth == 0:
        chosen = sorted({subnets[0], *chosen})
    return _plan(chosen, random.dirichlet(np.ones(len(chosen)) * 2), _priors(len(chosen), random))


def vary(plan: Plan, subnets: Sequence[SubNet], random: np.random.Generator) -> Plan:
    """A plan with one sub-network, its shares or its priors changed a little."""
    nets = [stage.subnet for stage in plan.stages]
    shares = np.asarray([stage.share for stage in plan.stages])
    priors = [stage.prior for stage in plan.stages]
    kind = random.random()
    if kind < 0.4:
        position = int(random.integers(len(nets)))
        near = [s for s in subnets if abs(s.depth - nets[position].depth) <= 2]
        nets[position] = near[int(random.integers(len(near)))]
    elif kind < 0.8:
        shares = shares * np.exp(random.normal(0, 0.5, len(shares)))
    else:
        priors = _priors(len(nets), random)
    order = sorted(range(len(nets)), key=lambda i: nets[i])
    kept = [i for place, i in enumerate(order) if place == 0 or nets[i] != nets[order[place - 1]]]
    shares = shares[kept]
    return _plan([nets[i] for i in kept], shares / shares.sum(), [priors[i] for i in kept])


def _plan(nets: Sequence[SubNet], shares: np.ndarray, priors: Sequence[float]) -> Plan:
    rounded = np.maximum(np.round(shares / shares.sum(), 3), 0.001)
    rounded[int(rounded.argmax())] += 1 - rounded.sum()
    return Plan(tuple(Stage(*parts) for parts in zip(nets, map(float, rounded), priors, strict=True)))


def _priors(count: int, random: np.random.Generator) -> list[float]:
    return sorted((float(p) for p in random.choice(PRIORS, count)), reverse=True)


def _halving(
    plans: Sequence[Plan],
    tables: Sequence[Table],
    cost: CostModel,
    share: float,
    random: np.random.Generator,
    always: Sequence[Plan],
) -> tuple[Plan, float]:
    """The best of some plans, and of those that are `always` tried on all queries, with its mean quality over them."""
    order = random.permutation(len(tables))
    size = max(8, len(tables) // 16)
    alive = list(plans)
    while True:
        if size >= len(tables):
            alive = list(dict.fromkeys([*alive, *always]))
        sample = [tables[i] for i in order[:size]]
        scored = sorted(((mean_quality(p, sample, cost, share), -i, p) for i, p in enumerate(alive)), reverse=True)
        if size >= len(tables):
            return scored[0][2], scored[0][0]
        alive = [plan for _, _, plan in scored[: max(4, len(scored) // 4)]]
        size = min(len(tables), size * 4)
