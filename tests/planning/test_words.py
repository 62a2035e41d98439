"""Plans in words, and how far they get."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elasticranker.planning.budget import Budget
from elasticranker.planning.ladder import Ladder, Rung
from elasticranker.planning.plan import Plan, Stage, SubNet
from elasticranker.planning.reach import reach_in_words
from elasticranker.planning.words import in_words, percent, reached_in_words
from tests.planning.test_plan import COST, FULL, LAYERS

PLAN = Plan((Stage(SubNet(0), 0.1, prior=0.5), Stage(SubNet(2, 0.5), 0.4), Stage(FULL, 0.5)))


@pytest.mark.parametrize(
    ("subnet", "words"),
    [
        (None, "nothing"),
        (SubNet(0), "the embeddings alone"),
        (SubNet(1), "1 layer"),
        (SubNet(3, 0.5), "3 layers at 50 % width"),
        (SubNet(12), "all 12 layers"),
        (SubNet(12, 0.25), "12 layers at 25 % width"),
        (SubNet(2, tokens=48), "2 layers of 48 tokens"),
        (SubNet(0, tokens=48), "the embeddings alone of 48 tokens"),
        (SubNet(12, tokens=48), "12 layers of 48 tokens"),
    ],
)
def test_a_sub_network(subnet, words):
    assert in_words(subnet, 12) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (100, "all candidates"),
        (50, "the best half"),
        (33, "the best third"),
        (37, "the best 37 %"),
        (1, "the best one"),
    ],
)
def test_a_part_of_the_candidates(count, words):
    reached = [(SubNet(0), 100), (SubNet(2), count)]
    assert reached_in_words(reached, 100, 12).split(", ")[1] == f"{words} by 2 layers"


def test_before_the_first_stage_nobody_is_best():
    assert reached_in_words([(SubNet(1), 50)], 100, 12) == "the first half by 1 layer"


@pytest.mark.parametrize(("share", "text"), [(0.25, "25 %"), (0.005, "0.5 %"), (0.075, "7.5 %"), (1.0, "100 %")])
def test_a_share(share, text):
    assert percent(share) == text


def test_the_whole_model_reads_everything():
    assert reach_in_words(Plan((Stage(FULL, 1.0),)), COST, 1.0) == f"all candidates by all {LAYERS} layers"


def test_a_cut_document_costs_less_so_that_more_are_read():
    def first(tokens):
        return Plan((Stage(SubNet(2, tokens=tokens), 1.0),))

    whole, cut = (reach_in_words(first(tokens), COST, 0.1).split(" by ")[0] for tokens in (None, 48))
    assert (whole, cut) == ("the first 59 %", "all candidates")


def test_what_affords_nothing_says_so():
    assert reach_in_words(PLAN, COST, 1e-9) == "nothing can be afforded"


@settings(max_examples=20)
@given(st.floats(0.02, 1.0))
def test_a_plan_gets_as_far_as_it_can_pay(share):
    """The words name the plan's stages in order, and no stage more than once."""
    words = reach_in_words(PLAN, COST, share)
    named = [part.split(" by ")[1] for part in words.split(", ")]
    order = ["the embeddings alone", "2 layers at 50 % width", "all 12 layers"]
    assert named == order[: len(named)]


def test_a_plan_in_a_notebook():
    shown = PLAN._repr_html_()
    assert "the embeddings alone" in shown and "2 layers at 50 % width" in shown and "40 %" in shown


def test_a_ladder_in_a_notebook_is_a_figure_and_a_table():
    ladder = Ladder((Rung(0.05, PLAN, 0.8), Rung(0.5, PLAN, None)), FULL)
    shown = ladder._repr_html_()
    assert "data:image/png" in shown and str(PLAN).replace(">", "&gt;") in shown and "0.8000" in shown


def test_a_ladder_prints_as_its_table():
    lines = repr(Ladder((Rung(0.05, PLAN, 0.8),), FULL)).splitlines()
    assert lines[0].split() == ["budget", "plan", "quality"] and str(PLAN) in lines[1]


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        ("25%", "25%: a share"),
        ("20 GFLOPs", "20 GFLOPs: floating"),
        ("50 ms", "50 ms: wall-clock"),
        ("full", "full: the"),
    ],
)
def test_a_budget_says_what_it_is_of(budget, words):
    assert Budget(budget).words.startswith(words)
    assert Budget(budget)._repr_html_().startswith(f"<b>{budget}</b>: ")
