"""`ElasticRanker.explain`: it tells what `transform` does, and what notebooks show of a ranker."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from elasticranker import ElasticRanker
from elasticranker.planning.plan import SubNet
from elasticranker.planning.words import in_words
from tests.planning.test_cost import elastic
from tests.test_ranker import frame


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> ElasticRanker:
    source = elastic(tmp_path_factory.mktemp("source"))
    return ElasticRanker(str(source.save(tmp_path_factory.mktemp("elastic"))), budget="25%")


@pytest.fixture(scope="module")
def query() -> pd.DataFrame:
    return frame(1).sample(frac=1, random_state=0)  # in no order: the ranks say which


def test_it_tells_the_ranking_that_transform_gives(ranker: ElasticRanker, query: pd.DataFrame) -> None:
    table, ranked = ranker.explain(query).table, ranker.traced()(query)
    assert table["docno"].tolist() == ranked["docno"].tolist()
    np.testing.assert_allclose(table["score"], ranked["score"])
    np.testing.assert_allclose(table["GFLOPs"], ranked["spend"] / 1e9)
    exits = zip(ranked["exit_depth"], ranked["exit_width"], strict=True)
    assert table["scored by"].tolist() == [in_words(SubNet(d, w) if d >= 0 else None, 3) for d, w in exits]


def test_it_tells_where_each_candidate_moved(ranker: ElasticRanker, query: pd.DataFrame) -> None:
    table = ranker.explain(query).table
    came = dict(zip(query["docno"], query["rank"], strict=True))
    assert table["rank before"].tolist() == [came[docno] for docno in table["docno"]]
    assert table["rank"].tolist() == list(range(30))
    assert (table["moved"] == table["rank before"] - table["rank"]).all()


def test_its_sums_are_what_was_spent(ranker: ElasticRanker, query: pd.DataFrame) -> None:
    explained = ranker.explain(query)
    assert explained.by_subnet["candidates"].sum() == 30
    assert explained.by_subnet["GFLOPs"].sum() == pytest.approx(explained.gflops)
    assert 0 < explained.gflops <= 0.25 * explained.full_gflops
    assert explained.full_gflops == pytest.approx(ranker.full_cost(query).sum() / 1e9)


def test_it_is_shown_with_query_plan_table_and_chart(ranker: ElasticRanker, query: pd.DataFrame) -> None:
    explained = ranker.explain(query)
    assert query["query"].iloc[0] in str(explained) and str(explained.plan) in str(explained)
    assert "data:image/png" in explained._repr_html_() and explained.table["docno"][0] in explained._repr_html_()
    assert len(explained.plot().axes[0].lines) == 30
    assert explained.table["docno"][29] in repr(explained)


@pytest.mark.parametrize("queries", [0, 2])
def test_one_query_at_a_time(ranker: ElasticRanker, queries: int) -> None:
    with pytest.raises(ValueError, match=f"one query, and this frame has {queries} queries: pick one"):
        ranker.explain(frame(2).iloc[: 30 * queries])


def test_tracing_keeps_the_weights(ranker: ElasticRanker) -> None:
    assert ranker.traced().trace and ranker.traced()._loaded is ranker._loaded and not ranker.trace


def test_a_notebook_shows_budget_and_plan_in_words(ranker: ElasticRanker) -> None:
    shown = ranker._repr_html_()
    assert shown is not None and "pts-" in shown  # PyTerrier's schematic
    for words in (
        "a share of what the full model costs",
        "auto: ",
        "of 100 candidates of 128 tokens each: all candidates",
    ):
        assert words in shown


def test_what_isnt_there_is_not_fetched_to_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    ranker = ElasticRanker("owner/name", budget="25%")
    monkeypatch.setattr("elasticranker.model.loaded.load", lambda *_: pytest.fail("it was loaded"))
    assert "known once the model is fetched" in str(ranker._repr_html_())


@pytest.mark.parametrize("budget", ["2 MFLOPs", "5 ms"])
def test_an_absolute_budget_names_no_plan(ranker: ElasticRanker, budget: str) -> None:
    assert "by the share of a query&#x27;s full cost" in str(ranker.with_budget(budget)._repr_html_())
