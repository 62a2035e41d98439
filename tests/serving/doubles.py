"""A scorer of word overlap whose ranking waits until a test lets it go, and a `requests` session into an app."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import requests
import uvicorn
from fastapi import FastAPI
from requests.adapters import BaseAdapter
from starlette.testclient import TestClient

from elasticranker.planning.calibration import Calibration
from elasticranker.serving.schedule import ElasticSchedule
from elasticranker.serving.scoring import Prepared, Scored, Task
from tests.fakes import FakeClock

SHARES = (0.1, 0.5, 1.0)
PATIENCE = 30.0  # seconds until a test that hangs fails


class OneFlopASecond:
    """A speed profile that is easy to reckon with."""

    def seconds_of(self, flops: float) -> float:
        return float(flops)


class FakeScorer:
    """A text costs 10 FLOPs a word, and its score is how many of the query's words it has.

    More than 20 words are too many for it. Ranking a text with the word `poison` raises. `groups` lists the queries
    that were ranked together; while it is `held`, ranking waits.
    """

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.tasks: list[Task] = []
        self._open = threading.Event()
        self._open.set()
        self._began = threading.Semaphore(0)
        self.clock = FakeClock()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def wait_until_ranking(self) -> None:
        if not self._began.acquire(timeout=PATIENCE):
            raise TimeoutError("nothing is ranked")

    def flops_in(self, seconds: float) -> float:
        return seconds

    def prepare(self, query: str, texts: Sequence[str]) -> Prepared:
        words = [len(text.split()) for text in texts]
        pairs: Any = [(query, text) for text in texts]
        return Prepared(pairs, 10 * max(1, sum(words)), sum(count > 20 for count in words), sum(words))

    def rank(self, tasks: Sequence[Task]) -> list[Scored]:
        self.groups.append([str(task.prepared.pairs[0][0]) for task in tasks])
        self.tasks.extend(tasks)
        self._began.release()
        if not self._open.wait(PATIENCE):
            raise TimeoutError("nobody let the scorer go")
        return [self._rank(task) for task in tasks]

    def _rank(self, task: Task) -> Scored:
        pairs: Any = task.prepared.pairs
        if any("poison" in text.split() for _, text in pairs):
            raise RuntimeError("the scorer ate poison")
        scores = [
            len(set(query.split()) & set(text.split())) - index / 1000 for index, (query, text) in enumerate(pairs)
        ]
        order = sorted(range(len(pairs)), key=lambda index: -scores[index])
        falling = [scores[index] for index in order]
        return Scored(order, falling, Calibration().relevance(falling).tolist(), task.budget)

    def describe(self) -> dict[str, Any]:
        return {"model_id": "fake", "max_input_length": 20, "rungs": []}


def make_schedule(**settings: Any) -> ElasticSchedule:
    """A schedule at a clock that stands still; the objective is a thousand seconds unless told otherwise."""
    return ElasticSchedule(SHARES, OneFlopASecond(), **{"slo": 1000.0, "clock": FakeClock(), **settings})


class AppAdapter(BaseAdapter):
    """Sends what a `requests` session asks for to an app, and notes it."""

    def __init__(self, client: TestClient) -> None:
        super().__init__()
        self.client = client
        self.sent: list[requests.PreparedRequest] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.sent.append(request)
        answer = self.client.request(
            str(request.method), str(request.path_url), content=request.body, headers=dict(request.headers)
        )
        response = requests.Response()
        response.status_code, response.request, response.url = answer.status_code, request, str(request.url)
        response.headers.update(answer.headers)
        response.raw = io.BytesIO(answer.content)
        return response

    def close(self) -> None:
        pass


def session_into(adapter: BaseAdapter) -> requests.Session:
    """A session all of whose requests go to one adapter."""
    session = requests.Session()
    session.mount("http://", adapter)
    return session


@contextmanager
def served(app: FastAPI) -> Iterator[str]:
    """The address of an app that a real server in a thread serves on a free loopback port."""
    started = threading.Event()

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Server(uvicorn.Config(app, log_level="critical"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            if not started.wait(PATIENCE):
                raise TimeoutError("the server does not start")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
