import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.routing import energies
from elasticranker.routing.energies import ENERGIES, get_energy

SURE = np.array([9.0, 0.0, -1.0, -2.0])
UNSURE = np.array([0.3, 0.2, 0.1, 0.0])
RANKING = [name for name in ENERGIES if name not in ("random", "two-class", "two-class-logit")]
score_lists = st.lists(st.floats(-50, 50), min_size=1, max_size=30).map(np.array)


@pytest.mark.parametrize("name", RANKING)
def test_an_unsure_ranking_has_the_higher_energy(name):
    assert get_energy(name)(UNSURE) > get_energy(name)(SURE)


@given(scores=score_lists, name=st.sampled_from(sorted(set(ENERGIES) - {"two-class"})))
def test_an_energy_is_one_number_whatever_the_order_of_the_candidates(scores, name):
    energy = get_energy(name)(scores)
    assert isinstance(energy, float) and not math.isnan(energy)
    assert get_energy(name)(scores[::-1]) == pytest.approx(energy)


@given(scores=score_lists, shift=st.floats(-50, 50), name=st.sampled_from(sorted(set(RANKING) - {"free"})))
def test_adding_a_constant_changes_nothing_but_the_raw_free_energy(scores, shift, name):
    assert get_energy(name)(scores + shift) == pytest.approx(get_energy(name)(scores), abs=1e-6)
    assert energies.free(scores + shift) == pytest.approx(energies.free(scores) - shift, abs=1e-6)


def test_free_energy_by_hand():
    assert energies.free(np.log([1.0, 2.0, 5.0])) == pytest.approx(-math.log(8))
    assert energies.free(np.log([1.0, 3.0]) * 2, temperature=2.0) == pytest.approx(-2 * math.log(4))
    assert energies.centred(np.array([1.0, 3.0])) == pytest.approx(-math.log(math.exp(-1) + math.exp(1)))


def test_free_energy_survives_large_scores():
    assert energies.free(np.array([1e4, 1e4])) == pytest.approx(-1e4 - math.log(2))


def test_probabilities_by_hand():
    scores = np.log([0.7, 0.2, 0.1])
    assert energies.max_softmax(scores) == pytest.approx(-0.7)
    assert energies.entropy(scores) == pytest.approx(-(0.7 * math.log(0.7) + 0.2 * math.log(0.2) + 0.1 * math.log(0.1)))
    assert energies.released(scores) == pytest.approx(-math.log(math.exp(0.7) + math.exp(0.2) + math.exp(0.1)))


def test_spread_by_hand():
    assert energies.margin(np.array([1.0, 4.0, 2.5])) == -1.5
    assert energies.std(np.array([1.0, 3.0])) == -1.0


@pytest.mark.parametrize("candidates", [2, 5, 100])
def test_equal_scores_are_the_least_certain_list(candidates):
    flat = np.full(candidates, 2.0)
    assert energies.entropy(flat) == pytest.approx(math.log(candidates))
    assert energies.max_softmax(flat) == pytest.approx(-1 / candidates)
    assert energies.released(flat) == pytest.approx(-math.log(candidates) - 1 / candidates)
    assert energies.margin(flat) == energies.std(flat) == 0


def test_one_candidate_has_no_rival():
    alone = np.array([3.0])
    assert energies.margin(alone) == np.finfo(float).min
    assert energies.entropy(alone) == energies.std(alone) == 0
    assert energies.max_softmax(alone) == energies.released(alone) == -1


@given(logits=st.lists(st.tuples(st.floats(-8, 8), st.floats(-8, 8)), min_size=2, max_size=10))
def test_the_released_code_orders_two_class_inputs_as_max_softmax_does(logits):
    pairs = [np.array(pair) for pair in logits]
    ordered = [energies.max_softmax(pair) for pair in sorted(pairs, key=energies.released)]
    assert ordered == pytest.approx(sorted(ordered))


def test_the_threshold_published_with_the_released_code_lies_in_the_range_of_two_classes():
    certain, undecided = energies.released(np.array([50.0, -50.0])), energies.released(np.zeros(2))
    assert certain < -1.31044 < undecided


@given(logits=st.lists(st.floats(-50, 50), min_size=2, max_size=12).map(np.array))
def test_the_released_energy_lies_within_its_bounds(logits):
    classes = len(logits)
    assert -math.log(classes - 1 + math.e) - 1e-9 <= energies.released(logits)
    assert energies.released(logits) <= -math.log(classes) - 1 / classes + 1e-9


def test_the_released_energy_divides_probabilities_by_the_temperature_and_the_free_one_logits():
    logits = np.log([0.75, 0.25])
    assert energies.released(logits, temperature=0.5) == pytest.approx(-math.log(math.exp(1.5) + math.exp(0.5)))
    assert energies.free(logits, temperature=0.5) == pytest.approx(-0.5 * math.log(0.75**2 + 0.25**2))


def test_pointwise_energy_is_the_mean_over_pairs():
    logits = np.log([[1.0, 3.0], [2.0, 6.0]])
    assert energies.pointwise(logits) == pytest.approx(-(math.log(4) + math.log(8)) / 2)


@given(scores=score_lists)
def test_the_two_class_energy_is_the_same_from_log_probabilities_and_from_logits(scores):
    log_probabilities = -np.logaddexp(0, -scores)
    assert energies.two_class(log_probabilities) == pytest.approx(energies.two_class_logit(scores))


def test_the_two_class_energy_is_high_where_pairs_are_undecided():
    assert energies.two_class(np.log([0.5, 0.5])) > energies.two_class(np.log([0.99, 0.01]))


def test_the_two_class_energy_refuses_what_cannot_be_log_probabilities():
    with pytest.raises(ValueError, match="two-class-logit"):
        energies.two_class(np.array([-0.1, 2.5]))


def test_random_belongs_to_the_scores_and_is_uniform_over_many_lists():
    lists = np.random.default_rng(0).normal(size=(2000, 5))
    drawn = np.array([energies.random(scores) for scores in lists])
    assert (drawn == [energies.random(scores) for scores in lists]).all()
    assert np.histogram(drawn, bins=4, range=(0, 1))[0] == pytest.approx(np.full(4, 500), abs=75)


def test_a_temperature_is_set_where_the_energy_has_one():
    scores = np.array([2.0, 0.0])
    assert get_energy("free", 3.0)(scores) == energies.free(scores, temperature=3.0)
    assert get_energy(energies.centred, 3.0)(scores) == energies.centred(scores, temperature=3.0)
    with pytest.raises(ValueError, match="the energy 'entropy' has none"):
        get_energy("entropy", 3.0)
    for wrong in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="temperature must be a number above 0"):
            get_energy("free", wrong)


def test_a_function_is_an_energy_and_an_unknown_name_is_refused():
    assert get_energy(np.ptp) is np.ptp
    with pytest.raises(ValueError, match=r"unknown energy 'freee'.*entropy"):
        get_energy("freee")
