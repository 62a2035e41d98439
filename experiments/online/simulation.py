"""The server and its schedule on a simulated clock: the same `ElasticSchedule`, requests in, latencies out."""

from __future__ import annotations

import bisect
import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from elasticranker.serving.schedule import ElasticSchedule, Overloaded, Ticket
from experiments.online.arrivals import Floats, Integers
from experiments.online.outcome import ANSWERED, REJECTED, Outcome, System, empty
from experiments.online.quality import Rungs

if TYPE_CHECKING:
    import simpy


@dataclass(frozen=True)
class Service:
    """How a simulated service is set up.

    Attributes:
        slo: the objective, seconds.
        group_seconds: most predicted seconds of requests that run together; 0: one at a time. By default an eighth of
            the objective, as the server has it.
        max_wait: see `ElasticSchedule`.
        replicas: servers, each with its own queue; a request joins the one with the shortest backlog.
    """

    slo: float
    group_seconds: float | None = None
    max_wait: float | None = None
    replicas: int = 1


def simulate(rungs: Rungs, times: Floats, queries: Integers, system: System, service: Service) -> Outcome:
    """Let requests arrive and serve them all, however long that takes.

    A group of requests takes the sum of what each takes alone, by the measured profile for what it really spends; the
    real engine is faster than that where it batches small ones.

    Args:
        rungs: what was measured of each query at each rung.
        times: `[n]` rising, seconds.
        queries: `[n]` rows of `rungs`.
        system: which budgets are given.
        service: objective, grouping, replicas.

    Returns:
        What became of each request.

    Raises:
        ValueError: an argument that makes no sense.
    """
    import simpy

    if service.replicas < 1:
        raise ValueError(f"replicas={service.replicas}: give 1 or more")
    environment = simpy.Environment()
    run = _Run(environment, rungs, times, queries, system, service)
    environment.process(run.arrive())
    environment.run()
    return run.outcome


class _Remembered:
    """A profile that computes each amount once: a collection has few queries and rungs."""

    def __init__(self, rungs: Rungs) -> None:
        self.profile = rungs.profile
        self.known: dict[float, float] = {}

    def seconds_of(self, flops: float) -> float:
        if flops not in self.known:
            self.known[flops] = self.profile.seconds_of(flops)
        return self.known[flops]


class _Run:
    """One simulation: the replicas, and who waits for what."""

    def __init__(
        self,
        environment: simpy.Environment,
        rungs: Rungs,
        times: Floats,
        queries: Integers,
        system: System,
        service: Service,
    ) -> None:
        self.environment, self.rungs, self.times, self.queries = environment, rungs, times, queries
        self.group_seconds = service.slo / 8 if service.group_seconds is None else service.group_seconds
        self.profile = _Remembered(rungs)
        self.outcome = empty(len(times))
        self.replicas = [
            _Replica(
                environment,
                ElasticSchedule(
                    rungs.shares,
                    self.profile,
                    slo=service.slo,
                    max_wait=service.max_wait,
                    static=system.static,
                    spread=system.spread,
                    clock=lambda: environment.now,
                ),
            )
            for _ in range(service.replicas)
        ]
        self.free_at = np.full(service.replicas, -math.inf)  # when each is predicted to have nothing left to do
        self.requests: list[dict[int, int]] = [{} for _ in self.replicas]  # by ticket
        for index in range(service.replicas):
            environment.process(self.work(index))

    def arrive(self) -> Generator[Any, Any, None]:
        """Send each request to the replica with the shortest backlog."""
        costs = self.rungs.full_cost[self.queries].tolist()
        for request, time in enumerate(self.times.tolist()):
            yield self.environment.timeout(max(0.0, time - self.environment.now))
            index = int(self.free_at.argmin())
            replica = self.replicas[index]
            try:
                ticket = replica.schedule.admit(costs[request])
            except Overloaded:
                self.outcome.status[request] = REJECTED
                continue
            self.requests[index][ticket.number] = request
            self.note_backlog(index)
            replica.wake()

    def work(self, index: int) -> Generator[Any, Any, None]:
        """One replica: the first that wait, together, again and again."""
        replica = self.replicas[index]
        schedule = replica.schedule
        while True:
            group = schedule.group(self.group_seconds)
            if not group:
                self.free_at[index] = -math.inf
                yield replica.sleep()
                continue
            schedule.start(group)
            yield self.environment.timeout(sum(self.seconds(index, ticket) for ticket in group))
            schedule.finish(group)
            self.note_backlog(index)
            for ticket in group:
                self.answer(self.requests[index].pop(ticket.number), ticket)

    def seconds(self, index: int, ticket: Ticket) -> float:
        """How long serving a request really takes."""
        query = self.queries[self.requests[index][ticket.number]]
        return self.profile.seconds_of(int(self.rungs.spend[query, self.rung(ticket)]))

    def rung(self, ticket: Ticket) -> int:
        return bisect.bisect_left(self.rungs.shares, ticket.share)

    def answer(self, request: int, ticket: Ticket) -> None:
        query, rung, outcome = self.queries[request], self.rung(ticket), self.outcome
        outcome.status[request] = ANSWERED
        outcome.latency[request] = self.environment.now - self.times[request]
        outcome.share[request] = ticket.share
        outcome.rr[request], outcome.ndcg[request] = self.rungs.rr[query, rung], self.rungs.ndcg[query, rung]

    def note_backlog(self, index: int) -> None:
        self.free_at[index] = self.environment.now + self.replicas[index].schedule.backlog_seconds


class _Replica:
    """A schedule, and the worker's sleep while nothing waits."""

    def __init__(self, environment: simpy.Environment, schedule: ElasticSchedule) -> None:
        self.environment, self.schedule = environment, schedule
        self.alarm: simpy.Event | None = None

    def sleep(self) -> simpy.Event:
        self.alarm = self.environment.event()
        return self.alarm

    def wake(self) -> None:
        if self.alarm is not None:
            self.alarm.succeed()
            self.alarm = None
