"""Which layers and which sub-networks read one text alone."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.planning.dense import DenseReading, best_within
from elasticranker.planning.subnet import SubNet

SUBNETS = [SubNet(depth, width) for depth in (1, 2, 4) for width in (1.0, 0.5)] + [SubNet(0)]


@given(st.integers(1, 24).flatmap(lambda layers: st.permutations(range(layers))))
def test_a_deeper_sub_network_has_one_layer_more_in_its_place(order: list[int]) -> None:
    reading, layers = DenseReading(order=tuple(order)), len(order)
    kept = [reading.kept(depth, layers) for depth in range(layers + 1)]
    assert kept[0] == () and kept[-1] == tuple(range(layers))
    for depth, (fewer, more) in enumerate(pairwise(kept)):
        assert list(more) == sorted(more) and set(more) - set(fewer) == {order[depth]}
    assert DenseReading().kept(layers - 1, layers) == tuple(range(layers - 1))


def test_without_ratings_the_deeper_is_the_better_at_full_width() -> None:
    assert DenseReading().preferred(SUBNETS, SubNet(4)) == (SubNet(4), SubNet(2), SubNet(1), SubNet(0))


def test_ratings_decide_the_whole_model_apart_and_equal_ones_are_settled_by_cost() -> None:
    rated = ((SubNet(1), 0.5), (SubNet(2, 0.5), 0.8), (SubNet(4, 0.5), 0.5), (SubNet(2), 0.7), (SubNet(3), 0.9))
    order = DenseReading(rated=rated).preferred(SUBNETS, SubNet(4))
    assert order == (SubNet(4), SubNet(2, 0.5), SubNet(2), SubNet(1), SubNet(4, 0.5))


def test_the_best_that_is_affordable_is_chosen_or_none() -> None:
    order = (SubNet(4), SubNet(2, 0.5), SubNet(2))
    price = {SubNet(4): 40, SubNet(2, 0.5): 25, SubNet(2): 20}
    chosen = [best_within(order, price.__getitem__, budget) for budget in (100, 39.9, 24, 19)]
    assert chosen == [SubNet(4), SubNet(2, 0.5), SubNet(2), None]


def test_it_survives_json() -> None:
    reading = DenseReading((1, 0), (64, 128), ((SubNet(2, 0.5), 0.75),))
    assert DenseReading.from_json(reading.to_json()) == reading
    odd = [{"layers": layers, "dims": [], "rated": []} for layers in ("odd", [0, 2], [1, 1], 3)]
    for broken in ({}, *odd, {"layers": "first", "dims": [], "rated": [1]}):
        with pytest.raises(ValueError, match=r"dense|layers"):
            DenseReading.from_json(broken)
