import pandas as pd
import pyterrier as pt
import pytest

import elasticranker
import pipelines
from elasticranker.collections import open_collection


class ShortestFirst(pt.Transformer):
    """In ElasticRanker's place: ranks short texts first, and notes in `seen` what each budget was asked to rank."""

    def __init__(
        self, model: str = "default", *, budget: str = "full", verbose: bool = False, seen: list | None = None
    ):
        self.model, self.budget, self.verbose = model, budget, verbose
        self.seen = [] if seen is None else seen

    def with_budget(self, budget: str) -> "ShortestFirst":
        return ShortestFirst(self.model, budget=budget, verbose=self.verbose, seen=self.seen)

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        pt.validate.result_frame(inp, extra_columns=["query", "text"], context=self)
        self.seen.append((self.budget, len(inp)))
        return pt.model.add_ranks(inp.assign(score=-1.0 * inp["text"].str.len()))


@pytest.fixture
def collection(tmp_path, monkeypatch):
    monkeypatch.setattr(elasticranker, "ElasticRanker", ShortestFirst, raising=False)
    (tmp_path / "corpus.tsv").write_text("".join(f"d{i}\tfox {'x ' * i}\n" for i in range(9, 0, -1)))
    return open_collection(tmp_path)


def test_rerank_retrieves_reads_and_reranks(collection):
    pipeline = pipelines.rerank(collection, budget="25%", model="mine", k=5)
    assert pipeline.search("fox")["docno"].tolist() == ["d1", "d2", "d3", "d4", "d5"]
    assert (pipeline[-1].model, pipeline[-1].budget) == ("mine", "25%")


def test_a_cascade_scores_many_then_the_best_few_with_shared_weights(collection):
    pipeline = pipelines.cascade(collection, first="5%", keep=2, then="50%", k=6)
    assert pipeline.search("fox")["docno"].tolist() == ["d1", "d2"]
    assert pipeline[-1].seen == [("5%", 6), ("50%", 2)]


@pytest.mark.parametrize("keep", [0, 7])
def test_a_cascade_keeps_at_least_one_and_at_most_what_it_has(collection, keep):
    with pytest.raises(ValueError, match=f"keep={keep} must be between 1 and k=6"):
        pipelines.cascade(collection, keep=keep, k=6)


def test_text_reads_like_the_pipeline_that_it_is_part_of(collection):
    assert pipelines.text(collection) == collection.text_loader()
    by_hand = pipelines.bm25(collection) >> pipelines.text(collection)
    assert by_hand.search("fox")["text"].str.startswith("fox").all()
