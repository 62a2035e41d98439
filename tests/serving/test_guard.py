"""What the server takes: limits on sizes, and a key."""

from __future__ import annotations

from typing import Any

import pytest

from elasticranker.serving.guard import Limits
from tests.serving.requests import TEXTS, client, metrics, rerank


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
            for path in ("/info", "/metrics", "/v1/models", "/docs", "/openapi.json", "/nowhere"):
                answer = http.get(path, headers=headers)
                assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert http.post("/rerank", content=b"{", headers=headers).status_code == 401
        key = {"Authorization": "Bearer sécret".encode()}
        assert http.post("/rerank", json={"query": "a", "texts": TEXTS}, headers=key).status_code == 200
        assert http.get("/openapi.json", headers=key).json()["components"]["securitySchemes"]
