"""Figures of how far a full model moved."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.planning.plan import Candidates, SubNet
from elasticranker.training.elastifying.moving import moved, rbo
from elasticranker.training.tuning.tables import Table

FULL = SubNet(3)


def table(scores, labels=None):
    size = np.full(len(scores), 8)
    gains = np.zeros(len(scores)) if labels is None else np.asarray(labels, float)
    return Table(Candidates(size, size, None, size * 0), {FULL: np.asarray(scores, float)}, gains, FULL)


def test_an_unmoved_model_has_every_figure_at_its_best():
    same = [table([3, 1, 2], [1, 0, 0]), table([5.0], [1])]
    assert moved(same, same) == {
        **{"tau": 1.0, "rbo": 1.0, "ndcg": 1.0, "ndcg_original": 1.0, "largest": 0.0, "queries": 2, "candidates": 3}
    }


def test_a_model_that_turned_its_ranking_round():
    found = moved([table([1, 2, 3], [1, 0, 0])], [table([3, 2, 1], [1, 0, 0])])
    assert found["tau"] == -1.0
    assert (found["ndcg"], found["ndcg_original"], found["largest"]) == (0.5, 1.0, 2.0)
    # Nothing of the first, one of the first two in common, then all: (0 + 0.9 / 2 + 0.81) / (1 + 0.9 + 0.81).
    assert found["rbo"] == pytest.approx((0.45 + 0.81) / 2.71, abs=1e-6)


def test_a_model_that_gives_all_the_same_agrees_with_nothing():
    assert moved([table([1, 1, 1])], [table([3, 2, 1])])["tau"] == 0.0


@given(st.permutations(range(15)), st.permutations(range(15)))
def test_overlap_is_a_share_and_knows_no_first(one, other):
    first, second = np.array(one), np.array(other)
    assert 0 <= rbo(first, second) <= 1
    assert rbo(first, second) == pytest.approx(rbo(second, first))
    assert (rbo(first, second) == 1) == (one[:10] == other[:10])
