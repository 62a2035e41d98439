"""Made-up measurements, and a server that answers at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np

from elasticranker.model.speed import SpeedProfile
from experiments.online.quality import Rungs

SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
SECONDS = (0.06, 0.1, 0.14, 0.23, 0.4, 0.6)
NDCG = (0.5, 0.58, 0.63, 0.66, 0.68, 0.68)
FULL = 10**9


def rungs(queries: int = 1) -> Rungs:
    """Queries of one size whose quality grows with the logarithm of the budget; 0.6 s in full."""
    flops = [int(share * FULL) for share in SHARES]
    quality = np.tile(NDCG, (queries, 1))
    return Rungs(
        SHARES,
        np.full(queries, FULL),
        np.tile(flops, (queries, 1)),
        quality + 0.1,
        quality,
        SpeedProfile(tuple(map(float, flops)), SECONDS),
    )


def one_rung(seconds: float = 1.0) -> Rungs:
    """One query that always takes so long."""
    one = np.ones((1, 1))
    return Rungs((1.0,), np.array([FULL]), np.full((1, 1), FULL), one, one, SpeedProfile((float(FULL),), (seconds,)))


class FakeServer:
    """Answers `POST /rerank` at once, texts in reverse order, unless a test says otherwise.

    `statuses` are answered in turn before that; queries in `silent` get no answer until the server ends. `bodies` are
    the requests that came.
    """

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.silent: set[str] = set()
        self.bodies: list[dict[str, Any]] = []
        self.budget = "25%"
        self.over = threading.Event()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        self.bodies.append(body)
        if body["query"] in self.silent:
            self.over.wait()
        count = len(body["texts"])
        ranked = [{"index": index, "score": index / count} for index in reversed(range(count))]
        data = json.dumps(ranked).encode()
        handler.send_response(self.statuses.pop(0) if self.statuses else 200)
        handler.send_header("X-Elastic-Budget", self.budget)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        handler.wfile.write(data)

    @contextmanager
    def running(self) -> Iterator[str]:
        """Its address, while it runs."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                fake.answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.daemon_threads = True
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield f"http://127.0.0.1:{server.server_port}"
            finally:
                self.over.set()
                server.shutdown()
                thread.join()
