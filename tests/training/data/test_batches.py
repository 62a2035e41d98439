"""Steps are a function of seed and number; processes share them without overlap; batches hardly pad."""

import numpy as np
import pytest
import torch

from elasticranker.model.pairs import PairEncoder
from elasticranker.training.data.batches import Sampler, StepData, each_tensor
from elasticranker.training.trainer.ahead import ahead
from tests.backbones import tokenizer
from tests.training.tiny import make_groups


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    return make_groups(tmp_path_factory.mktemp("source"))


def sampler(groups, **changed) -> Sampler:
    pairs = PairEncoder(tokenizer("bert"), max_length=32, max_query_length=8)
    return Sampler(groups, pairs, **{"groups_per_step": 6, "group_size": 4, "batch_pairs": 7} | changed)


def flat(data: StepData) -> list[torch.Tensor]:
    tensors: list[torch.Tensor] = []
    each_tensor(data, lambda tensor: tensors.append(tensor) or tensor)
    return tensors


def test_a_step_depends_on_seed_and_number_alone(groups):
    first, again = sampler(groups).step(3), sampler(groups).step(3)
    assert all(torch.equal(a, b) for a, b in zip(flat(first), flat(again), strict=True))
    for other in (sampler(groups).step(4), sampler(groups, seed=1).step(3)):
        assert not torch.equal(first.teacher, other.teacher)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_processes_share_a_step_group_by_group(groups, share):
    whole = sampler(groups, narrow_share=share).step(5)
    parts = [sampler(groups, narrow_share=share, rank=rank, processes=2).step(5) for rank in range(2)]
    for rank, part in enumerate(parts):
        size = part.teacher.shape[1]
        assert torch.equal(part.teacher, whole.teacher[rank::2, :size])
        assert torch.equal(part.labels, whole.labels[rank::2, :size])
    assert sum(part.narrow_groups for part in parts) == whole.narrow_groups
    assert sum(part.pairs for part in parts) == whole.pairs
    own = sampler(groups, narrow_share=share, rank=1, processes=2).step(5, whole=True)
    assert torch.equal(own.teacher, whole.teacher)


def test_every_pair_has_its_place_and_narrow_widths_see_the_first_groups(groups):
    data = sampler(groups).step(0)
    places = torch.cat([micro.positions for micro in data.full])
    assert torch.equal(places.sort().values, data.mask.flatten().nonzero()[:, 0])
    narrow = torch.cat([micro.positions for micro in data.narrow])
    assert torch.equal(narrow.sort().values, data.mask[: data.narrow_groups].flatten().nonzero()[:, 0])


def test_batches_are_sorted_by_length_and_padded_to_sixteen_at_most(groups):
    lengths = [(~micro.batch.blank).sum(1) for micro in sampler(groups).step(1).full]
    assert torch.equal(torch.cat(lengths), torch.cat(lengths).sort(descending=True).values)
    for micro in sampler(groups).step(1).full:
        assert micro.batch.ids.shape[1] - int((~micro.batch.blank[0]).sum()) < 16


def test_each_group_has_a_positive_and_no_candidate_twice(groups):
    data = sampler(groups).step(2)
    assert (data.labels == 1).any(1).all()
    drawn = sampler(groups)
    for row in range(20):
        picked = drawn._candidates(row, np.random.default_rng(row))
        assert len(set(picked.tolist())) == len(picked) == 4


def test_held_out_queries_are_never_drawn_and_validated_in_fixed_order(groups):
    drawn = sampler(groups)
    assert groups.held_out.sum() == 4
    assert not any(groups.held_out[rows].any() for rows in drawn.rows)
    steps = drawn.validation(queries=10, candidates=5)
    assert sum(len(data.mask) for data in steps) == 4
    assert all(data.mask.shape[1] == 5 and not data.narrow for data in steps)


def test_what_cannot_be_drawn_is_refused(groups):
    with pytest.raises(ValueError, match="multiple of 4 processes"):
        sampler(groups, processes=4)
    with pytest.raises(ValueError, match=r"names \['nowhere'\]: the data has made-up"):
        sampler(groups, source_weights={"nowhere": 1.0})
    with pytest.raises(ValueError, match="no query to train on"):
        sampler(groups, source_weights={"made-up": 0.0})


def test_work_made_ahead_comes_in_order_and_its_errors_too():
    assert list(ahead(str, 3, 8)) == ["3", "4", "5", "6", "7"]
    assert list(ahead(str, 3, 3)) == []
    made = ahead(lambda number: 1 / (2 - number), 0, 5)
    assert [next(made), next(made)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(made)
