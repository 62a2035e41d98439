"""Routing between two budgets of a real ElasticRanker: scores, costs known beforehand, and FLOPs really spent."""

import pandas as pd
import pyterrier as pt
import pytest

from elasticranker import ElasticRanker, EnergyRouter
from tests.backbones import WORDS, save_backbone
from tests.judges import COLUMNS


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return ElasticRanker(save_backbone(tmp_path_factory.mktemp("tiny")), dtype="float32", device="cpu", trace=True)


@pytest.fixture(scope="module")
def candidates():
    """Six queries with five candidates of different lengths."""
    rows = [
        (f"q{q}", f"what is {WORDS[q]}", f"d{d}", " ".join(WORDS[q + d : q + 5 * d + 3]), 9.0 - d, d)
        for q in range(6)
        for d in range(5)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


class Counted(pt.Transformer):
    """A ranker with its FLOPs added up."""

    def __init__(self, ranker):
        self.ranker, self.budget, self.full_cost, self.spent = ranker, ranker.budget, ranker.full_cost, 0

    def transform(self, inp):
        ranked = self.ranker.transform(inp)
        self.spent += ranked["spend"].sum()
        return ranked


def test_each_query_has_the_ranking_of_the_ranker_that_it_was_routed_to(full, candidates):
    swift = full.with_budget("20%")
    routed = EnergyRouter(swift, full, energy="std", super_share=0.5, trace=True).transform(candidates)
    assert routed.groupby("qid")["routed_to"].first().value_counts().to_dict() == {"swift": 3, "super": 3}
    alone = {"swift": swift.transform(candidates), "super": full.transform(candidates)}
    for (qid, name), ranked in routed.groupby(["qid", "routed_to"]):
        expected = alone[name][alone[name]["qid"] == qid]
        assert ranked["docno"].tolist() == expected["docno"].tolist()
        assert ranked["score"].tolist() == pytest.approx(expected["score"].tolist(), abs=1e-5)
    assert list(routed.columns) == [*COLUMNS, "energy", "routed_to", "spend"]


@pytest.mark.parametrize("budget", ["40%", "50%", "90%", "full"])
@pytest.mark.parametrize("super_depth", [None, 2])
def test_the_mean_of_the_flops_really_spent_is_within_the_budget(full, candidates, budget, super_depth):
    swift, super = Counted(full.with_budget("20%")), Counted(full)
    router = EnergyRouter(swift, super, energy="random", budget=budget, super_depth=super_depth)
    router.transform(candidates)
    allowed = router.budget.value * full.full_cost(candidates).sum()
    assert super.spent > 0
    assert swift.spent + super.spent <= allowed


def test_it_tells_the_flops_that_both_really_spent(full, candidates):
    swift, super = Counted(full.with_budget("20%")), Counted(full)
    routed = EnergyRouter(swift, super, energy="std", super_share=0.5, super_depth=2, trace=True).transform(candidates)
    assert super.spent > 0
    assert routed["spend"].sum() == swift.spent + super.spent


@pytest.mark.parametrize("trace", [True, False])
def test_an_empty_frame_promises_a_spend_only_where_both_tell_it(full, candidates, trace):
    rankers = [full.traced() if trace else full._sibling(trace=False) for _ in range(2)]
    router = EnergyRouter(*rankers, super_share=0.5, trace=True)
    some, none = router.transform(candidates), router.transform(candidates.iloc[:0])
    assert list(none.columns) == list(some.columns) and ("spend" in some) == trace


def test_an_empty_frame_loads_no_weights(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert", "architectures": ["BertForSequenceClassification"]}')
    ranker = ElasticRanker(str(tmp_path))  # which has no weights to load
    router = EnergyRouter(ranker.with_budget("5%"), ranker, budget="50%")
    assert list(router.transform(pd.DataFrame(columns=COLUMNS)).columns) == COLUMNS
    assert pt.inspect.transformer_inputs(router) == [["qid", "docno", "query", "text"]]


def test_equal_routers_share_the_prefix_of_a_pipeline(full):
    routers = [EnergyRouter(full.with_budget("5%"), full, super_share=0.5) for _ in range(2)]
    assert routers[0] == routers[1]
    assert len(set(routers)) == 1
    labels = [p["label"] for p in pt.schematic.transformer_schematic(routers[0])["inner_pipelines"]]
    assert labels == ["ElasticRanker", "ElasticRanker"]
