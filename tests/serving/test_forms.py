"""Requests and answers: both forms, and every way to get a body wrong."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

import pytest

from tests.serving.requests import TEXTS, client, rerank


def test_the_form_of_text_embeddings_inference() -> None:
    with client() as http:
        answer = rerank(http, raw_scores=True)
        assert answer.status_code == 200
        assert [(rank["index"], round(rank["score"])) for rank in answer.json()] == [(1, 3), (2, 1), (0, 0)]
        assert set(answer.json()[0]) == {"index", "score"}
        assert answer.headers["X-Elastic-Budget"] == "100%"
        assert answer.headers["X-Elastic-Spend"] == "70"
        assert rerank(http, return_text=True).json()[0]["text"] == TEXTS[1]


def test_scores_are_probabilities_unless_raw_ones_are_asked_for() -> None:
    with client() as http:
        raw = rerank(http, raw_scores=True).json()
        probable = rerank(http).json()
    expected = [1 / (1 + math.exp(-rank["score"])) for rank in raw]
    assert [rank["score"] for rank in probable] == pytest.approx(expected)


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
