"""What `GET /metrics` shows, in a registry of the app's own."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from elasticranker.serving.schedule import ElasticSchedule
    from elasticranker.serving.scoring import Prepared
    from elasticranker.serving.worker import Answer

ROUTES = ("/rerank", "/v1/rerank", "/v2/rerank", "/v1/models", "/health", "/info", "/metrics")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)


class Metrics:
    """Counters of one app.

    Args:
        schedule: read when the metrics are.
    """

    def __init__(self, schedule: ElasticSchedule) -> None:
        self.registry = registry = CollectorRegistry()
        self._schedule = schedule
        self.requests = Counter("elasticranker_requests", "Requests answered.", ["route", "status"], registry=registry)
        self.seconds = Histogram(
            "elasticranker_request_seconds",
            "Seconds from a request's arrival to its answer.",
            ["route"],
            buckets=SECONDS,
            registry=registry,
        )
        self.rungs = Counter(
            "elasticranker_rung",
            "Requests by the budget chosen, a share of the full cost.",
            ["share"],
            registry=registry,
        )
        self.flops = Counter("elasticranker_spent_flops", "FLOPs spent.", registry=registry)
        self.pairs = Counter("elasticranker_pairs", "Pairs of a query and a text.", registry=registry)
        self.truncated = Counter("elasticranker_truncated_pairs", "Pairs that were cut to fit.", registry=registry)
        self.misses = Counter(
            "elasticranker_deadline_misses", "Requests answered later than the objective.", registry=registry
        )
        self.rejects = Counter("elasticranker_rejects", "Requests refused for overload (429).", registry=registry)
        self.gone = Counter("elasticranker_disconnects", "Clients that left before their answer.", registry=registry)
        for name, text in {
            "waiting": "Requests that wait for the model.",
            "running": "Requests that run.",
            "backlog_seconds": "Predicted seconds until all that was admitted is done.",
            "backlog_flops": "FLOPs promised to what waits and runs.",
            "speed_factor": "Real seconds for each second that the speed profile predicts.",
        }.items():
            metric = "queue_depth" if name == "waiting" else name
            gauge = Gauge(f"elasticranker_{metric}", text, registry=registry)
            gauge.set_function(partial(getattr, schedule, name))

    def answered(self, prepared: Prepared, answer: Answer) -> None:
        """Count a request that was ranked."""
        share = answer.ticket.share
        # Clients may ask for any share: only the schedule's own are names of their own.
        self.rungs.labels(f"{share:.4g}" if share in self._schedule.shares else "asked for").inc()
        self.flops.inc(answer.scored.spend)
        self.pairs.inc(len(prepared.pairs))
        self.truncated.inc(prepared.cut)
        if self._schedule.clock() > answer.ticket.deadline:
            self.misses.inc()


class Observed:
    """ASGI middleware that counts requests by route and status, and times them."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        status, started = 500, time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, sending)
        finally:
            route = scope["path"] if scope["path"] in ROUTES else "other"
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(time.perf_counter() - started)
