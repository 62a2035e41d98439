"""`trade_off`: the experiment as a function, over pipelines, topics and qrels that are at hand."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest

from elasticranker import EnergyRouter
from elasticranker.evaluation import TradeOff, trade_off
from elasticranker.evaluation.measures import bootstrap
from elasticranker.evaluation.tradeoff import COSTS
from elasticranker.model.checkpoint import query_key
from tests.fakes import FakeRanker

QUERIES, DEPTH = 6, 8
MEASURES = ["RR@10", "nDCG@10"]
TOPICS = pd.DataFrame({"qid": [f"q{n}" for n in range(QUERIES)], "query": [f"word{n}" for n in range(QUERIES)]})
QRELS = pd.DataFrame({"qid": TOPICS["qid"], "docno": [f"d{n}" for n in range(QUERIES)], "label": 1})


class Front(pt.Transformer):
    """All documents for every topic, the answer of query n at rank n; it remembers whom it was asked for."""

    schematic: ClassVar = {"label": "Front", "help_url": None}

    def __init__(self) -> None:
        self.asked: list[str] = []

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        self.asked += inp["qid"].tolist()
        docs = pd.DataFrame({"docno": [f"d{n}" for n in range(DEPTH)], "text": [f"word{n} more" for n in range(DEPTH)]})
        return pt.model.add_ranks(inp.merge(docs.assign(score=-np.arange(DEPTH, dtype=float)), how="cross"))


def rankers(*budgets: str, **settings) -> list[FakeRanker]:
    return [FakeRanker(budget=budget, trace=True, **settings) for budget in budgets]


def compare(*budgets: str, **settings) -> TradeOff:
    return trade_off(Front(), rankers(*budgets), TOPICS, QRELS, MEASURES, **settings)


def test_a_row_for_the_first_stage_and_one_a_ranker():
    table = compare("full", "25%").table
    assert list(table.columns) == ["system", "budget", *MEASURES, *COSTS, "p RR@10", "p nDCG@10"]
    assert table["system"].tolist() == ["first-stage", "fake", "fake"]
    assert table["budget"].tolist() == ["", "100%", "25%"]
    assert table["RR@10"].tolist() == pytest.approx(
        [np.mean(1 / np.arange(1, 7)), 1.0, (1 + 1 + 1 / 3 + 0.25 + 0.2 + 1 / 6) / 6]
    )


def test_only_judged_topics_are_searched_for():
    front = Front()
    compared = trade_off(front, rankers("full"), TOPICS, QRELS[QRELS["qid"] != "q3"], MEASURES)
    assert "q3" not in front.asked and len(front.asked) == QUERIES - 1
    assert compared.manifest["job"]["queries"] == QUERIES - 1


def test_candidates_may_be_a_frame_and_names_numbers():
    frame = Front()(TOPICS).assign(qid=lambda found: found["qid"].str[1:].astype(int))
    topics, qrels = (table.assign(qid=table["qid"].str[1:].astype(int)) for table in (TOPICS, QRELS))
    for given in (frame, frame.drop(columns=["rank"])):
        assert trade_off(given, rankers("full"), topics, qrels, MEASURES).table["RR@10"][1] == 1.0


def test_queries_that_a_ladder_was_tuned_on_are_left_out_and_counted():
    ranker = rankers("full")[0]
    ranker.tuned_on = frozenset({query_key("word0"), query_key("word5")})
    compared = trade_off(Front(), [ranker], TOPICS, QRELS, MEASURES)
    assert sorted(compared.per_query["qid"].unique()) == ["q1", "q2", "q3", "q4"]
    assert "2 left out: the ladder was tuned on them" in compared._repr_html_()


def test_a_mapping_names_the_rankers():
    first, second = rankers("full", "full")
    compared = trade_off(Front(), {"ours": first, "theirs": second}, TOPICS, QRELS, MEASURES)
    assert compared.table["system"].tolist() == ["first-stage", "ours", "theirs"]


def test_two_of_one_name_are_refused_with_the_remedy():
    with pytest.raises(ValueError, match="two are called 'fake 100%': give a mapping from names to rankers"):
        compare("full", "100%")


def test_none_is_refused():
    with pytest.raises(ValueError, match="rankers="):
        trade_off(Front(), [], TOPICS, QRELS, MEASURES)


def test_a_router_is_compared_without_a_budget_and_with_what_it_spends():
    class Traced(FakeRanker):
        def traced(self):
            return self

    swift = Traced(budget="25%", trace=True)
    routed = EnergyRouter(swift, Traced(trace=True), super_share=1.0)
    compared = trade_off(Front(), {"routed": routed, "full": FakeRanker(trace=True)}, TOPICS, QRELS, MEASURES)
    row = compared.table.set_index("system").loc["routed"]
    assert row["budget"] == "" and row["gflops_mean"] == pytest.approx(
        2 * 2 + 2 * 8
    )  # words of 2, then of 8 candidates
    assert compared.plot()._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"topics": TOPICS.drop(columns="query")}, KeyError, "topics lack the columns"),
        ({"qrels": QRELS.rename(columns={"label": "rel"})}, KeyError, "qrels lack the columns"),
        ({"qrels": QRELS.assign(qid="other")}, ValueError, "no query of these topics is judged"),
        ({"front": Front()(TOPICS).assign(qid="other")}, ValueError, "do the qids of topics and qrels match"),
        ({"front": TOPICS}, KeyError, "the candidates lack the columns"),
        ({"measures": ["Fame@10"]}, ValueError, "measure 'Fame@10'"),
        ({"baseline": "7%"}, ValueError, "baseline='7%'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_reranking(changes, error, message):
    ranker = rankers("full")[0]
    given = {"front": Front(), "rankers": [ranker], "topics": TOPICS, "qrels": QRELS, "measures": MEASURES, **changes}
    with pytest.raises(error, match=message):
        trade_off(**given)
    assert ranker.scored == []


def test_with_a_folder_it_grows_and_measures_only_what_is_new(tmp_path):
    compare("full", folder=tmp_path)
    later = rankers("full", "25%")
    compared = trade_off(Front(), later, TOPICS, QRELS, MEASURES, folder=tmp_path)
    assert later[0].scored == [] and len(later[1].scored) > 0
    assert compared.table["budget"].tolist() == ["", "100%", "25%"]


def test_saving_writes_what_the_command_writes_but_the_journal(tmp_path):
    compared = compare("full", "25%")
    compared.save(tmp_path / "out")
    names = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file()}
    runs = {f"runs/{name}.trec.gz" for name in ("first-stage", "fake-100pct", "fake-25pct")}
    assert names == runs | {"results.csv", "per_query.csv", "tradeoff.png", "report.md", "manifest.json"}
    results = pd.read_csv(tmp_path / "out" / "results.csv", dtype={"budget": str}).fillna({"budget": ""})
    pd.testing.assert_frame_equal(results, compared.table)


def test_what_was_saved_is_read_back_and_drawn_again(tmp_path):
    compared = compare("full", "25%")
    again = TradeOff.read(compared.save(tmp_path / "out"))
    pd.testing.assert_frame_equal(again.table, compared.table)
    pd.testing.assert_frame_equal(again.per_query, compared.per_query)
    pd.testing.assert_frame_equal(again.intervals, compared.intervals)
    assert again.runs.keys() == compared.runs.keys()
    assert again.runs["fake 25%"]["docno"].tolist() == compared.runs["fake 25%"]["docno"].tolist()
    assert again.plot().png() == compared.plot().png()


def test_a_folder_without_an_experiment_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"has no results\.csv and manifest\.json"):
        TradeOff.read(tmp_path)


def test_saving_into_an_experiment_that_goes_on_is_refused(tmp_path):
    compare("full", folder=tmp_path)
    with pytest.raises(ValueError, match="goes on with its own journal"):
        compare("25%").save(tmp_path)


def test_significance_are_the_tables_p_values():
    compared = compare("full", "25%")
    assert list(compared.significance.columns) == ["system", "budget", *MEASURES]
    assert compared.significance["RR@10"].equals(compared.table["p RR@10"])


def test_differences_begin_with_the_largest_loss():
    worst = compare("full", "25%").differences("25%", "RR@10")
    assert worst["difference"].is_monotonic_increasing
    assert worst.index[0] == "q5" and worst["difference"].iloc[0] == pytest.approx(1 / 6 - 1)
    assert list(worst.columns) == ["system", "baseline", "difference"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"system": "7%"}, "system '7%' is 0 of those compared: choose among first-stage, fake 100%, fake 25%"),
        ({"system": "25%", "measure": "AP"}, "measure='AP': choose among RR@10, nDCG@10"),
        ({"system": "25%", "baseline": "bm25"}, "system 'bm25' is 0 of those"),
    ],
)
def test_differences_of_what_isnt_there(asked, message):
    with pytest.raises(ValueError, match=message):
        compare("full", "25%").differences(**asked)


def test_intervals_hold_the_means():
    compared = compare("full", "25%")
    rows = compared.intervals.set_index(["system", "budget", "measure"])
    for row in compared.table.to_dict("records"):
        for measure in MEASURES:
            interval = rows.loc[(row["system"], row["budget"], measure)]
            assert interval["low"] - 1e-9 <= row[measure] <= interval["high"] + 1e-9
    assert rows.loc[("fake", "100%", "RR@10"), "low"] == pytest.approx(1.0)  # all queries alike


def test_a_bootstrap_is_as_wide_as_the_standard_error_says():
    values = np.random.default_rng(1).normal(size=(400, 1))
    low, high = bootstrap(values)
    assert (high - low)[0] == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


@pytest.mark.parametrize(("cost", "label"), [("gflops", "GFLOPs per query"), ("ms", "ms per query")])
def test_the_figure_has_units_bands_and_a_log_axis(cost, label):
    figure = compare("full", "25%").plot(cost)
    for axes, measure in zip(figure.axes, MEASURES, strict=True):
        assert axes.get_xlabel() == f"{label}, mean (log scale)" and axes.get_xscale() == "log"
        assert axes.get_ylabel().startswith(measure[:2]) and axes.get_ylabel().endswith(", mean")
        assert len(axes.collections) == 1  # the band of the one ranker
    assert "95 % confidence" in figure.legends[0].texts[-1].get_text()


def test_another_cost_is_refused():
    with pytest.raises(ValueError, match="cost='joules': choose among gflops, ms"):
        compare("full").plot("joules")


def test_a_notebook_shows_the_table_and_how_to_read_it():
    shown = compare("full", "25%", title="a <small> test")._repr_html_()
    assert "<table>" in shown and "GFLOPs mean" in shown and "Holm-corrected" in shown
    assert "a &lt;small&gt; test" in shown
    assert "first-stage" in repr(compare("full"))
