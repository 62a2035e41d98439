"""The model as the server uses it gives what `ElasticRanker` gives."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from elasticranker import ElasticRanker
from elasticranker.serving.scoring import RankerScorer, Task
from tests.backbones import WORDS
from tests.planning.test_cost import elastic

QUERY = "how do i copy a whole folder"
TEXTS = [" ".join(WORDS[start : start + length]) for start in range(6) for length in (2, 9, 17)]
SCORES = np.linspace(9, 1, len(TEXTS)).tolist()


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> RankerScorer:
    checkpoint = str(elastic(tmp_path_factory.mktemp("source")).save(tmp_path_factory.mktemp("elastic")))
    return RankerScorer(ElasticRanker(checkpoint, dtype="float32", max_query_length=16))


def task(scorer: RankerScorer, share: float, deadline: float | None = None) -> Task:
    prepared = scorer.prepare(QUERY, TEXTS)
    return Task(prepared, share, int(share * prepared.cost), SCORES, deadline)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.2, 0.05])
def test_a_request_is_ranked_as_a_frame_is(scorer: RankerScorer, share: float) -> None:
    docnos = [str(place) for place in range(len(TEXTS))]
    frame = pd.DataFrame({"qid": "1", "query": QUERY, "docno": docnos, "text": TEXTS, "score": SCORES})
    expected = scorer.ranker.with_budget(f"{100 * share:g}%")(frame)
    (scored,) = scorer.rank([task(scorer, share)])
    assert [str(place) for place in scored.order] == expected["docno"].tolist()
    np.testing.assert_allclose(scored.scores, expected["score"], atol=1e-5)


def test_requests_ranked_together_keep_each_its_budget(scorer: RankerScorer) -> None:
    tasks = [task(scorer, share) for share in (0.1, 0.3, 1.0)]
    together = scorer.rank(tasks)
    for one, scored in zip(tasks, together, strict=True):
        assert 0.8 * one.budget <= scored.spend <= one.budget
        assert sorted(scored.order) == list(range(len(TEXTS)))
        assert scored.order == scorer.rank([one])[0].order


def test_a_deadline_that_is_past_keeps_the_incoming_order_at_no_cost(scorer: RankerScorer) -> None:
    (scored,) = scorer.rank([task(scorer, 1.0, time.perf_counter() - 1)])
    assert scored.order == list(range(len(TEXTS)))
    assert scored.spend == 0


def test_long_texts_are_cut_and_counted(scorer: RankerScorer) -> None:
    prepared = scorer.prepare(QUERY, ["a cat", "cat " * 500, "cat " * 500, ""])
    assert prepared.cut == 2
    assert prepared.pairs[1] is prepared.pairs[2]
    assert prepared.tokens == sum(scorer.engine.pairs.length(pair) for pair in prepared.pairs)
    assert scorer.prepare("cat " * 500, ["a dog"]).cut == 1


def test_prices_are_the_rankers(scorer: RankerScorer) -> None:
    frame = pd.DataFrame({"qid": "1", "query": QUERY, "docno": range(len(TEXTS)), "text": TEXTS})
    assert scorer.prepare(QUERY, TEXTS).cost == scorer.ranker.full_cost(frame)["1"]


def test_shares_are_the_ladders_up_to_all(scorer: RankerScorer) -> None:
    assert scorer.shares[-1] == 1.0
    assert scorer.shares == sorted(set(scorer.shares))
    assert {rung["share"] for rung in scorer.describe()["rungs"]} <= set(scorer.shares)
