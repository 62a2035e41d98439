"""The HTTP interface: budgets, errors, metrics, leaving clients, and the end."""

from __future__ import annotations

import asyncio
import html
import json
import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from elasticranker.serving.app import create_app
from elasticranker.serving.guard import Limits
from tests.serving.doubles import FakeScorer, make_schedule
from tests.serving.requests import TEXTS, client, metrics, rerank


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


def test_an_exact_budget_is_spent_whatever_the_load_would_give() -> None:
    with client(schedule={"slo": 1.0}) as http:  # the load alone would give 10%
        answer = rerank(http, budget="50%", exact=True)
        lowered = rerank(http, budget="50%", texts=["copy"])
    assert (answer.headers["X-Elastic-Budget"], answer.headers["X-Elastic-Spend"]) == ("50%", "35")
    assert lowered.headers["X-Elastic-Budget"] == "10%"


def test_exact_flops_are_spent_to_the_last_one() -> None:
    cost = 490
    unlucky = [flops for flops in range(1, cost) if int(flops / cost * cost) != flops]
    assert unlucky
    with client() as http:
        answers = [rerank(http, texts=["word " * 49], budget=f"{flops} FLOPs", exact=True) for flops in unlucky]
    assert [int(answer.headers["X-Elastic-Spend"]) for answer in answers] == unlucky


def test_a_busy_server_refuses_an_exact_budget_that_would_be_late() -> None:
    scorer = FakeScorer()
    app = create_app(scorer, make_schedule(slo=10.0, max_wait=0.0))
    body = {"query": "copy", "texts": TEXTS, "budget": "full", "exact": True}  # takes 70 s

    async def main() -> list[httpx.Response]:
        async with app.state.worker, asgi(app) as http:
            scorer.hold()
            first = asyncio.create_task(http.post("/rerank", json=body))
            await asyncio.to_thread(scorer.wait_until_ranking)
            refused = await http.post("/rerank", json=body)
            scorer.release()
            return [await first, refused]

    served, refused = asyncio.run(main())
    assert served.headers["X-Elastic-Budget"] == "100%"
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "70")
    assert "this budget, kept exactly, would be too late; try again in 70 s, ask for less" in refused.json()["error"]


def test_a_server_of_one_budget_refuses_an_exact_larger_one() -> None:
    with client(schedule={"static": 0.25}) as http:
        assert rerank(http, budget="10%", exact=True).headers["X-Elastic-Budget"] == "10%"
        answer = rerank(http, budget="50%", exact=True)
    assert answer.status_code == 422
    assert "this server gives every request 25% of its full cost, and this one asks for 50%" in answer.json()["error"]


def test_incoming_scores_reach_the_model() -> None:
    scorer = FakeScorer()
    with client(scorer) as http:
        rerank(http, scores=[3, 2.5, 1])
        rerank(http)
    assert [task.scores for task in scorer.tasks] == [[3, 2.5, 1], None]


def test_other_routes_and_methods_get_an_error_of_the_same_form() -> None:
    with client() as http:
        assert http.get("/nowhere").json() == {"error": "Not Found", "error_type": "request"}
        assert http.get("/rerank").status_code == 405


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


def test_models_are_listed_as_openai_does() -> None:
    with client() as http:
        found = http.get("/v1/models").json()
    (model,) = found["data"]
    assert (found["object"], model["id"], model["object"]) == ("list", "fake", "model")
    assert model["created"] > 0


def test_the_documents_can_be_read_without_a_network() -> None:
    with client() as http:
        answer = http.get("/docs")
        document = http.get("/openapi.json").json()
        assert http.get("/redoc").status_code == 404
    page = answer.text
    assert answer.headers["Content-Type"].startswith("text/html")
    assert re.findall(r"(?:src|href|action)=\S+|url\(|@import|<script|://", page) == [
        'href="openapi.json">openapi.json</a>.</p>'
    ]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            assert f"{method.upper()} {path}" in page
            assert html.escape(route["description"]) in page
    for form in ("RerankRequest", "CohereRequest"):
        for name, field in document["components"]["schemas"][form]["properties"].items():
            assert f"<td>{name}" in page
            assert html.escape(field.get("description", "")) in page
    assert "What this request may cost at most" in page


def test_the_documents_list_every_error() -> None:
    with client() as http:
        document = http.get("/openapi.json").json()
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
