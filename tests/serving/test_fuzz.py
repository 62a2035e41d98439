"""Whatever a client sends, the server answers as its own documents say, and never with a failure of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elasticranker.serving.app import create_app
from elasticranker.serving.guard import Limits
from tests.serving.doubles import FakeScorer, make_schedule, served

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")


@pytest.fixture(scope="module")
def documents() -> Iterator[Any]:
    schedule = make_schedule(slo=1e12)  # nothing is refused for overload
    with served(create_app(FakeScorer(), schedule, limits=Limits(body=5000, texts=50, text_length=1000))) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank"])
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_answers_are_as_documented(documents: Any, path: str, mode: Any, data: st.DataObject) -> None:
    case = data.draw(documents[path]["POST"].as_strategy(generation_mode=mode))
    checks = schemathesis.checks
    wanted = [
        checks.not_a_server_error,
        checks.status_code_conformance,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
    ]
    response = case.call()
    if response.status_code != 413:  # a refusal too: too large to be looked at
        wanted.append(checks.negative_data_rejection)
    case.validate_response(response, checks=wanted)
