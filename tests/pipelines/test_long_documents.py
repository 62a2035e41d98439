"""Passages of long documents compete for a query's budget; each document is as good as its best passage."""

import pandas as pd
import pyterrier as pt
import pytest

from elasticranker import ElasticRanker
from tests.planning.test_cost import elastic

LONG = " ".join(["money flows to the bank"] * 12)


@pytest.fixture(scope="module")
def ranker(tmp_path_factory):
    checkpoint = elastic(tmp_path_factory.mktemp("backbone")).save(tmp_path_factory.mktemp("checkpoint"))
    return ElasticRanker(str(checkpoint), budget="full", dtype="float32", trace=True)


@pytest.fixture
def candidates():
    texts = [f"{LONG} the red fox jumps over the river", "a cat", f"the quick brown fox {LONG}", LONG]
    rows = [(qid, "red fox", f"d{i}", text, 9.0 - i, i) for qid in "12" for i, text in enumerate(texts)]
    return pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score", "rank"])


def passages() -> pt.Transformer:
    return pt.text.sliding(text_attr="text", prepend_attr=None, length=10, stride=5)


def test_a_document_is_as_good_as_its_best_passage(ranker, candidates):
    ranked = (passages() >> ranker)(candidates)
    best = ranked.assign(document=ranked["docno"].str.split("%").str[0]).groupby(["qid", "document"])["score"].max()
    found = (passages() >> ranker >> pt.text.max_passage())(candidates)
    assert found.set_index(["qid", "docno"])["score"].to_dict() == best.to_dict()
    assert (found.groupby("qid")["docno"].nunique() == 4).all()


@pytest.mark.parametrize("budget", ["50%", "10%", "1%"])
def test_the_budget_is_the_querys_however_many_passages_it_has(ranker, candidates, budget):
    cut = passages()(candidates)
    allowed = ranker.full_cost(cut) * float(budget.rstrip("%")) / 100
    ranked = ranker.with_budget(budget)(cut)
    assert len(ranked) == len(cut) > 2 * len(candidates)
    assert (ranked.groupby("qid")["spend"].sum() <= allowed).all()
