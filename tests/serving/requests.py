"""A client of the HTTP interface over a made-up model, and what tests ask of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from elasticranker.serving.app import create_app
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
