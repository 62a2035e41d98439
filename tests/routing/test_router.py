import math

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticranker.routing import EnergyRouter, energies
from tests.judges import COLUMNS, Bomb, Judge, backwards, by_margin, frame, margins, routes

NAN = float("nan")

# Who goes to Super.


def test_queries_above_the_threshold_go_to_super():
    router = by_margin(margins(a=5, b=1, c=3), Judge(), threshold=-4)
    assert routes(router, frame("a", "b", "c")) == {"a": "swift", "b": "super", "c": "super"}


def test_super_never_sees_a_query_that_is_routed_to_swift():
    judge = Judge()
    by_margin(margins(a=5, b=1, c=3), judge, threshold=-2).transform(frame("a", "b", "c"))
    assert judge.queries == {"b"}
    by_margin(margins(a=5, b=1), Bomb(), threshold=0).transform(frame("a", "b"))


def test_without_a_threshold_the_share_is_taken_of_each_frame():
    router = by_margin(margins(a=5, b=1, c=3, d=4), Judge(), super_share=0.5)
    assert routes(router, frame("a", "b", "c", "d")) == {"a": "swift", "b": "super", "c": "super", "d": "swift"}
    assert routes(router, frame("a", "d")) == {"a": "swift", "d": "super"}


@given(gaps=st.lists(st.integers(1, 10**6), min_size=1, max_size=15, unique=True), data=st.data())
@settings(max_examples=30)
def test_exactly_the_calibrated_share_of_the_sample_goes_to_super(gaps, data):
    queries = [f"q{i}" for i in range(len(gaps))]
    count = data.draw(st.integers(0, len(gaps)))
    sample = frame(*queries, sizes=2)
    router = by_margin(margins(**dict(zip(queries, gaps, strict=True))), Judge())
    router.calibrate(sample, super_share=count / len(gaps))
    assert list(routes(router, sample).values()).count("super") == count


def test_a_calibrated_decision_depends_on_the_query_alone():
    router = by_margin(margins(a=5, b=1, c=3), Judge()).calibrate(frame("a", "b", "c"), super_share=0.34)
    together = routes(router, frame("a", "b", "c"))
    assert together == {"a": "swift", "b": "super", "c": "swift"}
    assert together == {qid: routes(router, frame(qid))[qid] for qid in "abc"}


def test_queries_of_equal_energy_stay_together_and_never_exceed_the_share():
    router = by_margin(margins(a=1, b=1, c=5), Judge(), super_share=0.34)
    assert set(routes(router, frame("a", "b", "c")).values()) == {"swift"}


def test_the_energy_can_be_taken_of_the_head_of_the_list():
    swift = Judge({("a", "d0"): 2, ("a", "d1"): 2, ("a", "d2"): -99, ("b", "d0"): 2, ("b", "d1"): 1, ("b", "d2"): 1})
    candidates = frame("a", "b", sizes=3)
    assert routes(EnergyRouter(swift, Judge(), energy="std", super_share=0.5), candidates)["b"] == "super"
    assert routes(EnergyRouter(swift, Judge(), energy="std", super_share=0.5, top_k=2), candidates)["a"] == "super"


def test_an_energy_may_be_any_function_of_the_scores():
    router = EnergyRouter(margins(a=5, b=1), Judge(), energy=lambda scores: scores.max(), threshold=3)
    assert routes(router, frame("a", "b")) == {"a": "super", "b": "swift"}


def test_one_candidate_and_equal_scores():
    candidates = frame("single", "flat", sizes=[1, 3])
    assert routes(by_margin(Judge(), Judge(), super_share=0.5), candidates) == {"single": "swift", "flat": "super"}
    assert list(by_margin(Judge(), Judge(), super_share=1.0).transform(candidates)["docno"]) == ["d0", "d0", "d1", "d2"]


def test_identity_is_a_swift_that_costs_nothing():
    candidates = frame("a", "b")
    router = by_margin(pt.Transformer.identity(), Bomb(), threshold=math.inf)
    pd.testing.assert_frame_equal(router.transform(candidates), candidates)


# What comes out.


def test_super_replaces_the_order_of_swift_in_its_queries_only():
    ranked = by_margin(margins(a=5, b=1), Judge(backwards), threshold=-2).transform(frame("a", "b", sizes=3))
    assert ranked["docno"].tolist() == ["d0", "d1", "d2", "d2", "d1", "d0"]


def test_super_depth_keeps_the_rest_below_in_the_order_of_swift():
    swift, judge = (
        Judge({("b", "d2"): 9, ("b", "d1"): 8, ("b", "d3"): 7}),
        Judge({("b", "d1"): -70.0, ("b", "d2"): -60.0}),
    )
    ranked = EnergyRouter(swift, judge, threshold=-99, super_depth=2).transform(frame("b"))
    assert judge.asked == [("b", "d2"), ("b", "d1")]
    assert ranked["docno"].tolist() == ["d2", "d1", "d3", "d0"]
    assert ranked["score"].tolist() == [-60.0, -70.0, -71.0, -78.0]


def test_super_sees_the_ranking_of_swift():
    class Listener(Bomb):
        def transform(self, inp):
            self.frame = inp
            return inp

    by_margin(margins(a=3), listener := Listener(), threshold=-9).transform(frame("a").iloc[::-1])
    assert listener.frame["docno"].tolist() == ["d0", "d1", "d2", "d3"]
    assert listener.frame["score"].tolist() == [3, 0, 0, 0] and listener.frame["rank"].tolist() == [0, 1, 2, 3]


def test_queries_keep_the_order_of_the_input_and_other_columns_survive():
    candidates = frame("c", "a", "b").assign(shelf=range(12)).sample(frac=1, random_state=3)
    ranked = by_margin(margins(a=1, b=2, c=3), Judge(backwards), super_share=0.7).transform(candidates)
    assert list(ranked["qid"].unique()) == list(candidates["qid"].unique())
    assert list(ranked.columns) == [*COLUMNS, "shelf"]
    pd.testing.assert_frame_equal(_rows(ranked), _rows(candidates))


@pytest.mark.parametrize("threshold", [-99, 99])
def test_ties_are_broken_by_the_incoming_rank(threshold):
    candidates = frame("a").assign(rank=[2, 0, 3, 1])
    ranked = EnergyRouter(Judge(), Judge(), threshold=threshold).transform(candidates)
    assert ranked["docno"].tolist() == ["d1", "d3", "d0", "d2"]


def test_the_trace_says_who_ranked_and_why():
    traced = by_margin(margins(a=5, b=1), Judge(), threshold=-2, trace=True).transform(frame("a", "b", sizes=2))
    assert list(traced.columns) == [*COLUMNS, "energy", "routed_to", "spend"]
    assert traced["spend"].tolist() == [1, 1, 2, 2]  # Swift's, and Super's on top
    assert traced["energy"].tolist() == [-5, -5, -1, -1]
    assert traced["routed_to"].tolist() == ["swift", "swift", "super", "super"]


def test_what_an_earlier_ranker_spent_is_nobodys_here():
    router = EnergyRouter(pt.Transformer.identity(), Judge(), super_share=1.0, super_depth=2, trace=True)
    traced = router.transform(frame("a", sizes=3).assign(spend=99.0))
    assert traced["spend"].tolist() == [1, 1, 0]


def test_what_nobody_tells_is_not_made_up():
    silent = pt.apply.generic(lambda given: given.assign(score=1.0))
    traced = EnergyRouter(silent, Judge(), super_share=0.5, trace=True).transform(frame("a", "b"))
    assert "spend" not in traced


def test_a_traced_sibling_has_rankers_that_trace():
    class Telling(Judge):
        def traced(self):
            return Judge({("a", "d0"): 7.0})

    router = EnergyRouter(Telling(), Judge(), super_share=0.0)
    assert router.traced().trace and router.traced().swift.scores == {("a", "d0"): 7.0}
    assert not router.trace and isinstance(router.swift, Telling)


swift_scores = st.floats(-1e9, 1e9) | st.sampled_from([0.0, 1.0, 1.0 + 1e-12])
lists = st.lists(st.tuples(swift_scores, st.floats(allow_nan=False)), min_size=1, max_size=6)


@given(queries=st.lists(lists, min_size=1, max_size=5), share=st.floats(0, 1), depth=st.none() | st.integers(1, 4))
@settings(max_examples=60)
def test_no_row_is_lost_no_score_ties_and_ranks_count_from_0(queries, share, depth):
    rows = {(f"q{q}", f"d{d}"): scores for q, candidates in enumerate(queries) for d, scores in enumerate(candidates)}
    candidates = pd.DataFrame([(q, q, d, d) for q, d in rows], columns=COLUMNS[:4])
    swift, judge = (Judge({pair: scores[i] for pair, scores in rows.items()}) for i in (0, 1))
    ranked = EnergyRouter(swift, judge, super_share=share, super_depth=depth, energy="entropy").transform(candidates)
    pd.testing.assert_frame_equal(_rows(ranked), _rows(candidates))
    for _, one in ranked.groupby("qid"):
        assert one["rank"].tolist() == list(range(len(one)))
        assert (np.diff(one["score"].to_numpy(dtype=np.float32)) < 0).all()
        assert np.isfinite(one["score"]).all()


def test_a_document_that_comes_twice_is_kept_twice():
    candidates = pd.concat([frame("a", sizes=2), frame("a", sizes=1).assign(rank=2, text="again")])
    ranked = EnergyRouter(Judge(), Judge(), super_share=1.0).transform(candidates)
    assert ranked["docno"].tolist() == ["d0", "d1", "d0"] and ranked["text"].tolist() == ["text 0", "text 1", "again"]


def _rows(frame):
    return frame.drop(columns=["score", "rank"], errors="ignore").sort_values(["qid", "docno"]).reset_index(drop=True)


# Errors.


def test_nan_scores_name_the_query_and_the_ranker():
    with pytest.raises(ValueError, match=r"swift .*Judge.* document 'd1' of query 'b'"):
        EnergyRouter(Judge({("b", "d1"): NAN}), Judge(), super_share=0.5).transform(frame("a", "b"))
    with pytest.raises(ValueError, match=r"super .*Judge.* document 'd1' of query 'b'"):
        EnergyRouter(Judge(), Judge({("b", "d1"): NAN}), super_share=1.0).transform(frame("a", "b"))


def test_a_ranker_that_loses_rows_is_refused():
    with pytest.raises(ValueError, match="no score at all to 2 candidates"):
        EnergyRouter(Judge(), Judge() % 2, super_share=1.0).transform(frame("a"))


def test_an_energy_that_is_not_finite_names_the_query():
    with pytest.raises(ValueError, match="query 'a' is nan"):
        EnergyRouter(Judge(), Judge(), energy=lambda scores: NAN, super_share=1.0).transform(frame("a"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"energy": "heat"}, "unknown energy 'heat'"),
        ({"super_share": 30}, "super_share must be between 0 and 1"),
        ({"threshold": NAN}, "threshold is NaN"),
        ({"super_depth": 0}, "super_depth must be at least 1"),
        ({"top_k": 0}, "top_k must be at least 1"),
        ({"budget": "50 ms"}, "a share or FLOPs"),
    ],
)
def test_nonsense_is_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        EnergyRouter(Bomb(), Bomb(), **arguments)


def test_something_that_is_no_transformer_is_refused():
    with pytest.raises(ValueError, match="super must be a PyTerrier transformer, but is 'monot5'"):
        EnergyRouter(Bomb(), "monot5")


def test_an_uncalibrated_router_says_what_is_missing():
    with pytest.raises(ValueError, match="give threshold, super_share or budget, or call calibrate"):
        EnergyRouter(Bomb(), Bomb()).transform(frame("a"))
    with pytest.raises(ValueError, match="nothing to calibrate for"):
        EnergyRouter(Bomb(), Bomb()).calibrate(frame("a"))
    with pytest.raises(ValueError, match="no candidates"):
        EnergyRouter(Bomb(), Bomb()).calibrate(frame("a").iloc[:0], super_share=0.5)


def test_qrels_know_whole_numbers_by_their_digits():
    def calibrated(candidates, qrels):
        return by_margin(Judge(), Judge({(2, 1): 9.0}), super_share=1.0).calibrate(candidates, qrels).threshold

    candidates = pd.DataFrame([(q, "x", d, "y", -d, d) for q in (1, 2) for d in (0, 1)], columns=COLUMNS)
    qrels = pd.DataFrame([("1", "0", 1), ("2", "1", 1)], columns=["qid", "docno", "label"])
    assert calibrated(candidates, qrels) == calibrated(candidates, qrels.astype({"qid": int, "docno": int}))
    with pytest.raises(ValueError, match="the column 'qid' has no name in 1 of 2 rows"):
        calibrated(candidates, qrels.assign(qid=["1", None]))


# PyTerrier citizenship.


class TestAsTransformer(pt.testing.transformer_test_class(lambda: EnergyRouter(Judge(), Judge(), super_share=0.3))):
    pass


def test_pyterrier_remakes_it_with_other_arguments():
    router = EnergyRouter(Judge(), Judge(), energy="margin", super_share=0.3)
    remade = pt.inspect.transformer_apply_attributes(router, super_share=0.5)
    assert (remade.swift, remade.super, remade.energy) == (router.swift, router.super, "margin")
    assert remade.super_share == 0.5


def test_pyterriers_grid_search_checks_what_it_sets():
    router = EnergyRouter(Judge(), Judge(), swift_cost=1, super_cost=2)
    router.set_parameter("budget", "50%")
    assert router.budget == EnergyRouter(Judge(), Judge(), budget="50%").budget
    with pytest.raises(ValueError, match="fast"):
        router.set_parameter("budget", "fast")


@pytest.mark.parametrize("trace", [False, True])
def test_an_empty_frame_gets_the_right_columns_and_types(trace):
    router = EnergyRouter(Judge(), Judge(), super_share=0.5, trace=trace)
    empty, full = router.transform(frame("a").iloc[:0]), router.transform(frame("a"))
    assert list(empty.columns) == list(full.columns) and list(empty.dtypes) == list(full.dtypes)
    assert list(router.transform(pd.DataFrame(columns=COLUMNS[:4])).columns) == list(full.columns)


def test_the_columns_of_both_rankers_are_asked_for_at_once():
    columns = ["qid", "docno", "query", "text"]
    assert pt.inspect.transformer_inputs(EnergyRouter(Judge(), Judge())) == [columns]
    unscored = EnergyRouter(pt.Transformer.identity(), Judge())
    assert pt.inspect.transformer_inputs(unscored) == [[*columns, "score"]]
    with pytest.raises(pt.validate.InputValidationError, match="'text'"):
        EnergyRouter(Bomb(), Judge(), super_share=0.0).transform(frame("a").drop(columns="text"))


def test_the_schematic_shows_both_rankers():
    schematic = pt.schematic.transformer_schematic(EnergyRouter(Judge(), Judge(), super_share=0.3))
    assert schematic["inner_pipelines_labels"] == ["swift", "super"]
    assert [inner["label"] for inner in schematic["inner_pipelines"]] == ["Judge", "Judge"]
    assert schematic["settings"]["super_share"] == 0.3


def test_equal_routers_are_equal_and_hash_alike_before_and_after_calibration():
    swift, judge = margins(a=1, b=2), Judge()
    one, other = by_margin(swift, judge, super_share=0.5), by_margin(swift, judge, super_share=0.5)
    assert one == other and hash(one) == hash(other)
    other.calibrate(frame("a", "b"))
    assert one != other and hash(one) == hash(other)
    assert one != by_margin(swift, Judge(), super_share=0.5) and one != "router"


def test_the_repr_is_what_one_types():
    router = EnergyRouter(Judge(), Bomb(), energy="std", budget="25%", super_depth=20)
    assert repr(router).endswith(", energy='std', budget='25%', super_depth=20)")


def test_it_composes_iterates_and_compares_in_an_experiment():
    candidates = frame("a", "b")
    queries = candidates[["qid", "query"]].drop_duplicates()
    qrels = pd.DataFrame([("a", "d0", 1), ("b", "d3", 1)], columns=["qid", "docno", "label"])
    first = pt.Transformer.from_df(candidates)
    router = by_margin(margins(a=5, b=1), Judge(backwards), threshold=-2)
    table = pt.Experiment([first, first >> router], queries, qrels, ["recip_rank"])
    assert table["recip_rank"].tolist() == [0.625, 1.0]
    assert [row["docno"] for row in (router % 1).transform_iter(candidates.to_dict("records"))] == ["d0", "d3"]


def test_the_energies_are_those_of_the_registry():
    for name, energy in energies.ENERGIES.items():
        if name != "two-class":
            traced = EnergyRouter(Judge(backwards), Judge(), energy=name, threshold=0, trace=True).transform(frame("a"))
            assert traced["energy"][0] == pytest.approx(energy(np.array([3.0, 2.0, 1.0, 0.0])))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"threshold": -2}, "queries of an energy above -2"),
        ({"super_share": 0.3}, "the 30 % of a frame&#x27;s queries with the highest energy"),
        ({"budget": "25%"}, "Swift&#x27;s included, is within 25%"),
        ({}, "not decided yet"),
        ({"top_k": 10}, "of the 10 best scores"),
    ],
)
def test_a_notebook_shows_who_goes_to_super(settings, words):
    shown = EnergyRouter(Judge(), Judge(), **settings)._repr_html_()
    assert "pts-" in shown and words in shown
