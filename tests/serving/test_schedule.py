"""The schedule's promises, on a fake clock with a perfect server behind it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from itertools import pairwise
from math import log
from random import Random
from statistics import mean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.model.speed import SpeedProfile
from elasticranker.serving.schedule import ElasticSchedule, Overloaded, Ticket
from tests.fakes import FakeClock

PROFILE = SpeedProfile((1e8, 1e9, 1e10), (0.05, 0.12, 0.6))
SHARES = (0.01, 0.05, 0.25, 0.5, 1.0)
FULL = 10**10  # FLOPs: 0.6 s at full budget
NOISE = 1e-9

requests = st.lists(
    st.tuples(st.floats(0, 1), st.integers(10**6, 2 * 10**10), st.floats(0.005, 1)), min_size=1, max_size=60
)


@dataclass
class Server:
    """A worker that takes exactly as long as predicted (times `slowness`), in groups by the schedule's own rule."""

    schedule: ElasticSchedule
    clock: FakeClock
    group_seconds: float = 0.0
    slowness: float = 1.0
    answered: dict[int, float] = field(default_factory=dict)
    order: list[int] = field(default_factory=list)
    _group: list[Ticket] = field(default_factory=list)
    _until: float = 0.0

    def run_until(self, moment: float) -> None:
        while True:
            if not self._group:
                self._group = self.schedule.group(self.group_seconds)
                if not self._group:
                    break
                self.schedule.start(self._group)
                seconds = sum(PROFILE.seconds_of(ticket.flops) for ticket in self._group)
                self._until = self.clock.now + self.slowness * seconds
            if self._until > moment:
                break
            self.clock.now = self._until
            self.schedule.finish(self._group)
            for ticket in self._group:
                self.answered[ticket.number] = self.clock.now
                self.order.append(ticket.number)
            self._group = []
        if moment < float("inf"):
            self.clock.now = moment


def serve(arrivals, *, group_seconds=0.0, slowness=1.0, **settings):
    """Let (gap, full cost, ceiling) arrive; returns the schedule, the tickets and when each was answered."""
    clock = FakeClock()
    schedule = ElasticSchedule(SHARES, PROFILE, clock=clock, **{"slo": 2.0, **settings})
    server = Server(schedule, clock, group_seconds, slowness)
    tickets = []
    for gap, full_cost, ceiling in arrivals:
        server.run_until(clock.now + gap)
        try:
            tickets.append(schedule.admit(full_cost, ceiling=ceiling))
        except Overloaded:
            continue
    server.run_until(float("inf"))
    return schedule, tickets, server


@given(requests, st.sampled_from([0.0, 0.1, 0.25]), st.sampled_from([0.0, 0.5, 1.0]))
def test_with_perfect_predictions_only_the_cheapest_rung_is_ever_late(arrivals, group_seconds, spread):
    # Answered with its group, a request is at most group_seconds later than alone: headroom leaves room for that.
    _, tickets, server = serve(arrivals, group_seconds=group_seconds, headroom=0.8, spread=spread)
    for ticket in tickets:
        if ticket.share > SHARES[0]:
            assert server.answered[ticket.number] <= ticket.deadline + NOISE


@given(requests, st.floats(0.5, 2))
def test_every_admitted_request_is_answered_once_first_come_first_served(arrivals, slowness):
    _, tickets, server = serve(arrivals, group_seconds=0.25, slowness=slowness)
    assert server.order == [ticket.number for ticket in tickets]


@given(requests)
def test_shares_lie_between_the_cheapest_rung_and_what_the_client_asked_for(arrivals):
    clock = FakeClock()
    schedule = ElasticSchedule(SHARES, PROFILE, slo=2.0, clock=clock)
    for gap, full_cost, ceiling in arrivals:
        clock.now += gap
        try:
            ticket = schedule.admit(full_cost, ceiling=ceiling)
        except Overloaded:
            break
        assert min(SHARES[0], ceiling) <= ticket.share <= ceiling
        assert ticket.share in {*SHARES, ceiling}
        assert ticket.flops == int(ticket.share * full_cost)


@given(requests)
def test_the_backlog_is_what_was_promised_and_never_changed(arrivals):
    clock = FakeClock()
    schedule = ElasticSchedule(SHARES, PROFILE, slo=2.0, max_wait=1e9, clock=clock)
    tickets = [schedule.admit(full_cost, ceiling=ceiling) for _, full_cost, ceiling in arrivals]
    assert schedule.backlog_flops == sum(ticket.flops for ticket in tickets)
    assert schedule.backlog_seconds == pytest.approx(sum(ticket.seconds for ticket in tickets))
    assert schedule.group(float("inf")) == tickets


@given(requests, st.floats(0, 3))
def test_refuses_exactly_when_the_cheapest_rung_misses_by_more_than_max_wait(arrivals, max_wait):
    clock = FakeClock()
    schedule = ElasticSchedule(SHARES, PROFILE, slo=2.0, max_wait=max_wait, clock=clock)
    for _, full_cost, ceiling in arrivals:
        predicted = schedule.backlog_seconds + PROFILE.seconds_of(int(min(ceiling, SHARES[0]) * full_cost))
        try:
            schedule.admit(full_cost, ceiling=ceiling)
            assert predicted <= 2.0 + max_wait + NOISE
        except Overloaded as refusal:
            assert refusal.retry_after == pytest.approx(predicted - 2.0 - max_wait)
            assert predicted > 2.0 + max_wait


@given(requests, st.sampled_from([0.0, 0.1, 0.25]), st.floats(0, 3))
def test_an_exact_share_is_given_whole_or_refused(arrivals, group_seconds, max_wait):
    clock = FakeClock()
    schedule = ElasticSchedule(SHARES, PROFILE, slo=2.0, max_wait=max_wait, clock=clock)
    server = Server(schedule, clock, group_seconds)
    for gap, full_cost, share in arrivals:
        server.run_until(clock.now + gap)
        seconds, backlog = PROFILE.seconds_of(int(share * full_cost)), schedule.backlog_seconds
        idle = not schedule.waiting and not schedule.running
        try:
            ticket = schedule.admit(full_cost, ceiling=share, exact=True)
            assert (ticket.share, ticket.flops) == (share, int(share * full_cost))
            assert idle or backlog + seconds <= 2.0 + max_wait + NOISE
        except Overloaded as refusal:
            assert not idle
            assert backlog + seconds > 2.0 + max_wait
            server.run_until(clock.now + max(refusal.retry_after, 0.0) + NOISE)
            assert schedule.admit(full_cost, ceiling=share, exact=True).share == share


def test_exact_shares_do_not_count_as_load_beyond_their_own():
    exact, modest = (ElasticSchedule(SHARES, PROFILE, slo=2.0, clock=FakeClock()) for _ in range(2))
    exact.admit(FULL, ceiling=0.25, exact=True)
    modest.admit(FULL, ceiling=0.25)
    assert exact.backlog_seconds == modest.backlog_seconds
    assert exact.admit(FULL).share == modest.admit(FULL).share


def test_after_retry_after_the_request_is_admitted():
    clock = FakeClock()
    schedule = ElasticSchedule(SHARES, PROFILE, slo=1.0, max_wait=0.0, clock=clock)
    server = Server(schedule, clock)
    with pytest.raises(Overloaded) as refusal:
        while True:
            schedule.admit(FULL)
    server.run_until(refusal.value.retry_after + NOISE)
    schedule.admit(FULL)


@given(requests, st.data())
def test_cancelling_returns_its_work_and_nothing_else(arrivals, data):
    clock = FakeClock()
    schedule = ElasticSchedule(SHARES, PROFILE, slo=2.0, max_wait=1e9, clock=clock)
    tickets = [schedule.admit(full_cost, ceiling=ceiling) for _, full_cost, ceiling in arrivals]
    gone = data.draw(st.lists(st.sampled_from(tickets), unique=True))
    for ticket in gone:
        assert schedule.cancel(ticket)
        assert not schedule.cancel(ticket)
    left = [ticket for ticket in tickets if ticket not in gone]
    assert schedule.waiting == len(left)
    assert schedule.backlog_flops == sum(ticket.flops for ticket in left)
    assert schedule.backlog_seconds == pytest.approx(sum(ticket.seconds for ticket in left))


def test_what_runs_cannot_be_cancelled():
    schedule = ElasticSchedule(SHARES, PROFILE, slo=2.0, clock=FakeClock())
    ticket = schedule.admit(FULL)
    schedule.start([ticket])
    assert not schedule.cancel(ticket)
    assert (schedule.waiting, schedule.running) == (0, 1)
    schedule.finish([ticket])
    assert not schedule.cancel(ticket)
    assert schedule.backlog_seconds == schedule.backlog_flops == 0


def test_the_running_request_counts_for_what_is_left_of_it():
    clock = FakeClock()
    schedule = ElasticSchedule(SHARES, PROFILE, slo=2.0, clock=clock)
    schedule.start([schedule.admit(FULL)])
    clock.now = 0.2
    assert schedule.backlog_seconds == pytest.approx(0.4)
    clock.now = 5.0  # longer than predicted: due any moment
    assert schedule.backlog_seconds == 0


def test_at_a_low_rate_everything_is_served_in_full():
    _, tickets, _ = serve([(6.0, FULL, 1.0)] * 50)
    assert {ticket.share for ticket in tickets} == {1.0}


def test_an_idle_server_serves_in_full_even_where_that_just_fits():
    _, tickets, _ = serve([(0.01, FULL, 1.0)] * 20 + [(60.0, FULL, 1.0)], slo=0.6 / 0.8 + 0.01)
    assert tickets[10].share < 1.0
    assert tickets[-1].share == 1.0


@pytest.mark.parametrize("slowness", [0.5, 0.8, 1.0, 1.5, 2.5])
def test_under_overload_every_request_is_answered_in_time(slowness):
    # 4 times what the full model sustains where the profile is right; 10 times on a machine 2.5 times slower.
    _, tickets, server = serve([(0.15, FULL, 1.0)] * 600, group_seconds=0.25, slowness=slowness)
    settled = tickets[200:]  # the speed is learnt
    assert len(tickets) == 600
    assert all(server.answered[ticket.number] <= ticket.deadline for ticket in settled)


def test_hysteresis_keeps_quality_from_flapping():
    def changes(hysteresis: float) -> int:
        _, tickets, _ = serve([(0.15, FULL, 1.0)] * 400, hysteresis=hysteresis)
        return sum(before.share != after.share for before, after in pairwise(tickets[100:]))

    assert changes(0.1) < 0.6 * changes(0.0)


def test_leaving_room_for_the_next_gives_more_even_budgets_and_shorter_waits():
    def run(spread: float) -> tuple[float, float]:
        random = Random(0)
        _, tickets, server = serve([(random.expovariate(5), FULL, 1.0) for _ in range(500)], spread=spread)
        waits = [server.answered[ticket.number] - ticket.arrived for ticket in tickets]
        return mean(waits), stdev(log(ticket.share) for ticket in tickets)

    (wait, unevenness), (greedy_wait, greedy_unevenness) = run(1.0), run(0.0)
    assert wait < 0.8 * greedy_wait
    assert unevenness < 0.8 * greedy_unevenness


@pytest.mark.parametrize("slowness", [0.5, 0.7, 1.0, 2.0, 3.5])
def test_the_speed_is_learnt_without_oscillating(slowness):
    clock = FakeClock()
    schedule = ElasticSchedule(SHARES, PROFILE, slo=2.0, clock=clock)
    server, seen = Server(schedule, clock, slowness=slowness), []
    for _ in range(100):
        schedule.admit(FULL)
        server.run_until(clock.now + 10)
        seen.append(schedule.speed_factor)
    distances = [abs(factor - slowness) for factor in seen]
    assert all(after <= before + NOISE for before, after in pairwise(distances))
    assert distances[-1] < 0.01


def test_one_very_slow_moment_is_bounded():
    clock = FakeClock()
    schedule = ElasticSchedule(SHARES, PROFILE, slo=2.0, clock=clock)
    ticket = schedule.admit(FULL)
    schedule.start([ticket])
    clock.now = 3600.0
    schedule.finish([ticket])
    assert 1 < schedule.speed_factor < 2


def test_going_up_needs_more_slack_than_staying():
    # 10 s in full, 5 s at half; 30 s may be filled, 27 s for a larger share than the last one.
    clock = FakeClock()
    profile = SpeedProfile((10.0,), (10.0,))
    schedule = ElasticSchedule([0.5, 1.0], profile, slo=30, headroom=1.0, spread=0, hysteresis=0.1, clock=clock)
    schedule.start([schedule.admit(10)])
    clock.now = 0.5
    schedule.admit(10)
    third = schedule.admit(10)
    assert third.share == 1.0  # 29.5 s: staying
    fourth = schedule.admit(10)
    assert fourth.share == 0.5
    schedule.cancel(third)
    schedule.cancel(fourth)
    again = schedule.admit(10)
    assert again.share == 0.5  # the same 29.5 s: going up
    schedule.cancel(again)
    clock.now = 3.5
    assert schedule.admit(10).share == 1.0  # 26.5 s


def test_a_modest_client_does_not_hold_back_the_next():
    clock = FakeClock()
    schedule = ElasticSchedule([0.5, 1.0], SpeedProfile((10.0,), (10.0,)), slo=30, headroom=1.0, spread=0, clock=clock)
    schedule.admit(10, ceiling=0.5)
    schedule.admit(10, ceiling=0.5)
    assert schedule.admit(19).share == 1.0  # 29 s


@pytest.mark.parametrize(
    "wrong",
    [
        {"shares": []},
        {"shares": [0.5]},
        {"shares": [1.0, 0.5]},
        {"shares": [0.0, 1.0]},
        {"slo": 0},
        {"slo": float("nan")},
        {"max_wait": -1},
        {"static": 0},
        {"static": 2},
        {"headroom": 0},
        {"spread": -0.1},
        {"hysteresis": 1},
    ],
)
def test_nonsense_is_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name}="):
        ElasticSchedule(**{"shares": SHARES, "profile": PROFILE, "slo": 1.0, **wrong})


def test_nonsense_requests_are_refused():
    schedule = ElasticSchedule(SHARES, PROFILE, slo=1.0, clock=FakeClock())
    with pytest.raises(ValueError, match="ceiling="):
        schedule.admit(FULL, ceiling=0)
    with pytest.raises(ValueError, match="full_cost="):
        schedule.admit(-1)
    first, second = schedule.admit(FULL), schedule.admit(FULL)
    with pytest.raises(ValueError, match="running are"):
        schedule.finish([first])
    schedule.start([first])
    with pytest.raises(ValueError, match="finish them"):
        schedule.start([second])
    with pytest.raises(ValueError, match="running are"):
        schedule.finish([second])
    schedule.finish([first])
    with pytest.raises(ValueError, match="not waiting"):
        schedule.start([first])


def test_a_request_of_no_cost_is_served():
    schedule, tickets, server = serve([(0.1, 0, 1.0)] * 3)
    assert len(server.answered) == len(tickets) == 3
    assert schedule.speed_factor == 1.0


def test_static_gives_one_share_and_never_refuses_unless_told():
    schedule = ElasticSchedule(SHARES, PROFILE, slo=1.0, static=0.3, clock=FakeClock())
    tickets = [schedule.admit(FULL, ceiling=ceiling) for ceiling in [1.0] * 100 + [0.2]]
    assert [ticket.share for ticket in tickets] == [0.3] * 100 + [0.2]
    limited = ElasticSchedule(SHARES, PROFILE, slo=1.0, static=1.0, max_wait=1.0, clock=FakeClock())
    with pytest.raises(Overloaded):
        for _ in range(100):
            limited.admit(FULL)


def test_groups_are_first_come_first_served_and_bounded():
    schedule = ElasticSchedule(SHARES, PROFILE, slo=1.0, static=0.01, clock=FakeClock())  # 0.05 s each
    tickets = [schedule.admit(FULL) for _ in range(5)]
    assert schedule.group(0) == tickets[:1]
    assert schedule.group(0.101) == tickets[:2]
    schedule.cancel(tickets[0])
    assert schedule.group(0.151) == tickets[1:4]
    assert schedule.group(float("inf")) == tickets[1:]


def test_the_schedule_needs_neither_torch_nor_numpy():
    code = "import sys, elasticranker.serving; print({'torch', 'numpy', 'fastapi'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
