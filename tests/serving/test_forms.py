"""Requests and answers: both forms, and every way to get a body wrong."""

from __future__ import annotations

import json
import math
from random import Random
from typing import Any

import pytest

from tests.serving.doubles import FakeScorer
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
        assert rerank(http, truncation_direction="Right").status_code == 200


def test_scores_are_probabilities_unless_raw_ones_are_asked_for() -> None:
    with client() as http:
        raw = rerank(http, raw_scores=True).json()
        probable = rerank(http).json()
    expected = [1 / (1 + math.exp(-rank["score"])) for rank in raw]
    assert [rank["score"] for rank in probable] == pytest.approx(expected)


@pytest.mark.parametrize("route", ["/v1/rerank", "/v2/rerank"])
def test_the_form_of_cohere_and_jina(route: str) -> None:
    documents = ["rivers flow", {"text": "copy a folder now", "title": "comes back"}, "copy"]
    body = {"model": "any", "query": "copy a folder", "documents": documents, "top_n": 2, "return_documents": True}
    with client() as http:
        answer = http.post(route, json=body)
        short = http.post(route, json={"query": "copy", "documents": documents}).json()
    assert answer.headers["X-Elastic-Spend"] == "70"
    found = answer.json()
    assert [result["index"] for result in found["results"]] == [1, 2]
    assert [result["document"] for result in found["results"]] == [documents[1], {"text": "copy"}]
    assert all(0 <= result["relevance_score"] <= 1 for result in found["results"])
    assert (found["model"], found["usage"]) == ("any", {"total_tokens": 7})
    assert found["meta"]["tokens"] == {"input_tokens": 7, "output_tokens": 0}
    assert len(short["results"]) == 3
    assert "document" not in short["results"][0]


def documents(http: Any, route: str = "/v1/rerank", **changes: Any) -> Any:
    return http.post(route, json={"query": "copy a folder", "documents": TEXTS, **changes})


OBJECTS = [
    {"title": "rivers", "text": "copy a folder", "year": 1999},
    {"title": "copy a folder", "text": "rivers", "tags": ["a", {"b": None}]},
    {"title": None, "text": "rivers flow", "lines": "a\nb"},
]


@pytest.mark.parametrize(
    ("fields", "texts"),
    [
        (None, ["copy a folder", "rivers", "rivers flow"]),
        ([], ["copy a folder", "rivers", "rivers flow"]),
        (
            ["title", "text"],
            ["title: rivers\ntext: copy a folder", "title: copy a folder\ntext: rivers", "text: rivers flow"],
        ),
        (["year", "tags", "lines"], ["year: 1999", 'tags: ["a", {"b": null}]', "lines: a\nb"]),
    ],
)
def test_objects_are_ranked_by_the_fields_that_are_named_and_come_back_whole(
    fields: list[str] | None, texts: list[str]
) -> None:
    scorer = FakeScorer()
    with client(scorer) as http:
        answer = documents(http, documents=[*OBJECTS, "a text"], rank_fields=fields, return_documents=True)
    assert [text for _, text in scorer.tasks[0].prepared.pairs] == [*texts, "a text"]
    found = {result["index"]: result["document"] for result in answer.json()["results"]}
    assert found == dict(enumerate([*OBJECTS, {"text": "a text"}]))


def test_at_rerank_the_body_chooses_the_form() -> None:
    with client() as http:
        texts = rerank(http).json()
        found = documents(http, "/rerank", top_n=2).json()
        bare = documents(http, "/rerank", top_n=2, return_documents=False).json()
        both = rerank(http, documents=["ignored"]).json()
    assert [rank["index"] for rank in texts] == [rank["index"] for rank in both] == [1, 2, 0]
    assert [(result["index"], result["document"]) for result in found["results"]] == [
        (1, {"text": TEXTS[1]}),
        (2, {"text": TEXTS[2]}),
    ]
    assert set(bare["results"][0]) == {"index", "relevance_score"}


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"top_k": 2}, 2),
        ({"top_n": 1, "top_k": 2}, 1),
        ({"top_n": None, "top_k": 2}, 2),
        ({"top_n": 0}, 3),
        ({"top_n": 9}, 3),
        ({"top_n": "2"}, 2),
    ],
)
def test_the_best_few_under_either_name(changes: dict[str, Any], count: int) -> None:
    with client() as http:
        assert len(documents(http, **changes).json()["results"]) == count


@pytest.mark.parametrize(("quoted", "flag"), [("true", True), ("True", True), ("false", False), ("False", False)])
def test_quoted_flags_are_flags(quoted: str, flag: bool) -> None:
    with client() as http:
        assert ("document" in documents(http, return_documents=quoted).json()["results"][0]) == flag
        assert ("text" in rerank(http, return_text=quoted).json()[0]) == flag
        assert rerank(http, raw_scores=quoted).json() == rerank(http, raw_scores=flag).json()
        assert rerank(http, texts=["b " * 21], truncate=quoted).status_code == (200 if flag else 413)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"documents": []}, "body.documents: List should have at least 1 item"),
        ({"documents": [1]}, "body.documents.0: Value error, send a text, or an object with the field 'text'"),
        (
            {"documents": ["a", {"title": "b"}]},
            "documents.1: an object needs a 'text', or name its fields with rank_fields",
        ),
        ({"documents": [{"text": 3}]}, "documents.0: an object needs a 'text'"),
        (
            {"documents": OBJECTS, "rank_fields": ["year"]},
            "documents.1: none of the fields that rank_fields names is there",
        ),
        ({"rank_fields": "text"}, "body.rank_fields: Input should be a valid list"),
        ({"top_n": -1}, "body.top_n: Input should be greater than or equal to 0"),
        ({"top_n": "many"}, "body.top_n: Input should be a valid integer"),
        ({"top_n": "true"}, "body.top_n: Input should be a valid integer"),
        ({"return_documents": "1"}, "body.return_documents: Input should be a valid boolean"),
    ],
)
@pytest.mark.parametrize("route", ["/rerank", "/v1/rerank"])
def test_what_is_wrong_with_documents_is_named(route: str, changes: dict[str, Any], message: str) -> None:
    with client() as http:
        answer = documents(http, route, **changes)
    assert answer.status_code == 422
    assert message in answer.json()["error"]


@pytest.mark.parametrize("depth", [40, 100, *range(900, 1000, 5), 100_000])
def test_objects_that_cannot_be_sent_back_are_refused_in_time(depth: int) -> None:
    deep = b'{"query": "a", "documents": [{"text": "b", "deep": ' + b"[" * depth + b"]" * depth + b"}]}"
    with client() as http:
        answer = http.post("/rerank", content=deep, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200 if depth < 50 else answer.status_code in (400, 422)


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
        ({"truncation_direction": "Left"}, "body.truncation_direction: Input should be 'Right' or 'right'"),
        ({"exact": True}, "exact: name the budget to keep, a share or FLOPs, such as '25%'"),
        ({"exact": True, "budget": "5 ms"}, "a time is never exact"),
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
    b'{"query": "a", "documents": [{"text": "b", "x": NaN}], "texts": ["a", 1]}',
    b'{"query": "a", "documents": [{"text": "b", "x": [1e999]}], "texts": 1}',
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
    objects = b'{"query": "a", "documents": [{"text": "b", "\\ud800": ["\\udfff"]}], "rank_fields": ["\\udbff"]}'
    with client() as http:
        answer = http.post("/rerank", content=body, headers={"Content-Type": "application/json"})
        whole = http.post("/rerank", content=objects, headers={"Content-Type": "application/json"})
    assert [rank["text"] for rank in answer.json()] == ["?", "é"]
    assert whole.json()["results"][0]["document"] == {"text": "b", "?": ["?"]}


def test_a_thousand_damaged_bodies_never_hurt() -> None:
    random = Random(0)
    texts = {"query": "copy", "texts": TEXTS, "scores": [1, 2, 3], "budget": "50%", "exact": "true"}
    objects = {"query": "copy", "documents": OBJECTS, "rank_fields": ["title", "text"], "top_k": "2"}
    with client() as http:
        for number in range(1000):
            whole = json.dumps(objects if number % 2 else texts).encode()
            start, end = sorted(random.choices(range(len(whole) + 1), k=2))
            noise = random.choice([random.randbytes(random.randrange(9)), b"9" * 400, b"[" * 2000, b'"', b"}", b"null"])
            body = whole[:start] + noise + whole[end:]
            answer = http.post("/rerank", content=body, headers={"Content-Type": "application/json"})
            assert answer.status_code in (200, 400, 422), body
        assert rerank(http).status_code == 200
