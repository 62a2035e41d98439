"""One model thread: groups, errors of single requests, cancellation, and an end that loses nothing."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.serving import worker as worker_module
from elasticranker.serving.schedule import Overloaded
from elasticranker.serving.worker import Answer, Closed, ScoringFailed, Worker
from tests.serving.doubles import FakeScorer, make_schedule


async def ask(worker: Worker, query: str, *texts: str, **settings: Any) -> Answer:
    return await worker.rank(await worker.prepare(query, texts or ("a text",)), **settings)


async def waiting(
    worker: Worker, scorer: FakeScorer, *queries: str, text: str = "a text"
) -> list[asyncio.Task[Answer]]:
    """Requests that wait, in that order, behind one that is being ranked."""
    scorer.hold()
    tasks = [asyncio.create_task(ask(worker, "first"))]
    await asyncio.to_thread(scorer.wait_until_ranking)
    for query in queries:
        tasks.append(asyncio.create_task(ask(worker, query, text)))
        while worker.schedule.waiting < len(tasks) - 1:
            await asyncio.sleep(0)
    return tasks


def test_texts_come_back_from_best_to_worst() -> None:
    async def main() -> Answer:
        async with Worker(FakeScorer(), make_schedule()) as worker:
            return await ask(worker, "copy a folder", "a river", "copy a folder now")

    answer = asyncio.run(main())
    assert answer.scored.order == [1, 0]
    assert answer.ticket.share == 1.0


def test_what_waits_together_is_ranked_together() -> None:
    async def main(group_seconds: float | None) -> list[list[str]]:
        scorer = FakeScorer()
        async with Worker(scorer, make_schedule(static=1.0), group_seconds=group_seconds) as worker:
            tasks = await waiting(worker, scorer, "b", "c", "d")
            scorer.release()
            await asyncio.gather(*tasks)
        return scorer.groups

    assert asyncio.run(main(None)) == [["first"], ["b", "c", "d"]]
    assert asyncio.run(main(40.0)) == [["first"], ["b", "c"], ["d"]]  # 20 seconds each
    assert asyncio.run(main(0.0)) == [["first"], ["b"], ["c"], ["d"]]


def test_a_group_has_no_more_pairs_than_memory_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "GROUP_PAIRS", 2)

    async def main() -> list[list[str]]:
        scorer = FakeScorer()
        async with Worker(scorer, make_schedule()) as worker:
            tasks = await waiting(worker, scorer, "b", "c", "d")
            scorer.release()
            await asyncio.gather(*tasks, ask(worker, "e", *["large"] * 5))
        return scorer.groups

    assert asyncio.run(main()) == [["first"], ["b", "c"], ["d"], ["e"]]


def test_a_request_that_fails_fails_alone() -> None:
    async def main() -> list[Any]:
        scorer = FakeScorer()
        async with Worker(scorer, make_schedule()) as worker:
            tasks = await waiting(worker, scorer, "b", "c")
            tasks.append(asyncio.create_task(ask(worker, "eats", "poison")))
            tasks.append(asyncio.create_task(ask(worker, "d")))
            while worker.schedule.waiting < 4:
                await asyncio.sleep(0)
            scorer.release()
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            outcomes.append(await ask(worker, "afterwards"))
            assert worker.schedule.waiting == worker.schedule.running == worker.schedule.backlog_flops == 0
            return outcomes

    outcomes = asyncio.run(main())
    assert [type(outcome) for outcome in outcomes] == [Answer, Answer, Answer, ScoringFailed, Answer, Answer]
    assert "RuntimeError: the scorer ate poison" in str(outcomes[3])


def test_a_client_that_leaves_takes_its_waiting_work_along() -> None:
    async def main() -> list[list[str]]:
        scorer = FakeScorer()
        async with Worker(scorer, make_schedule()) as worker:
            tasks = await waiting(worker, scorer, "b", "c", "d")
            tasks[2].cancel()
            await asyncio.wait([tasks[2]])
            assert worker.schedule.waiting == 2
            scorer.release()
            await asyncio.gather(*tasks[:2], tasks[3])
            assert (worker.admitted, worker.answered, worker.left) == (4, 3, 1)
        return scorer.groups

    assert asyncio.run(main()) == [["first"], ["b", "d"]]


def test_a_client_that_leaves_while_it_is_ranked_harms_nobody() -> None:
    async def main() -> Answer:
        scorer = FakeScorer()
        async with Worker(scorer, make_schedule()) as worker:
            first, second = await waiting(worker, scorer, "b")
            first.cancel()
            await asyncio.wait([first])
            scorer.release()
            return await second

    assert asyncio.run(main()).scored.order == [0]


def test_the_end_waits_for_what_was_admitted() -> None:
    async def main() -> list[Answer]:
        scorer = FakeScorer()
        worker = Worker(scorer, make_schedule())
        async with worker:
            tasks = await waiting(worker, scorer, "b", "c")
            ending = asyncio.create_task(worker.__aexit__(None, None, None))
            while not worker.closing:
                await asyncio.sleep(0)
            with pytest.raises(Closed):
                await ask(worker, "too late")
            assert not ending.done()
            scorer.release()
            await ending
            assert all(task.done() for task in tasks)
            return [task.result() for task in tasks]

    assert len(asyncio.run(main())) == 3


def test_what_the_schedule_refuses_is_refused() -> None:
    async def main() -> None:
        async with Worker(FakeScorer(), make_schedule(slo=1.0, max_wait=0.0)) as worker:
            await ask(worker, "long", *["word " * 100] * 3)

    with pytest.raises(Overloaded):
        asyncio.run(main())


@given(st.lists(st.sampled_from(["answer", "fail", "leave"]), max_size=8), st.sampled_from([None, 0.0, 50.0]))
def test_every_request_gets_what_it_is_due(fates: list[str], group_seconds: float | None) -> None:
    async def main() -> None:
        scorer = FakeScorer()
        async with Worker(scorer, make_schedule(slo=10_000.0), group_seconds=group_seconds) as worker:
            scorer.hold()
            texts = {"answer": "a text", "fail": "poison", "leave": "a text"}
            tasks = [asyncio.create_task(ask(worker, fate, texts[fate])) for fate in fates]
            while worker.admitted < len(fates):
                await asyncio.sleep(0)
            for fate, task in zip(fates, tasks, strict=True):
                if fate == "leave":
                    task.cancel()
            scorer.release()
            await asyncio.gather(*tasks, return_exceptions=True)
            for fate, task in zip(fates, tasks, strict=True):
                assert task.cancelled() == (fate == "leave")
                if fate != "leave":
                    assert (task.exception() is None) == (fate == "answer")
            await ask(worker, "afterwards")
            assert (worker.admitted, worker.left) == (len(fates) + 1, fates.count("leave"))
            assert worker.answered == worker.admitted - worker.left
            assert worker.schedule.backlog_flops == 0

    asyncio.run(main())
