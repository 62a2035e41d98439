"""What a score of the shipped checkpoint means to a client: the same at every budget, alone and in company."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
from starlette.testclient import TestClient

from elasticranker import ElasticRanker
from elasticranker.model.speed import SpeedProfile
from elasticranker.serving.app import create_app
from elasticranker.serving.schedule import ElasticSchedule
from elasticranker.serving.scoring import RankerScorer

BUDGETS = ["full", "50%", "25%", "10%", "5%"]
RELEVANT, OFF_TOPIC = 0.5, 0.1
LESS = {("capital city of france", "10%"): 0.4}  # it pays for three narrow layers, which say 0.41 of Paris in company
TICK, BREAD, EMPTY = "a deer tick is a small arachnid", "how to bake bread", ""
CASES = {
    "what is a deer tick": (TICK, [BREAD, EMPTY, "the stock market fell on monday"]),
    "capital city of france": ("Paris is the capital and largest city of France.", ["rivers flow to the sea", EMPTY]),
}


@pytest.fixture(scope="module")
def scorer() -> RankerScorer:
    ranker = ElasticRanker()
    ranker._loaded.speed = SpeedProfile((1e9, 1e12), (0.01, 10.0))  # nothing here depends on it: not worth measuring
    return RankerScorer(ranker)


@pytest.fixture(scope="module")
def http(scorer: RankerScorer) -> Iterator[Any]:
    schedule = ElasticSchedule(scorer.shares, scorer.profile, slo=3600.0)
    with TestClient(create_app(scorer, schedule)) as client:
        yield client


def relevance(http: Any, query: str, texts: list[str], budget: str) -> list[float]:
    """Each text's relevance score, in the order of the texts."""
    answer = http.post("/v1/rerank", json={"query": query, "documents": texts, "budget": budget})
    assert answer.status_code == 200, answer.text
    found = {result["index"]: result["relevance_score"] for result in answer.json()["results"]}
    return [found[index] for index in range(len(texts))]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("query", CASES)
def test_a_threshold_tells_relevant_from_off_topic_at_every_budget(http: Any, query: str, budget: str) -> None:
    good, others = CASES[query]
    for texts in ([good, *others], [*others, good]):
        scores = dict(zip(texts, relevance(http, query, texts, budget), strict=True))
        assert scores[good] > LESS.get((query, budget), RELEVANT)
        assert all(scores[text] < OFF_TOPIC for text in others)
    assert relevance(http, query, [good], budget)[0] > RELEVANT
    assert relevance(http, query, [BREAD], budget)[0] < OFF_TOPIC


def test_both_forms_say_the_same_and_raw_scores_are_the_models(http: Any) -> None:
    body = {"query": "what is a deer tick", "texts": [TICK, BREAD], "budget": "full"}
    probable = http.post("/rerank", json=body).json()
    assert [rank["score"] for rank in probable] == relevance(http, body["query"], body["texts"], "full")
    raw = [rank["score"] for rank in http.post("/rerank", json={**body, "raw_scores": True}).json()]
    frame = pd.DataFrame({"qid": "1", "query": body["query"], "docno": ["a", "b"], "text": body["texts"]})
    np.testing.assert_allclose(raw, ElasticRanker()(frame)["score"], atol=1e-5)


def test_a_frames_scores_mean_what_the_server_says(scorer: RankerScorer, http: Any) -> None:
    texts = [TICK, BREAD, EMPTY]
    frame = pd.DataFrame({"qid": "1", "query": "what is a deer tick", "docno": ["a", "b", "c"], "text": texts})
    for budget in BUDGETS:
        ranked = scorer.ranker.with_budget(budget)(frame).sort_values("docno")
        expected = relevance(http, "what is a deer tick", texts, budget)
        np.testing.assert_allclose(scorer.ranker.relevance(ranked["score"]), expected, atol=1e-5)
