"""An open-loop client: requests leave on schedule, whether or not earlier ones were answered.

A closed loop, which waits for answers, would slow down with the server and hide how long users wait ("coordinated
omission"). It shares the machine with the server, so it does as little as it can while the clock runs: bodies are
encoded before, answers are read after.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from elasticranker.evaluation.candidates import Candidates
from elasticranker.evaluation.measures import effectiveness
from elasticranker.frames import in_incoming_order
from elasticranker.planning.budget import Budget
from experiments.online.arrivals import Floats, Integers
from experiments.online.outcome import ANSWERED, FAILED, REJECTED, Outcome, empty

if TYPE_CHECKING:
    import httpx

BUDGET_HEADER = "X-Elastic-Budget"


@dataclass(frozen=True)
class Workload:
    """The queries of a collection as requests.

    Attributes:
        bodies: one a query, encoded.
        docnos: each query's candidates in incoming order.
        qids: their names.
        qrels: columns qid, docno, label.
    """

    bodies: tuple[bytes, ...]
    docnos: tuple[tuple[str, ...], ...]
    qids: tuple[str, ...]
    qrels: pd.DataFrame


@dataclass(frozen=True)
class Reply:
    """An answer as it came: status (0: none came, -1: the connection failed), seconds since scheduled, budget, body."""

    status: int
    latency: float
    budget: str = ""
    body: bytes = b""


def workload(candidates: Candidates) -> Workload:
    """The judged queries that have candidates, with their incoming scores, in the form of `POST /rerank`."""
    bodies, docnos, qids = [], [], []
    lists = in_incoming_order(candidates.frame)
    for qid, frame in zip(lists.qids, lists.frames(), strict=True):
        request = {
            "query": frame["query"].iloc[0],
            "texts": frame["text"].tolist(),
            "truncate": True,
            "raw_scores": True,
            "scores": [float(score) for score in frame["score"]],
        }
        bodies.append(json.dumps(request).encode())
        docnos.append(tuple(frame["docno"]))
        qids.append(str(qid))
    return Workload(tuple(bodies), tuple(docnos), tuple(qids), candidates.qrels)


def send(url: str, work: Workload, times: Floats, queries: Integers, *, drain: float) -> list[Reply]:
    """Send requests at their times, then wait for the answers that are still to come.

    Args:
        url: of the server.
        work: the queries.
        times: `[n]` rising, seconds from now.
        queries: `[n]` which query each request sends.
        drain: seconds to wait after the last request was sent.

    Returns:
        `[n]` replies. Those that had not come by then have status 0 and the time they had waited.
    """
    return asyncio.run(_send(url, work, times, queries, drain))


async def _send(url: str, work: Workload, times: Floats, queries: Integers, drain: float) -> list[Reply]:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=None, trust_env=False) as client:
        start = time.perf_counter()
        tasks = []
        for moment, query in zip(times.tolist(), queries.tolist(), strict=True):
            await asyncio.sleep(max(0.0, start + moment - time.perf_counter()))
            tasks.append(asyncio.create_task(_request(client, work.bodies[query], start + moment)))
        if tasks:
            await asyncio.wait(tasks, timeout=drain)
        end = time.perf_counter()
        replies = [
            task.result() if task.done() else Reply(0, end - start - moment)
            for task, moment in zip(tasks, times.tolist(), strict=True)
        ]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return replies


async def _request(client: httpx.AsyncClient, body: bytes, scheduled: float) -> Reply:
    import httpx

    try:
        response = await client.post("/rerank", content=body, headers={"Content-Type": "application/json"})
    except httpx.TransportError:
        return Reply(-1, time.perf_counter() - scheduled)
    latency = time.perf_counter() - scheduled
    return Reply(response.status_code, latency, response.headers.get(BUDGET_HEADER, ""), response.content)


def as_outcome(replies: Sequence[Reply], work: Workload, queries: Integers, *, rel: int) -> Outcome:
    """Replies as an outcome: what was served is judged by the scores that came back.

    Args:
        replies: `[n]`.
        work: the queries.
        queries: `[n]` which query each request sent.
        rel: lowest relevant label.

    Raises:
        ValueError: an answer isn't of the server's form.
    """
    outcome = empty(len(replies))
    rankings: dict[tuple[int, tuple[int, ...]], list[int]] = {}  # the requests that got each ranking of each query
    for request, (reply, query) in enumerate(zip(replies, queries.tolist(), strict=True)):
        if reply.status == 0:
            outcome.latency[request] = reply.latency
        elif reply.status == 200:
            outcome.status[request], outcome.latency[request] = ANSWERED, reply.latency
            outcome.share[request] = Budget(reply.budget).value
            rankings.setdefault((query, _order(reply, len(work.docnos[query]))), []).append(request)
        else:
            outcome.status[request] = REJECTED if reply.status == 429 else FAILED
    if rankings:
        _judge(outcome, work, rankings, rel)
    return outcome


def _order(reply: Reply, count: int) -> tuple[int, ...]:
    """Candidates from best to worst, as the answer has them."""
    try:
        ranked = sorted(json.loads(reply.body), key=lambda entry: -entry["score"])
        order = tuple(int(entry["index"]) for entry in ranked)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the server's answer is not a ranking: {reply.body[:100]!r}") from error
    if sorted(order) != list(range(count)):
        raise ValueError(f"the server ranked {len(order)} texts of {count}")
    return order


def _judge(outcome: Outcome, work: Workload, rankings: dict[tuple[int, tuple[int, ...]], list[int]], rel: int) -> None:
    """Fill in the effectiveness of what was served: each distinct ranking is evaluated once, as a query of its own."""
    labels = dict(list(work.qrels.groupby("qid")))
    runs, qrels = [], []
    for number, (query, order) in enumerate(rankings):
        docnos = [work.docnos[query][index] for index in order]
        runs.append(pd.DataFrame({"qid": str(number), "docno": docnos, "score": -np.arange(len(docnos), dtype=float)}))
        qrels.append(labels[work.qids[query]].assign(qid=str(number)))
    quality = effectiveness(pd.concat(runs), pd.concat(qrels), rel=rel)
    rr, ndcg = quality["RR@10"].to_dict(), quality["nDCG@10"].to_dict()
    for number, members in enumerate(rankings.values()):
        outcome.rr[members] = float(rr[str(number)])
        outcome.ndcg[members] = float(ndcg[str(number)])
