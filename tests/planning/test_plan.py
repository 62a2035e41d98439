"""The promise about budgets, without a model: random lengths, candidates, plans and scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from elasticranker.planning.calibration import Calibration, Line
from elasticranker.planning.cost import CostModel
from elasticranker.planning.ladder import Ladder, Rung, untuned
from elasticranker.planning.plan import Candidates, Plan, Ranking, Stage, SubNet, strictly_falling, walk

LAYERS = 12
FULL = SubNet(LAYERS)
COST = CostModel(LAYERS, 384, 12, 32, 1536, 384, dict.fromkeys(range(LAYERS + 1), "interaction"))


def carry_out(plan: Plan, candidates: Candidates, budget: int, seed: int = 0) -> tuple[Ranking, int, list]:
    """Walk a plan with made-up scores, paying for what is asked at the price of the layers that must run."""
    random = np.random.default_rng(seed)
    walking = walk(plan, FULL, candidates, COST, budget)
    at: dict[int, SubNet] = {}
    paid = 0
    asked = []
    try:
        work = next(walking)
        while True:
            for candidate in work.candidates.tolist():
                before = at.get(candidate)
                reused = before.depth if before is not None and work.subnet.continues(before) else None
                cut = work.subnet.tokens
                tokens = int((candidates.tokens if cut is None else candidates.short[cut])[candidate])
                paid += COST.pair(tokens, candidates.slots, work.subnet.depth, work.subnet.width, reused)
                at[candidate] = work.subnet
            asked.append(work)
            work = walking.send(random.normal(size=len(work.candidates)))
    except StopIteration as stop:
        return stop.value, paid, asked


def score_of(candidate: int, subnet: SubNet, seed: int = 0) -> float:
    """A score that depends on the candidate and the sub-network alone, as a model's does."""
    return float(np.random.default_rng([seed, candidate, subnet.depth, int(100 * subnet.width)]).normal(5, 3))


def calibrated(plan: Plan, candidates: Candidates, budget: int, calibration: Calibration, seed: int = 0) -> Ranking:
    """Walk a plan with the scores of `score_of`."""
    walking = walk(plan, FULL, candidates, COST, budget, calibration)
    try:
        work = next(walking)
        while True:
            work = walking.send(np.asarray([score_of(int(c), work.subnet, seed) for c in work.candidates]))
    except StopIteration as stop:
        ranking: Ranking = stop.value
        return ranking


def full_cost(candidates: Candidates) -> int:
    return int(candidates.costs(COST, FULL).sum())


CUTS = (8, 24)
subnets = st.builds(
    SubNet, st.integers(0, LAYERS), st.sampled_from([1.0, 0.75, 0.5, 0.25]), st.sampled_from([None, None, *CUTS])
)


def with_cuts(candidates: Candidates) -> Candidates:
    """Candidates whose documents may be cut: to the bucket that query and cut document fill at most."""
    return replace(candidates, short={cut: np.minimum(candidates.tokens, candidates.slots + cut) for cut in CUTS})


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    nets = draw(st.lists(subnets, min_size=1, max_size=4))
    weights = [draw(st.floats(0.05, 1)) for _ in nets]
    priors = [draw(st.sampled_from([0.0, 0.3, 2.0])) for _ in nets]
    total = sum(weights)
    return Plan(tuple(Stage(n, w / total, p) for n, w, p in zip(nets, weights, priors, strict=True)))


@st.composite
def lists(draw: st.DrawFn, least: int = 1, most: int = 60) -> Candidates:
    count = draw(st.integers(least, most))
    tokens = draw(st.lists(st.integers(1, 64), min_size=count, max_size=count))
    prior = draw(st.sampled_from(["none", "falling", "equal", "nan"]))
    values = {
        "none": None,
        "falling": -np.arange(count, dtype=float),
        "equal": np.ones(count),
        "nan": np.full(count, np.nan),
    }
    return with_cuts(Candidates(np.asarray(tokens) * 8, draw(st.sampled_from([8, 16])), values[prior]))


@settings(max_examples=300, deadline=None)
@given(plans(), lists(), st.floats(1e-4, 1.0))
def test_no_query_ever_costs_more_than_its_budget(plan: Plan, candidates: Candidates, share: float) -> None:
    budget = int(share * full_cost(candidates))
    ranking, paid, _ = carry_out(plan, candidates, budget)
    assert paid <= budget
    assert ranking.spend.sum() == paid


@settings(max_examples=200, deadline=None)
@given(plans(), lists(), st.floats(1e-4, 1.0))
def test_every_candidate_comes_back_once_with_its_own_score(plan: Plan, candidates: Candidates, share: float) -> None:
    ranking, _, _ = carry_out(plan, candidates, int(share * full_cost(candidates)))
    assert sorted(ranking.order.tolist()) == list(range(len(candidates.tokens)))
    single = ranking.scores.astype(np.float32)
    assert (np.diff(single) < 0).all()


ALL = [SubNet(depth, width) for depth in range(LAYERS + 1) for width in (1.0, 0.75, 0.5, 0.25)]


@st.composite
def calibrations(draw: st.DrawFn) -> Calibration:
    random = np.random.default_rng(draw(st.integers(0, 99)))
    lines = {subnet: Line(float(random.uniform(0.1, 3)), float(random.normal(-5, 3))) for subnet in ALL}
    return Calibration(lines, draw(st.floats(-6, 0)))


@settings(max_examples=200, deadline=None)
@given(plans(), lists(), st.floats(1e-4, 1.0), calibrations())
def test_a_score_is_what_its_exit_says_unless_a_lower_one_ranks_above_it(
    plan: Plan, candidates: Candidates, share: float, calibration: Calibration
) -> None:
    ranking = calibrated(plan, candidates, int(share * full_cost(candidates)), calibration)
    assert (np.diff(ranking.scores.astype(np.float32)) < 0).all()
    above = np.float32(np.inf)
    for candidate, score in zip(ranking.order.tolist(), ranking.scores.astype(np.float32), strict=True):
        subnet = ranking.subnets[candidate]
        own = (
            calibration.unread_scores(1)
            if subnet is None
            else calibration.scores(subnet, np.asarray([score_of(candidate, subnet)]))
        )
        assert score == min(np.float32(own[0]), np.nextafter(above, np.float32(-np.inf)))
        above = score


@settings(max_examples=200, deadline=None)
@given(plans(), lists(), st.floats(1e-4, 1.0), calibrations())
def test_a_calibration_changes_neither_order_nor_spend(
    plan: Plan, candidates: Candidates, share: float, calibration: Calibration
) -> None:
    budget = int(share * full_cost(candidates))
    ranking = calibrated(plan, candidates, budget, calibration)
    plain = calibrated(plan, candidates, budget, Calibration())
    assert ranking.order.tolist() == plain.order.tolist()
    assert ranking.spend.tolist() == plain.spend.tolist()


@settings(max_examples=200, deadline=None)
@given(plans(), lists(), st.floats(1e-4, 1.0), st.floats(1.0, 5.0))
def test_a_larger_budget_never_scores_fewer_candidates_at_the_first_stage(
    plan: Plan, candidates: Candidates, share: float, factor: float
) -> None:
    first = plan.stages[0]
    budget = int(share * full_cost(candidates))
    prices = np.cumsum(candidates.costs(COST, first.subnet))
    scored = []
    for larger in (budget, int(budget * factor)):
        affordable = int((prices <= int(first.share * larger)).sum()) if len(plan.stages) > 1 else None
        asked = carry_out(plan, candidates, larger)[2]
        if affordable:
            assert asked[0].subnet == first.subnet
            assert asked[0].candidates.tolist() == list(range(affordable))
        scored.append(affordable or 0)
    assert scored[0] <= scored[1]


@pytest.mark.parametrize("share", [0.5, 0.25, 0.1, 0.05, 0.02, 0.01])
@pytest.mark.parametrize("candidates", [100, 1000])
def test_a_tuned_kind_of_plan_uses_nearly_all_of_a_budget(share: float, candidates: int) -> None:
    plan = Plan(
        (Stage(SubNet(0), 0.05, 0.5), Stage(SubNet(2), 0.5, 0.2), Stage(SubNet(5), 0.2), Stage(SubNet(10), 0.25))
    )
    used = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        made = Candidates(random.integers(5, 24, candidates) * 8, 16, -np.arange(candidates, dtype=float))
        budget = int(share * full_cost(made))
        used.append(carry_out(plan, made, budget, seed)[1] / budget)
    assert np.mean(used) >= 0.95


@pytest.mark.parametrize("share", [0.5, 0.25, 0.1, 0.05])
def test_a_model_of_full_depth_only_uses_at_least_nine_tenths(share: float) -> None:
    cost = CostModel(6, 384, 12, 32, 1536, 384, {0: "interaction", 6: "cls/1+pooler"})
    plan = untuned([SubNet(0), SubNet(6)]).plan(share)
    used = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        made = Candidates(random.integers(5, 24, 100) * 8, 16, -np.arange(100, dtype=float))
        budget = int(share * made.costs(cost, SubNet(6)).sum())
        walking = walk(plan, SubNet(6), made, cost, budget)
        try:
            work = next(walking)
            while True:
                work = walking.send(random.normal(size=len(work.candidates)))
        except StopIteration as stop:
            used.append(stop.value.spend.sum() / budget)
    assert np.mean(used) >= 0.9


def test_later_stages_rank_above_earlier_ones_and_the_rest_keeps_its_order() -> None:
    made = Candidates(np.full(20, 64), 8, None)
    plan = Plan((Stage(SubNet(2), 0.6), Stage(SubNet(12), 0.4)))
    ranking, _, _ = carry_out(plan, made, int(0.1 * full_cost(made)))
    depths = [-1 if ranking.subnets[i] is None else ranking.subnets[i].depth for i in ranking.order]
    assert depths == sorted(depths, reverse=True)
    unscored = [int(i) for i in ranking.order if ranking.subnets[i] is None]
    assert unscored and unscored == sorted(unscored)


@settings(max_examples=200, deadline=None)
@given(plans(), lists(), st.floats(0.01, 0.999), st.integers(0, 9))
def test_only_the_best_of_a_stage_reach_a_later_one_or_who_is_near_them(
    plan: Plan, candidates: Candidates, share: float, seed: int
) -> None:
    nets = [stage.subnet for stage in plan.stages]
    assume(len(set(nets)) == len(nets) and FULL not in nets[:-1])
    plan = Plan(tuple(replace(stage, prior=0.0) for stage in plan.stages))
    stages = nets if FULL in nets else [*nets, FULL]
    worth = np.random.default_rng(seed).normal(size=len(candidates.tokens))  # all sub-networks agree
    reached = np.full(len(worth), -1)
    walking = walk(plan, FULL, candidates, COST, int(share * full_cost(candidates)))
    try:
        work = next(walking)
        while True:
            stage = stages.index(work.subnet)
            origin = int(reached[reached < stage].max())
            if origin >= 0:
                left = reached == origin
                assert left[work.candidates].all()
                left[work.candidates] = False
                waiting = worth[reached == origin]
                allowed = waiting.max() if stage == len(nets) else (waiting.max() + np.median(waiting)) / 2
                assert not left.any() or worth[work.candidates].min() >= min(allowed, worth[left].max())
            reached[work.candidates] = stage
            work = walking.send(worth[work.candidates])
    except StopIteration:
        pass


def test_a_short_text_gets_no_deeper_than_a_better_long_one() -> None:
    made = Candidates(np.array([64, 64, 8]), 8, None)  # what is left after two stages pays for the short one alone
    worth = np.array([3.0, 2.0, -9.0])
    plan = Plan((Stage(SubNet(6), 0.65), Stage(FULL, 0.35)))
    walking = walk(plan, FULL, made, COST, int(0.8 * full_cost(made)))
    try:
        work = next(walking)
        while True:
            work = walking.send(worth[work.candidates])
    except StopIteration as stop:
        assert stop.value.subnets == [FULL, SubNet(6), SubNet(6)]
        assert stop.value.order.tolist() == [0, 1, 2]
        assert stop.value.scores.tolist() == pytest.approx([3, 2, -9])


def test_the_full_budget_scores_everything_with_the_whole_model() -> None:
    made = Candidates(np.full(7, 64), 8, -np.arange(7.0))
    ladder = Ladder((Rung(0.1, Plan((Stage(SubNet(1), 1.0, 0.5),))),), FULL)
    ranking, paid, _ = carry_out(ladder.plan(1.0), made, full_cost(made))
    assert set(ranking.subnets) == {FULL}
    assert paid == full_cost(made)


def test_the_prior_decides_where_the_model_cannot_tell() -> None:
    made = Candidates(np.full(4, 64), 8, np.array([1.0, 4.0, 2.0, 3.0]))
    walking = walk(Plan((Stage(SubNet(1), 1.0, 0.5),)), SubNet(1), made, COST, 10**15)
    next(walking)
    with pytest.raises(StopIteration) as stop:
        walking.send(np.array([0, 1e-9, 0, 0]))
    assert stop.value.value.order.tolist()[0] == 1


def test_a_deadline_leaves_what_was_scored_above_what_was_not() -> None:
    made = Candidates(np.full(4, 64), 8, None)
    walking = walk(Plan((Stage(SubNet(2), 0.5), Stage(SubNet(12), 0.5))), FULL, made, COST, full_cost(made))
    work = next(walking)
    assert len(work.candidates) == 4
    with pytest.raises(StopIteration) as stop:
        walking.send(np.array([0.1, np.nan, 0.9, np.nan]))
    ranking = stop.value.value
    assert ranking.order.tolist() == [2, 0, 1, 3]
    assert not ranking.complete
    assert ranking.spend[1] == 0


def test_no_candidates_are_no_trouble() -> None:
    ranking, paid, _ = carry_out(untuned([SubNet(0), FULL]).plan(0.5), Candidates(np.zeros(0, dtype=int), 0), 100)
    assert (len(ranking.order), paid) == (0, 0)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_ties_are_broken_in_single_precision_and_nothing_else_moves(values: list[float]) -> None:
    falling = np.sort(np.asarray(values))[::-1]
    broken = strictly_falling(falling)
    assert (np.diff(broken.astype(np.float32)) < 0).all()
    if len(set(falling.astype(np.float32))) == len(falling):
        assert (broken == falling.astype(np.float32)).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_the_running_minimum_lowers_what_is_too_high_by_no_more_than_it_must(values: list[float]) -> None:
    single = np.asarray(values).astype(np.float32)
    broken = strictly_falling(np.asarray(values)).astype(np.float32)
    assert (broken <= single).all()
    lowered = broken < single
    assert not lowered[0]
    assert (broken[1:][lowered[1:]] == np.nextafter(broken[:-1][lowered[1:]], np.float32(-np.inf))).all()


def test_shares_must_add_up() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        Plan((Stage(SubNet(1), 0.4), Stage(SubNet(2), 0.4)))


def test_rungs_of_equal_sub_networks_are_interpolated_and_others_are_not() -> None:
    def rung(share: float, first: float, depth: int = 2) -> Rung:
        return Rung(share, Plan((Stage(SubNet(depth), first, first), Stage(FULL, 1 - first))))

    ladder = Ladder((rung(0.01, 0.2), rung(0.04, 0.4), rung(0.16, 0.4, depth=5)), FULL)
    assert ladder.plan(0.02).stages[0].share == pytest.approx(0.3)
    assert ladder.plan(0.06).stages[0].subnet.depth == 2
    assert ladder.plan(0.1).stages[0].subnet.depth == 5
    assert ladder.plan(0.001) == ladder.rungs[0].plan
    assert ladder.plan(0.9) == ladder.rungs[-1].plan


def test_a_ladder_survives_json() -> None:
    ladder = Ladder((Rung(0.1, Plan((Stage(SubNet(1, 0.5), 0.25, 0.1), Stage(FULL, 0.75))), 0.6),), FULL)
    assert Ladder.from_json(ladder.to_json(), FULL) == ladder
    with pytest.raises(ValueError, match="malformed"):
        Ladder.from_json([{"share": 1}], FULL)


def test_sub_networks_that_read_less_of_a_document_come_first_and_go_on_only_among_themselves() -> None:
    nets = [SubNet(2), SubNet(2, tokens=48), SubNet(2, 0.5), SubNet(1), SubNet(2, tokens=16)]
    assert [str(net) for net in sorted(nets)] == ["1", "2x0.5", "2@16", "2@48", "2"]
    assert SubNet(4, tokens=16).continues(SubNet(2, tokens=16))
    assert not SubNet(4).continues(SubNet(0, tokens=16))
    assert not SubNet(4, tokens=16).continues(SubNet(2))
    with pytest.raises(ValueError, match="tokens 1 or more"):
        SubNet(2, tokens=0)


def test_a_ladder_keeps_what_its_plans_read_of_documents() -> None:
    plan = Plan((Stage(SubNet(1, 0.5, 48), 0.4), Stage(SubNet(2, tokens=16), 0.1), Stage(FULL, 0.5)))
    assert plan.cuts == (16, 48)
    ladder = Ladder((Rung(0.1, plan, 0.5),), FULL)
    assert Ladder.from_json(ladder.to_json(), FULL) == ladder
    assert "tokens" not in str(Ladder((Rung(1.0, Plan((Stage(FULL, 1.0),))),), FULL).to_json())  # as it always was


def test_a_cut_sub_network_shares_the_calibration_of_the_one_that_reads_all() -> None:
    calibration = Calibration({SubNet(2): Line(0.5, 1.0), FULL: Line(2.0, 0.0)})
    raw = np.array([1.0, 2.0])
    assert calibration.scores(SubNet(2, tokens=48), raw).tolist() == calibration.scores(SubNet(2), raw).tolist()
