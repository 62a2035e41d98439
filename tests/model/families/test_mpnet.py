"""MPNet's buckets are transformers' own."""

import torch

from elasticranker.model.families.mpnet import distance_buckets


def test_distances_fall_into_the_buckets_that_transformers_puts_them_in():
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    place = torch.arange(512)
    expected = MPNetEncoder.relative_position_bucket(place[None] - place[:, None], num_buckets=32)
    assert torch.equal(distance_buckets(512, torch.device("cpu")), expected)
