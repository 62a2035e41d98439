"""Which layers and which sub-networks read one text alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.planning.dense import DenseReading, best_within
from elasticranker.planning.subnet import SubNet

SUBNETS = [SubNet(depth, width) for depth in (1, 2, 4) for width in (1.0, 0.5)] + [SubNet(0)]


@given(st.integers(1, 48).flatmap(lambda layers: st.tuples(st.integers(1, layers), st.just(layers))))
def test_spaced_layers_are_as_many_as_asked_for_rise_and_end_with_the_last(sizes: tuple[int, int]) -> None:
    depth, layers = sizes
    kept = DenseReading(spaced=True).kept(depth, layers)
    assert len(set(kept)) == depth and list(kept) == sorted(kept)
    assert kept[0] >= 0 and kept[-1] == layers - 1
    gaps = [after - before for before, after in zip((-1, *kept), kept, strict=False)]
    assert max(gaps) - min(gaps) <= 1


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
    reading = DenseReading(True, (64, 128), ((SubNet(2, 0.5), 0.75),))
    assert DenseReading.from_json(reading.to_json()) == reading
    for broken in ({}, {"layers": "odd", "dims": [], "rated": []}, {"layers": "first", "dims": [], "rated": [1]}):
        with pytest.raises(ValueError, match=r"dense|layers"):
            DenseReading.from_json(broken)
