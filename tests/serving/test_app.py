"""The HTTP interface: both forms, every error, limits, key, metrics, leaving clients, and the end."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from elasticranker.serving.app import create_app
from elasticranker.serving.forms import sigmoid
from elasticranker.serving.guard import Limits
from tests.serving.doubles import FakeScorer, make_schedule

TEXTS = ["rivers flow", "copy a folder now", "copy"]


@contextmanager
def client(scorer: FakeScorer | None = None, schedule: dict[str, Any] | None = None, **settings: Any) -> Iterator[Any]:
    app = create_app(scorer or FakeScorer(), make_schedule(**(schedule or {})), **settings)
    with TestClient(app, raise_server_exceptions=False) as made:
        yield made


def rerank(client: Any, **changes: Any) -> Any:
    return client.post("/rerank", json={"query": "copy a folder", "texts": TEXTS, **changes})


def metrics(client: Any) -> dict[str, float]:
    """Every sample that isn't zero: `name` or `name{labels}`."""
    found = {}
    for family in text_string_to_metric_families(client.get("/metrics").text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sample.labels.items())
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found


def test_the_form_of_text_embeddings_inference() -> None:
    with client() as http:
        answer = rerank(http, raw_scores=True)
        assert answer.status_code == 200
        assert [(rank["index"], round(rank["score"])) for rank in answer.json()] == [(1, 3), (2, 1), (0, 0)]
        assert set(answer.json()[0]) == {"index", "score"}
        assert answer.headers["X-Elastic-Budget"] == "100%"
        assert answer.headers["X-Elastic-Spend"] == "70"
        assert rerank(http, return_text=True).json()[0]["text"] == TEXTS[1]


def test_scores_are_sigmoids_unless_raw_ones_are_asked_for() -> None:
    with client() as http:
        raw = rerank(http, raw_scores=True).json()
        squashed = rerank(http).json()
    assert [rank["score"] for rank in squashed] == [sigmoid(rank["score"]) for rank in raw]


@given(st.lists(st.floats(-1e30, 1e30), min_size=2))
def test_sigmoids_lie_from_0_to_1_and_never_turn_an_order_around(scores: list[float]) -> None:
    squashed = [sigmoid(score) for score in sorted(scores)]
    assert squashed == sorted(squashed)
    assert 0 <= squashed[0] <= squashed[-1] <= 1
    assert sigmoid(0.3) == pytest.approx(1 / (1 + math.exp(-0.3)))


@pytest.mark.parametrize("route", ["/v1/rerank", "/v2/rerank"])
def test_the_form_of_cohere_and_jina(route: str) -> None:
    documents = ["rivers flow", {"text": "copy a folder now", "title": "ignored"}, "copy"]
    body = {"model": "any", "query": "copy a folder", "documents": documents, "top_n": 2, "return_documents": True}
    with client() as http:
        answer = http.post(route, json=body)
        short = http.post(route, json={"query": "copy", "documents": documents}).json()
    assert answer.headers["X-Elastic-Spend"] == "70"
    found = answer.json()
    assert [result["index"] for result in found["results"]] == [1, 2]
    assert found["results"][0]["document"] == {"text": "copy a folder now"}
    assert all(0 <= result["relevance_score"] <= 1 for result in found["results"])
    assert (found["model"], found["usage"]) == ("any", {"total_tokens": 7})
    assert len(short["results"]) == 3
    assert "document" not in short["results"][0]


@pytest.mark.parametrize(
    ("budget", "given"),
    [
        ("50%", "50%"),
        ("35 FLOPs", "50%"),
        ("7 s", "10%"),
        ("full", "100%"),
        ("1e9 GFLOPs", "100%"),
        ("1e-300 us", "1e-07%"),
    ],
)
def test_a_client_may_ask_for_less(budget: str, given: str) -> None:
    with client() as http:
        answer = rerank(http, budget=budget)
    assert answer.headers["X-Elastic-Budget"] == given


def test_a_time_is_a_deadline_from_arrival() -> None:
    scorer = FakeScorer()
    scorer.clock.now = 100.0
    with client(scorer) as http:
        rerank(http, budget="7 s")
        rerank(http, budget="7 FLOPs")
    assert [task.deadline for task in scorer.tasks] == [107.0, None]


def test_incoming_scores_reach_the_model() -> None:
    scorer = FakeScorer()
    with client(scorer) as http:
        rerank(http, scores=[3, 2.5, 1])
        rerank(http)
    assert [task.scores for task in scorer.tasks] == [[3, 2.5, 1], None]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": None}, "body.query: Input should be a valid string"),
        ({"texts": []}, "body.texts: List should have at least 1 item"),
        ({"texts": ["a", 3]}, "body.texts.1: Input should be a valid string"),
        ({"texts": "a"}, "body.texts: Input should be a valid list"),
        ({"budget": "fast"}, "budget='fast': write a share of the full cost"),
        ({"budget": "0%"}, "must be above zero"),
        ({"budget": 3}, "body.budget: Input should be a valid string"),
        ({"scores": [1.0]}, "scores: 1 of them for 3 texts; give one a text"),
        ({"scores": ["1", 2, 3]}, "body.scores.0: Input should be a valid number"),
        ({"raw_scores": "yes"}, "body.raw_scores: Input should be a valid boolean"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], message: str) -> None:
    with client() as http:
        answer = rerank(http, **changes)
    assert answer.status_code == 422
    assert message in answer.json()["error"]
    assert answer.json()["error_type"] == "validation"


MALFORMED = [
    b"",
    b"null",
    b"[]",
    b"{",
    b'"text"',
    b"\xff\xfe\x00",
    b'{"query": "a", "texts": ["b"], "scores": [NaN]}',
    b'{"query": "a", "texts": ["b"], "scores": [1e999]}',
    b'{"query": "a", "texts": ["b"], "scores": [' + b"9" * 5000 + b"]}",
    b"[" * 100_000,
    b'{"query": ' * 5_000,
]


@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: body[:30].decode("latin-1"))
@pytest.mark.parametrize("kind", ["application/json", "text/plain"])
def test_a_malformed_body_is_the_clients_mistake(body: bytes, kind: str) -> None:
    with client() as http:
        for route in ("/rerank", "/v1/rerank"):
            answer = http.post(route, content=body, headers={"Content-Type": kind})
            assert answer.status_code in (400, 422)
            assert set(answer.json()) == {"error", "error_type"}


def test_lone_surrogates_are_replaced() -> None:
    body = b'{"query": "\\ud800", "texts": ["\\udfff", "\xc3\xa9"], "return_text": true}'
    with client() as http:
        answer = http.post("/rerank", content=body, headers={"Content-Type": "application/json"})
    assert [rank["text"] for rank in answer.json()] == ["?", "é"]


def test_a_thousand_damaged_bodies_never_hurt() -> None:
    random = Random(0)
    whole = json.dumps({"query": "copy", "texts": TEXTS, "scores": [1, 2, 3], "budget": "50%"}).encode()
    with client() as http:
        for _ in range(1000):
            start, end = sorted(random.choices(range(len(whole) + 1), k=2))
            noise = random.choice([random.randbytes(random.randrange(9)), b"9" * 400, b"[" * 2000, b'"', b"}", b"null"])
            body = whole[:start] + noise + whole[end:]
            answer = http.post("/rerank", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in (200, 400, 422), body
        assert rerank(http).status_code == 200


def test_other_routes_and_methods_get_an_error_of_the_same_form() -> None:
    with client() as http:
        assert http.get("/nowhere").json() == {"error": "Not Found", "error_type": "request"}
        assert http.get("/rerank").status_code == 405


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"texts": ["a"] * 5}, "5 texts: this server takes at most 4"),
        ({"texts": ["a" * 51]}, "a text of 51 characters: this server takes at most 50"),
        ({"query": "a" * 51}, "a text of 51 characters"),
        ({"texts": ["a" * 300]}, "send at most 200 bytes"),
        ({"texts": ["b " * 21], "truncate": False}, "1 texts are too long for the model"),
    ],
)
def test_too_much_is_refused_with_the_limit(changes: dict[str, Any], message: str) -> None:
    with client(limits=Limits(body=200, texts=4, text_length=50)) as http:
        answer = rerank(http, **changes)
        assert answer.status_code == 413
        assert message in answer.json()["error"]
        assert rerank(http).status_code == 200


def test_a_body_that_does_not_say_its_size_is_measured() -> None:
    with client(limits=Limits(body=200)) as http:
        answer = http.post(
            "/rerank", content=(b"x" * 50 for _ in range(5)), headers={"Content-Type": "application/json"}
        )
    assert answer.status_code == 413


def test_too_long_texts_are_cut_unless_that_is_forbidden() -> None:
    with client() as http:
        assert rerank(http, texts=["b " * 21]).status_code == 200
        assert rerank(http, texts=["b " * 20], truncate=False).status_code == 200
        assert metrics(http)["elasticranker_truncated_pairs_total"] == 1


@pytest.mark.parametrize("name", ["body", "texts", "text_length"])
def test_limits_that_make_no_sense_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0"):
        Limits(**{name: 0})


def test_with_a_key_only_health_is_open() -> None:
    with client(api_key="sécret") as http:
        assert http.get("/health").status_code == 200
        for key in (None, "Bearer wrong", "Bearer", "sécret", "Basic sécret", "Bearer sécret2"):
            headers = {} if key is None else {"Authorization": key.encode()}
            for path in ("/info", "/metrics", "/docs", "/openapi.json", "/nowhere"):
                answer = http.get(path, headers=headers)
                assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert http.post("/rerank", content=b"{", headers=headers).status_code == 401
        key = {"Authorization": "Bearer sécret".encode()}
        assert http.post("/rerank", json={"query": "a", "texts": TEXTS}, headers=key).status_code == 200
        assert http.get("/openapi.json", headers=key).json()["components"]["securitySchemes"]


def test_overload_says_when_to_come_back() -> None:
    with client(schedule={"slo": 1.0, "max_wait": 0.0}) as http:
        answer = rerank(http, texts=["word " * 19])
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) == 18  # 19 seconds at the cheapest rung, and an objective of one
        assert answer.json()["error_type"] == "overloaded"
        assert metrics(http)["elasticranker_rejects_total"] == 1


def test_a_failing_model_is_said_so_and_does_not_end_the_server() -> None:
    with client() as http:
        answer = rerank(http, texts=["poison"])
        assert answer.status_code == 500
        assert answer.json() == {
            "error": "ranking failed (RuntimeError: the scorer ate poison)",
            "error_type": "backend",
        }
        assert rerank(http).status_code == 200


def test_an_unforeseen_error_has_the_same_form(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = FakeScorer()
    monkeypatch.setattr(scorer, "prepare", lambda query, texts: 1 / 0)
    with client(scorer) as http:
        answer = rerank(http)
        assert (answer.status_code, answer.json()["error_type"]) == (500, "backend")
        assert metrics(http)["elasticranker_requests_total{route=/rerank,status=500}"] == 1


def test_metrics_tell_what_happened() -> None:
    with client() as http:
        rerank(http)
        rerank(http, budget="50%")
        rerank(http, budget="3%")
        rerank(http, texts=[])
        http.get("/nowhere")
        found = metrics(http)
    assert found["elasticranker_requests_total{route=/rerank,status=200}"] == 3
    assert found["elasticranker_requests_total{route=/rerank,status=422}"] == 1
    assert found["elasticranker_requests_total{route=other,status=404}"] == 1
    assert found["elasticranker_request_seconds_count{route=/rerank}"] == 4
    assert found["elasticranker_rung_total{share=1}"] == found["elasticranker_rung_total{share=0.5}"] == 1
    assert found["elasticranker_rung_total{share=asked for}"] == 1
    assert found["elasticranker_spent_flops_total"] == 70 + 35 + 2
    assert found["elasticranker_pairs_total"] == 9
    assert found["elasticranker_queue_depth"] == found["elasticranker_running"] == 0
    assert found["elasticranker_deadline_misses_total"] == 0


def test_an_answer_after_the_objective_is_a_miss() -> None:
    schedule = make_schedule(slo=100.0)
    scorer = FakeScorer()
    rank = scorer.rank

    def slowly(tasks: Any) -> Any:
        schedule.clock.now += 101.0  # type: ignore[attr-defined]
        return rank(tasks)

    scorer.rank = slowly  # type: ignore[method-assign]
    with TestClient(create_app(scorer, schedule)) as http:
        rerank(http)
        assert metrics(http)["elasticranker_deadline_misses_total"] == 1


def test_two_apps_share_nothing() -> None:
    with client() as one, client() as other:
        rerank(one)
        assert metrics(one)["elasticranker_pairs_total"] == 3
        assert metrics(other)["elasticranker_pairs_total"] == 0


def test_info_names_model_limits_and_ladder() -> None:
    with client(limits=Limits(texts=7)) as http:
        info = http.get("/info").json()
    assert (info["model_id"], info["max_input_length"], info["max_client_batch_size"]) == ("fake", 20, 7)
    assert info["elastic"]["shares"] == [0.1, 0.5, 1.0]


def test_the_documents_list_every_error() -> None:
    with client() as http:
        document = http.get("/openapi.json").json()
        assert http.get("/docs").status_code == 200
    for path in ("/rerank", "/v1/rerank"):
        responses = document["paths"][path]["post"]["responses"]
        assert set(responses) == {"200", "400", "401", "413", "422", "429", "500", "503"}
        assert set(responses["200"]["headers"]) == {"X-Elastic-Budget", "X-Elastic-Spend"}
        assert "Retry-After" in responses["429"]["headers"]


def test_while_it_stops_health_and_requests_say_so() -> None:
    with client() as http:
        http.app.state.worker.closing = True
        for answer in (http.get("/health"), rerank(http)):
            assert (answer.status_code, answer.json()["error_type"]) == (503, "unhealthy")
            assert answer.headers["Retry-After"]


def asgi(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app")


def test_the_end_answers_what_was_accepted() -> None:
    scorer = FakeScorer()
    app = create_app(scorer, make_schedule())

    async def main() -> list[int]:
        worker = app.state.worker
        async with asgi(app) as http:
            async with worker:
                scorer.hold()
                body = {"query": "copy", "texts": TEXTS}
                tasks = [asyncio.create_task(http.post("/rerank", json=body)) for _ in range(5)]
                while worker.admitted < 5:
                    await asyncio.sleep(0)
                worker.closing = True
                refused = await http.post("/rerank", json=body)
                scorer.release()
            return [(await task).status_code for task in tasks] + [refused.status_code]

    assert asyncio.run(main()) == [200] * 5 + [503]


def test_the_work_of_a_client_that_leaves_is_not_done() -> None:
    """ASGI by hand: only a server tells an app that its client has left."""
    scorer = FakeScorer()
    app = create_app(scorer, make_schedule())
    body = json.dumps({"query": "left", "texts": TEXTS}).encode()
    scope: Any = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/rerank",
        "raw_path": b"/rerank",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "client": ("test", 1),
        "server": ("test", 80),
    }
    sent = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        worker = app.state.worker
        async with worker, asgi(app) as http:
            scorer.hold()
            stays = asyncio.create_task(http.post("/rerank", json={"query": "stays", "texts": TEXTS}))
            await asyncio.to_thread(scorer.wait_until_ranking)
            leaves = asyncio.Event()
            messages = iter([{"type": "http.request", "body": body, "more_body": False}])

            async def receive() -> Any:
                for message in messages:
                    return message
                await leaves.wait()
                return {"type": "http.disconnect"}

            leaving = asyncio.create_task(app(scope, receive, send))
            while worker.schedule.waiting < 1:
                await asyncio.sleep(0)
            leaves.set()
            await leaving
            assert worker.schedule.waiting == 0
            scorer.release()
            assert (await stays).status_code == 200
            text = (await http.get("/metrics")).text
            assert "elasticranker_disconnects_total 1.0" in text
            assert 'route="/rerank",status="499"' in text

    asyncio.run(main())
    assert scorer.groups == [["stays"]]
