"""The one model thread and the queue in front of it.

All bookkeeping happens on the event loop, so nothing needs a lock: only tokenising and ranking leave it, each for a
thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from elasticranker.serving.scoring import Prepared, Scored, Scorer, Task

if TYPE_CHECKING:
    from elasticranker.serving.schedule import ElasticSchedule, Ticket

log = logging.getLogger(__name__)
GROUP_PAIRS = 3_000  # pairs that run together at most: bounds the hidden states that are kept
GROUP_PART = 8  # a group may take this part of the objective, unless told otherwise


class ScoringFailed(Exception):
    """The model could not rank a request; the message says why."""


class Closed(Exception):
    """The worker has not begun, or has stopped."""


@dataclass(frozen=True)
class Answer:
    """A ranking and the promise that it was made under."""

    ticket: Ticket
    scored: Scored


@dataclass(frozen=True, eq=False)
class _Job:
    ticket: Ticket
    task: Task
    answer: asyncio.Future[Answer]


class Worker:
    """Ranks requests one group at a time, first come first served, within the budgets that a schedule gives.

    A group is the first waiting request and those behind it as long as their predicted seconds stay under
    `group_seconds`; the engine batches across them. When ranking a group fails, its requests are ranked singly, so
    that the error goes only to the request that caused it.

    Example:
        >>> async with Worker(scorer, schedule) as worker:  # doctest: +SKIP
        ...     answer = await worker.rank(await worker.prepare("query", ["a text", "another"]))

    Attributes:
        closing: set it to have new requests refused by whoever asks it; what was admitted is finished.
        admitted: requests that the schedule took.
        answered: those of them that were ranked, or failed.
        left: those of them whose client went away before.

    Args:
        scorer: the model.
        schedule: gives the budgets.
        group_seconds: most predicted seconds of a group; by default an eighth of the objective. 0: one at a time.
    """

    def __init__(self, scorer: Scorer, schedule: ElasticSchedule, *, group_seconds: float | None = None) -> None:
        self.scorer, self.schedule = scorer, schedule
        self.group_seconds = schedule.slo / GROUP_PART if group_seconds is None else group_seconds
        self.closing = False
        self.admitted = self.answered = self.left = 0
        self._jobs: dict[int, _Job] = {}
        self._wake = asyncio.Event()
        self._closed = True

    async def __aenter__(self) -> Worker:
        self.closing = self._closed = False
        self._model = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._tokeniser = ThreadPoolExecutor(1, thread_name_prefix="tokeniser")
        self._working = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what was admitted, then stop."""
        self.closing = self._closed = True
        self._wake.set()
        await self._working
        self._model.shutdown()
        self._tokeniser.shutdown()

    async def prepare(self, query: str, texts: Sequence[str]) -> Prepared:
        """Tokenise and price a request, off the event loop.

        Raises:
            Closed: the worker is not running.
        """
        if self._closed:
            raise Closed("the server is not running")
        return await asyncio.get_running_loop().run_in_executor(self._tokeniser, self.scorer.prepare, query, texts)

    async def rank(
        self,
        prepared: Prepared,
        *,
        scores: Sequence[float] | None = None,
        ceiling: float = 1.0,
        exact: bool = False,
        deadline: float | None = None,
    ) -> Answer:
        """Wait for a request's turn and its ranking. Cancelling this drops the request if it is still waiting.

        Args:
            prepared: what `prepare` made.
            scores: incoming scores of the texts.
            ceiling: the largest share of its full cost that the client wants to spend.
            exact: spend just that share, or refuse.
            deadline: on the scorer's clock, when the ranking has to be done; what is ranked then is the answer.

        Raises:
            Overloaded: the schedule refuses it.
            ScoringFailed: the model failed at it.
            Closed: the worker is not running.
        """
        if self._closed:
            raise Closed("the server is not running")
        ticket = self.schedule.admit(prepared.cost, ceiling=ceiling, exact=exact)
        # Reckoned from whole FLOPs, as `ElasticRanker` does, so that both take the very same plan.
        share = ticket.flops / prepared.cost if prepared.cost else ticket.share
        task = Task(prepared, share, ticket.flops, scores, deadline)
        job = self._jobs[ticket.number] = _Job(ticket, task, asyncio.get_running_loop().create_future())
        self.admitted += 1
        self._wake.set()
        try:
            return await job.answer
        except asyncio.CancelledError:
            self.left += 1
            if self._jobs.pop(ticket.number, None) is not None:
                self.schedule.cancel(ticket)
            raise

    async def _work(self) -> None:
        while self._jobs or not self._closed:
            if self._jobs:
                await self._run(self._next_group())
            else:
                await self._wake.wait()
                self._wake.clear()

    def _next_group(self) -> list[_Job]:
        """Take the next group out of the queue."""
        pairs = 0
        jobs: list[_Job] = []
        for ticket in self.schedule.group(self.group_seconds):
            pairs += len(self._jobs[ticket.number].task.prepared.pairs)
            if jobs and pairs > GROUP_PAIRS:
                break
            jobs.append(self._jobs.pop(ticket.number))
        return jobs

    async def _run(self, jobs: Sequence[_Job]) -> None:
        tickets = [job.ticket for job in jobs]
        self.schedule.start(tickets)
        outcomes = await asyncio.get_running_loop().run_in_executor(
            self._model, self._rank_all, [job.task for job in jobs]
        )
        self.schedule.finish(tickets)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if job.answer.done():  # its client went away meanwhile
                continue
            self.answered += 1
            if isinstance(outcome, Scored):
                job.answer.set_result(Answer(job.ticket, outcome))
            else:
                job.answer.set_exception(outcome)

    def _rank_all(self, tasks: Sequence[Task]) -> list[Scored | ScoringFailed]:
        """In the model thread: every task's ranking, or why there is none."""
        try:
            return list(self.scorer.rank(tasks))
        except Exception as error:  # whatever it is, it must not end the thread that all requests share
            if len(tasks) > 1:
                return [outcome for task in tasks for outcome in self._rank_all([task])]
            log.exception("ranking a request of %d texts failed", len(tasks[0].prepared.pairs))
            return [ScoringFailed(f"ranking failed ({type(error).__name__}: {error})")]
