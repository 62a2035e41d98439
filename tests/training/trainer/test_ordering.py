"""Reordering by importance: the same function, and what matters comes first."""

import numpy as np
import pytest
import torch

from elasticranker.model.huggingface import from_hugging_face
from elasticranker.model.pairs import PairEncoder
from elasticranker.model.saved import read_tokenizer
from elasticranker.training.data.batches import Sampler
from elasticranker.training.trainer.ordering import order_by_importance
from elasticranker.training.trainer.step import ElasticStep, read_exits
from tests.backbones import FAMILIES, save_backbone
from tests.training.tiny import make_groups, settings


@pytest.fixture(scope="module", params=FAMILIES)
def step_and_sampler(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ordering")
    saved = save_backbone(folder / "backbone", request.param)
    encoder, _ = from_hugging_face(saved, keep_head=False)
    pairs = PairEncoder(read_tokenizer(saved), max_length=32, max_query_length=8)
    sampler = Sampler(make_groups(folder / "source"), pairs, groups_per_step=4, group_size=4)
    return ElasticStep(encoder, settings()), sampler


def scores(step: ElasticStep, sampler: Sampler) -> torch.Tensor:
    data = sampler.step(99)
    with torch.no_grad():
        return read_exits(step.encoder, data.full, data.mask.numel(), 1.0, torch.float32).scores


def test_the_whole_model_computes_what_it_did_before_and_the_planted_head_comes_first(step_and_sampler):
    step, sampler = step_and_sampler
    layer = step.encoder.layer(1)
    with torch.no_grad():  # of this layer's heads only the third says anything, and of its neurons only the tenth
        layer.out[:, [0, 1, 3]] = 0
        layer.down[:, np.setdiff1d(np.arange(48), 10)] = 0
    head, neuron = layer.out[:, 2].clone(), layer.down[:, 10].clone()
    before = scores(step, sampler)
    order_by_importance(step, [sampler.step(number) for number in range(2)])
    torch.testing.assert_close(scores(step, sampler), before, atol=1e-5, rtol=0)
    torch.testing.assert_close(layer.out[:, 0], head)
    torch.testing.assert_close(layer.down[:, 0], neuron)
    assert not layer.out[:, 1:].any()
