"""The elastic schedule: how much each request may cost, given what was promised to those before it.

Pure Python over any clock, so that the server and the simulation run the very same rules, and so that these can be
checked against queueing theory. It knows sizes (FLOPs) and times, and nothing of models or networks.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

PRIOR, MEMORY = 1.0, 2.0  # work that the profile's own speed counts for, and that is remembered; in objectives
SLOWEST, FASTEST = 4.0, 0.5  # bounds of the correction: beyond them the profile should be measured again


class Profile(Protocol):
    """What the schedule needs of `elasticranker.model.speed.SpeedProfile`."""

    def seconds_of(self, flops: float) -> float:
        """Seconds that `flops` take."""


class Overloaded(Exception):
    """Even the cheapest rung, or the budget that must be kept, would be too late: the request was not admitted.

    Attributes:
        retry_after: seconds after which it would be, if nobody else came.
    """

    def __init__(self, retry_after: float, *, exact: bool = False) -> None:
        what = "this budget, kept exactly," if exact else "even the cheapest budget"
        otherwise = ", ask for less, or leave 'exact' out and let the load decide" if exact else ""
        super().__init__(f"overloaded: {what} would be too late; try again in {retry_after:.2g} s{otherwise}")
        self.retry_after = retry_after


@dataclass(frozen=True)
class Ticket:
    """What a request was promised; it never changes.

    Attributes:
        number: counts the admitted requests from 0.
        share: its budget as a share of its full cost.
        flops: its budget.
        seconds: predicted for serving it alone.
        deadline: when it should be answered, on the schedule's clock.
        arrived: when it was admitted, on that clock.
    """

    number: int
    share: float
    flops: int
    seconds: float
    deadline: float
    arrived: float


class ElasticSchedule:
    """Gives each request a budget that follows the load, and keeps what it promised.

    One schedule is one queue before one model, first come first served. A request gets a rung with which it is
    predicted to be answered within `headroom * slo`: what is left of the running requests, all that wait, and its own
    service, added up. An idle server gives the largest that fits. The more of that time the backlog takes, the less of
    what is left a request gets, so that those who come next find room too: its service falls geometrically from the
    whole model's, with no backlog, to the cheapest rung's, with none left. Quality grows about with the logarithm of
    the cost, so that evenly served requests are better on average than lucky and unlucky ones, and wait less.

    Where no rung fits a request gets the cheapest, and where even that is predicted to miss the objective by more than
    `max_wait` it is refused; so is a request for an *exact* share that would be as late, unless nobody else is there.
    Predictions come from a measured speed profile, corrected by what requests really took. With `static` every request
    gets the same share: the baseline to compare with.

    Choose it over a fixed budget where the load varies. Not safe to use from several threads: call it from one.

    Example:
        >>> schedule = ElasticSchedule([0.1, 1.0], profile, slo=0.5)  # doctest: +SKIP
        >>> ticket = schedule.admit(full_cost)  # doctest: +SKIP
        >>> schedule.start([ticket])  # doctest: +SKIP
        >>> schedule.finish([ticket])  # doctest: +SKIP

    Args:
        shares: budgets to choose from, shares of a request's full cost, rising; the last is 1.
        profile: seconds that FLOPs take.
        slo: the latency objective: seconds from arrival to answer.
        max_wait: how many seconds beyond the objective the cheapest rung may be predicted to finish before a request is
            refused. By default `slo`; with `static`, no limit.
        static: one share for every request, whatever the load.
        headroom: share of the objective that predictions may fill; the rest is for noise and for requests that run in
            one group and are answered together.
        spread: how much is left to those who come next: 1 as described above, 0 nothing, so that each request takes
            the largest rung that fits.
        hysteresis: share of the headroom that must stay free besides for a larger share than the last request's, so
            that quality doesn't flap. An idle server needs none.
        clock: seconds.

    Raises:
        ValueError: an argument that makes no sense.
    """

    def __init__(
        self,
        shares: Sequence[float],
        profile: Profile,
        *,
        slo: float,
        max_wait: float | None = None,
        static: float | None = None,
        headroom: float = 0.8,
        spread: float = 1.0,
        hysteresis: float = 0.1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not shares or list(shares) != sorted(set(shares)) or shares[0] <= 0 or shares[-1] != 1:
            raise ValueError(f"shares={list(shares)}: give rising shares above 0, the last of them 1.0")
        if not (math.isfinite(slo) and slo > 0):
            raise ValueError(f"slo={slo!r}: give seconds above 0")
        if max_wait is not None and not max_wait >= 0:
            raise ValueError(f"max_wait={max_wait!r}: give seconds from 0")
        if static is not None and not 0 < static <= 1:
            raise ValueError(f"static={static!r}: give a share above 0 and at most 1")
        if not 0 < headroom <= 1:
            raise ValueError(f"headroom={headroom!r}: give a share of the objective above 0 and at most 1")
        if not 0 <= spread <= 1:
            raise ValueError(f"spread={spread!r}: give a number from 0 to 1")
        if not 0 <= hysteresis < 1:
            raise ValueError(f"hysteresis={hysteresis!r}: give a share from 0 to below 1")
        self.shares = tuple(shares) if static is None else (static,)
        self.profile, self.slo, self.static = profile, slo, static
        self.max_wait = max_wait if max_wait is not None else (slo if static is None else math.inf)
        self.headroom, self.spread, self.hysteresis, self.clock = headroom, spread, hysteresis, clock
        self._waiting: OrderedDict[int, Ticket] = OrderedDict()  # a dict slows down when emptied from its front
        self._running: dict[int, Ticket] = {}
        self._nominal: dict[int, float] = {}  # seconds by the profile alone, of what waits and what runs
        self._waiting_seconds = 0.0  # nominal
        self._flops = 0
        self._started = 0.0
        self._admitted = 0
        self._last = self.shares[-1]
        self._done = self._took = PRIOR * slo  # nominal and real seconds of what was served, older work fading

    @property
    def waiting(self) -> int:
        """Requests that were admitted and have not begun."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Requests that have begun and are not done."""
        return len(self._running)

    @property
    def backlog_flops(self) -> int:
        """FLOPs promised to what waits and what runs."""
        return self._flops

    @property
    def speed_factor(self) -> float:
        """Real seconds for each second of the profile, lately; above 1 the machine is slower than when measured."""
        return min(SLOWEST, max(FASTEST, self._took / self._done))

    @property
    def backlog_seconds(self) -> float:
        """Predicted seconds until all that was admitted is done."""
        running = sum(self._nominal[number] for number in self._running)
        left = self.speed_factor * running - (self.clock() - self._started) if running else 0.0
        return max(0.0, left) + self.speed_factor * self._waiting_seconds

    def admit(self, full_cost: int, *, ceiling: float = 1.0, exact: bool = False) -> Ticket:
        """Promise a budget to a request that arrives now.

        Args:
            full_cost: FLOPs of the whole model over its candidates.
            ceiling: the largest share that it wants; honoured even below the cheapest rung.
            exact: give it just that share, or refuse it. An idle schedule gives it however long it takes: nobody waits.

        Raises:
            Overloaded: even the cheapest rung, or the exact share, is predicted to miss the objective by more than
                `max_wait`.
            ValueError: an argument that makes no sense.
        """
        if full_cost < 0:
            raise ValueError(f"full_cost={full_cost!r}: give FLOPs from 0")
        if not 0 < ceiling <= 1:
            raise ValueError(f"ceiling={ceiling!r}: give a share above 0 and at most 1")
        backlog, idle = self.backlog_seconds, not self._waiting and not self._running
        least = ceiling if exact else min(ceiling, self.shares[0])
        late = backlog + self.speed_factor * self._seconds(full_cost, least) - (self.slo + self.max_wait)
        if late > 0 and not (exact and idle):
            raise Overloaded(min(late, backlog), exact=True) if exact else Overloaded(late)
        # The load alone chooses the rung, so that a client's modest wish doesn't count as load for the next one.
        self._last = self._fitting(full_cost, backlog, idle)
        share, now = ceiling if exact else min(ceiling, self._last), self.clock()
        nominal = self._seconds(full_cost, share)
        seconds = self.speed_factor * nominal
        ticket = Ticket(self._admitted, share, int(share * full_cost), seconds, now + self.slo, now)
        self._admitted += 1
        self._waiting[ticket.number], self._nominal[ticket.number] = ticket, nominal
        self._waiting_seconds += nominal
        self._flops += ticket.flops
        return ticket

    def group(self, seconds: float) -> list[Ticket]:
        """Which waiting requests a worker that is free should run next, together.

        The first, and those behind it as long as their predictions add up to at most `seconds`: small requests gain
        from sharing batches, and nobody waits long for the others of a group.

        Args:
            seconds: most predicted seconds of a group; a single request may exceed them. 0: one at a time.
        """
        chosen: list[Ticket] = []
        for ticket in self._waiting.values():
            seconds -= ticket.seconds
            if chosen and seconds < 0:
                break
            chosen.append(ticket)
        return chosen

    def start(self, tickets: Sequence[Ticket]) -> None:
        """Note that waiting requests begin to run now, together.

        Raises:
            ValueError: something runs already, or a request isn't waiting.
        """
        if self._running:
            raise ValueError(f"{self.running} requests run already: finish them before starting others")
        numbers = [ticket.number for ticket in tickets]
        if strangers := [number for number in numbers if number not in self._waiting]:
            raise ValueError(f"tickets={strangers}: not waiting; start what was admitted, once")
        for ticket in tickets:
            self._leave_queue(ticket)
            self._running[ticket.number] = ticket
        self._started = self.clock()

    def finish(self, tickets: Sequence[Ticket]) -> None:
        """Note that what runs is done now, and learn from how long it took.

        Raises:
            ValueError: these are not the requests that run.
        """
        if {ticket.number for ticket in tickets} != set(self._running):
            raise ValueError(f"tickets={[ticket.number for ticket in tickets]}: running are {list(self._running)}")
        nominal = sum(self._nominal.pop(number) for number in self._running)
        self._flops -= sum(ticket.flops for ticket in tickets)
        self._running.clear()
        # Compared with the profile itself, not with the corrected prediction, and weighed by work: no feedback, so it
        # cannot oscillate, and many small requests say no more than a few large ones.
        fading = math.exp(-nominal / (MEMORY * self.slo))
        took = min(max(self.clock() - self._started, FASTEST * nominal), SLOWEST * nominal)
        self._done = fading * self._done + nominal
        self._took = fading * self._took + took

    def cancel(self, ticket: Ticket) -> bool:
        """Drop a request that waits; its work is no longer counted.

        Returns:
            Whether it waited. What runs already, or is done, is left alone.
        """
        if ticket.number not in self._waiting:
            return False
        self._leave_queue(ticket)
        del self._nominal[ticket.number]
        self._flops -= ticket.flops
        return True

    def _leave_queue(self, ticket: Ticket) -> None:
        del self._waiting[ticket.number]
        self._waiting_seconds -= self._nominal[ticket.number]
        if not self._waiting:
            self._waiting_seconds = 0.0  # what rounding left

    def _fitting(self, full_cost: int, backlog: float, idle: bool) -> float:
        """The largest rung that fits, in time and beside those who come next; the cheapest where none does."""
        limit = self.headroom * self.slo
        seconds = [self.speed_factor * self._seconds(full_cost, share) for share in self.shares]
        cheapest, full = seconds[0], seconds[-1]
        for share, own in zip(reversed(self.shares), reversed(seconds), strict=True):
            most = limit if idle or share <= self._last else (1 - self.hysteresis) * limit
            fair = full * (cheapest / full) ** (self.spread * backlog / most) if backlog and full else full
            if backlog + own <= most and own <= fair:
                return share
        return self.shares[0]

    def _seconds(self, full_cost: int, share: float) -> float:
        """By the profile alone."""
        return self.profile.seconds_of(int(share * full_cost))
