"""How a query's budget is spread over its candidates and over sub-networks.

A plan is a list of stages. Each scores, best first, as many of the previous stage's candidates as its share of the
budget affords; what it leaves rolls over to the next. Nothing is searched at query time, and nothing is scored before
it is paid for, so a query never costs more than its budget, whatever the number and the lengths of its candidates.

Pure Python and numpy: with `cost.py` this is all there is to read to check that promise. Scores come from outside
(`walk` is a generator that asks for them), so the same code plans for the real model, for tables and for tests.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from elasticranker.planning.calibration import Calibration, Floats
from elasticranker.planning.cost import CostModel
from elasticranker.planning.subnet import SubNet
from elasticranker.planning.words import in_words, percent

Integers = NDArray[np.int64]
RAW = Calibration()


@dataclass(frozen=True)
class Stage:
    """A sub-network, the share of the budget that it may spend, and the weight of the incoming score beside its own."""

    subnet: SubNet
    share: float
    prior: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1 or not 0 <= self.prior < math.inf:
            raise ValueError(f"{self}: share must be from 0 to 1, prior 0 or more")


@dataclass(frozen=True)
class Plan:
    """Stages whose shares add up to 1.

    Example:
        >>> plan = Plan((Stage(SubNet(0), 0.1, prior=0.5), Stage(SubNet(2), 0.4), Stage(SubNet(12), 0.5)))
        >>> str(plan)
        '0:10%+0.5 > 2:40% > 12:50%'
    """

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages or abs(sum(stage.share for stage in self.stages) - 1) > 1e-6:
            raise ValueError(f"the shares of a plan's stages must add up to 1: {self.stages}")

    @property
    def cuts(self) -> tuple[int, ...]:
        """To how many tokens its stages cut documents, ascending; empty where all read them whole."""
        return tuple(sorted({stage.subnet.tokens for stage in self.stages if stage.subnet.tokens is not None}))

    def __str__(self) -> str:
        return " > ".join(
            f"{stage.subnet}:{stage.share:.0%}" + (f"+{stage.prior:.2g}" if stage.prior else "")
            for stage in self.stages
        )

    def _repr_html_(self) -> str:
        from elasticranker.display.html import table

        rows = [["stage", "scores by", "may spend of the budget", "weight of the incoming score"]]
        for number, stage in enumerate(self.stages, start=1):
            prior = f"{stage.prior:.2g}" if stage.prior else "none"
            rows.append([str(number), in_words(stage.subnet), percent(stage.share), prior])
        return table(rows)


class Work(NamedTuple):
    """Candidates to score with one sub-network; `keep` says that their hidden states may be used again."""

    candidates: Integers
    subnet: SubNet
    keep: bool


@dataclass(frozen=True)
class Candidates:
    """What a plan needs to know of a query's candidates, in incoming order.

    Prices are computed once: use it with one cost model.

    Attributes:
        tokens: `[n]` bucketed token counts.
        slots: leading positions that hold the query, bucketed: `[n]`, or one number for all.
        prior: `[n]` incoming scores, or None where the frame has none that can be used.
        texts: `[n]` numbers of their query texts, from 0; None where all have the same one.
        short: the same as `tokens`, `[n]`, where documents are cut to so many tokens; for every cut of the plan.
    """

    tokens: Integers
    slots: Integers | int
    prior: Floats | None = None
    texts: Integers | None = None
    short: Mapping[int, Integers] = field(default_factory=dict)
    _known: dict[tuple[SubNet, int | None], Integers] = field(default_factory=dict, repr=False, compare=False)

    def costs(self, cost: CostModel, subnet: SubNet, since: SubNet | None = None) -> Integers:
        """`[n]` FLOPs of each candidate through a sub-network, going on from `since` where it can.

        Without what its query's text is paid once for all candidates, see `once`.
        """
        start = since.depth if since is not None and subnet.continues(since) else None
        if (subnet, start) not in self._known:
            read = self.tokens if subnet.tokens is None else self.short[subnet.tokens]
            sizes = np.stack([read, np.broadcast_to(self.slots, read.shape)], 1)
            kinds, place = np.unique(sizes, axis=0, return_inverse=True)
            prices = [cost.pair(tokens, slots, subnet.depth, subnet.width, start) for tokens, slots in kinds.tolist()]
            self._known[subnet, start] = np.asarray(prices, dtype=np.int64)[place.reshape(-1)]
        return self._known[subnet, start]

    def text(self, candidate: int) -> int:
        """The number of a candidate's query text."""
        return 0 if self.texts is None else int(self.texts[candidate])

    def once(self, cost: CostModel, subnet: SubNet, candidate: int, read: Iterable[SubNet] = ()) -> int:
        """FLOPs of a candidate's query text alone, before its first candidate goes through a sub-network.

        Args:
            cost: prices.
            subnet: the sub-network.
            candidate: any with that text.
            read: sub-networks that the text has gone through before.
        """
        target = SubNet(min(subnet.depth, cost.apart), subnet.width)
        depths = [before.depth for before in read if target.continues(before)]
        slots = self.slots if isinstance(self.slots, int) else int(self.slots[candidate])
        return cost.query(slots, target.depth, target.width, max(depths, default=None))

    def whole(self, cost: CostModel, full: SubNet) -> int:
        """FLOPs of the whole model over all candidates."""
        firsts = self.firsts(np.arange(len(self.tokens)))
        return int(self.costs(cost, full).sum()) + sum(self.once(cost, full, first) for first in firsts)

    def firsts(self, queue: Integers) -> Sequence[int]:
        """Places, in a queue of candidates, of the first one of each query text."""
        if self.texts is None:
            return range(min(1, len(queue)))
        return [int(place) for place in np.unique(self.texts[queue], return_index=True)[1]]


@dataclass(frozen=True)
class Ranking:
    """What became of a query's candidates.

    Attributes:
        order: `[n]` candidates from best to worst.
        scores: `[n]` strictly falling scores, in that order, on the scale of the whole model's logits (`Calibration`);
            distinct in single precision too.
        subnets: `[n]` by candidate (incoming order): the last sub-network that scored it, or None.
        spend: `[n]` by candidate: FLOPs executed.
        complete: False where a deadline ended the plan early.
    """

    order: Integers
    scores: Floats
    subnets: list[SubNet | None]
    spend: Integers
    complete: bool


def walk(
    plan: Plan,
    full: SubNet,
    candidates: Candidates,
    cost: CostModel,
    budget: int,
    calibration: Calibration = RAW,
) -> Generator[Work, Floats, Ranking]:
    """Spend `budget` FLOPs on a query's candidates.

    A generator: it yields the `Work` to do and is sent its scores (NaN for a candidate that wasn't scored because time
    ran out, which ends the plan). What the last stage cannot use goes to the full model for the best and to the earlier
    stages' left-behind candidates, in order; then, from the first stage up, to any whom what is left pays for, so that
    nearly all of a budget is used. Out of turn only those go further whom the stage before puts near its best: whoever
    reaches a later stage ranks above all others, and that should not be the shortest instead of the best. To the full
    model, where the plan doesn't have it, nobody goes out of turn at all.

    Args:
        plan: the stages.
        full: the whole model.
        candidates: the query's candidates.
        cost: prices.
        budget: FLOPs that must not be exceeded.
        calibration: what the sub-networks' scores mean; it changes scores, never the order or the spend.

    Returns:
        The `Ranking` (as the value of `StopIteration`).
    """
    stages = [*plan.stages]
    if stages[-1].subnet != full:
        stages.append(Stage(full, 0.0))
    state = _State(stages, candidates, cost, calibration)
    allowance = 0.0
    for index, stage in enumerate(plan.stages):
        allowance += stage.share * budget
        limit = budget if index + 1 == len(plan.stages) else min(budget, int(allowance))
        yield from state.advance(index, limit - state.spent)
    for index in reversed(range(len(stages))):
        yield from state.advance(index, budget - state.spent)
    for index in range(len(plan.stages)):
        yield from state.advance(index, budget - state.spent, any_that_fits=True)
    return state.ranking()


class _State:
    """Where each candidate of one query stands. Stages count from 0; -1 is 'not scored yet'."""

    def __init__(self, stages: list[Stage], candidates: Candidates, cost: CostModel, calibration: Calibration) -> None:
        self.stages, self.candidates, self.cost, self.calibration = stages, candidates, cost, calibration
        count = len(candidates.tokens)
        self.reached = np.full(count, -1)
        self.own = np.full((len(stages), count), np.nan)  # each stage's scores
        self.values = self.own.copy()  # what it ranks by
        self.spend = np.zeros(count, dtype=np.int64)
        self.spent = 0
        self.read: dict[int, list[SubNet]] = {}  # query text to the sub-networks that it went through alone
        self.stopped = False
        self.prior = _standardised(candidates.prior) if candidates.prior is not None else None

    def advance(self, index: int, allowance: int, *, any_that_fits: bool = False) -> Generator[Work, Floats, None]:
        """Score with stage `index` as many of the candidates of the stage before as `allowance` affords, best first.

        Candidates of the nearest earlier stage that holds any; with `any_that_fits`, those that don't fit are skipped
        instead of ending the walk, as long as the next ones are nearer to the best than to the middle of them.
        """
        if self.stopped or allowance <= 0:
            return
        earlier = self.reached[self.reached < index]
        if not len(earlier):
            return
        origin = int(earlier.max())
        subnet = self.stages[index].subnet
        prices = self.candidates.costs(self.cost, subnet, self._subnet(origin))
        if prices[self.reached == origin].min() > allowance:
            return
        queue = self._best_first(origin)
        if any_that_fits:
            chosen = self._fitting(subnet, queue[: self._near(origin, queue)], prices, allowance)
        else:
            dues = np.cumsum(prices[queue] + self._dues(subnet, queue))
            chosen = queue[: np.searchsorted(dues, allowance, side="right")]
        if not len(chosen):
            return
        keep = any(later.subnet.continues(subnet) for later in self.stages[index + 1 :])
        scores = yield Work(chosen, subnet, keep)
        done = ~np.isnan(scores)
        self.stopped = not done.all()
        chosen = chosen[done]
        paid = prices[chosen] + self._dues(subnet, chosen)
        for place in self.candidates.firsts(chosen):
            text = self.candidates.text(int(chosen[place]))
            self.read.setdefault(text, []).append(SubNet(min(subnet.depth, self.cost.apart), subnet.width))
        self.own[index, chosen] = scores[done]
        self.values[index] = self._values(index)
        self.reached[chosen] = index
        self.spend[chosen] += paid
        self.spent += int(paid.sum())

    def _dues(self, subnet: SubNet, queue: Integers) -> Integers:
        """`[m]` what the first candidate of each query text in a queue pays for the text, 0 for the others."""
        dues = np.zeros(len(queue), dtype=np.int64)
        if self.cost.apart:
            for first in self.candidates.firsts(queue):
                dues[first] = self._due(subnet, int(queue[first]))
        return dues

    def _due(self, subnet: SubNet, candidate: int) -> int:
        read = self.read.get(self.candidates.text(candidate), ())
        return self.candidates.once(self.cost, subnet, candidate, read)

    def _fitting(self, subnet: SubNet, queue: Integers, prices: Integers, allowance: int) -> Integers:
        """Candidates taken greedily, in order, as long as they fit what is left."""
        taken: list[int] = []
        read: set[int] = set()
        for candidate in queue.tolist():
            text = self.candidates.text(candidate)
            price = int(prices[candidate]) + (0 if text in read else self._due(subnet, candidate))
            if price <= allowance:
                taken.append(candidate)
                read.add(text)
                allowance -= price
        return np.asarray(taken, dtype=np.int64)

    def _subnet(self, index: int) -> SubNet | None:
        return self.stages[index].subnet if index >= 0 else None

    def _values(self, index: int) -> Floats:
        """`[n]` what stage `index` ranks by: its scores, plus its prior weight times the incoming ones."""
        values: Floats = self.own[index]
        weight = self.stages[index].prior
        if weight and self.prior is not None:
            scored = values[~np.isnan(values)]
            values = values + weight * (float(scored.std()) if len(scored) > 1 else 1.0) * self.prior
        return values

    def _best_first(self, index: int) -> Integers:
        """Candidates that reached stage `index` and no further, best first; ties in incoming order."""
        members = np.flatnonzero(self.reached == index)
        if index < 0:
            return members
        return members[np.argsort(-self.values[index, members], kind="stable")]

    def _near(self, index: int, queue: Integers) -> int:
        """How many of stage `index`'s candidates, best first, are nearer to the best than to the middle of them.

        All, where they have no scores.
        """
        if index < 0 or not len(queue):
            return len(queue)
        values = self.values[index, queue]
        return int((values >= (values[0] + np.median(values)) / 2).sum())

    def ranking(self) -> Ranking:
        """Later stages above earlier ones, candidates that no stage could afford at the end in incoming order.

        A candidate's score is what the last sub-network that scored it said, calibrated, unless one that ranks above it
        has less: no score is ever raised.
        """
        order: list[Integers] = []
        scores: list[Floats] = []
        for index in reversed(range(len(self.stages))):
            members = self._best_first(index)
            order.append(members)
            scores.append(self.calibration.scores(self.stages[index].subnet, self.own[index, members]))
        rest = self._best_first(-1)
        order.append(rest)
        scores.append(self.calibration.unread_scores(len(rest)))
        subnets = [self._subnet(int(index)) for index in self.reached]
        falling = strictly_falling(np.concatenate(scores))
        return Ranking(np.concatenate(order), falling, subnets, self.spend, not self.stopped)


def strictly_falling(scores: Floats) -> Floats:
    """Scores in the order of a ranking, each lowered to just below the one before it where it isn't lower already.

    "Just" is the least that single precision can tell apart, and all else is kept. Evaluators read scores in single
    precision and break ties in opposite ways, so no two may be equal there.
    """
    single = scores.astype(np.float32)
    for index in range(1, len(single)):
        if single[index] >= single[index - 1]:
            single[index] = np.nextafter(single[index - 1], np.float32(-np.inf))
    return single.astype(np.float64)


def _standardised(values: Floats) -> Floats | None:
    """Zero mean and unit deviation; None where the values say nothing (not finite, or all equal)."""
    values = np.asarray(values, dtype=np.float64)
    if not len(values) or not np.isfinite(values).all():
        return None
    deviation = float(values.std())
    return (values - values.mean()) / deviation if deviation > 1e-12 * (1 + abs(float(values.mean()))) else None


def even(subnets: Sequence[SubNet], prior: float = 0.0) -> Plan:
    """A plan that gives every sub-network an equal share (the last one no prior): a start where nothing was tuned."""
    last = len(subnets) - 1
    return Plan(tuple(Stage(s, 1 / len(subnets), prior if i < last else 0.0) for i, s in enumerate(subnets)))
