"""Sharing: the same tensors in every process, whatever holds them."""

import pytest
import torch
import torch.multiprocessing as multiprocessing

from elasticranker.ranker import ElasticRanker
from elasticranker.runs.sharing import restore, share
from tests.backbones import save_backbone


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save_backbone(tmp_path_factory.mktemp("model"))


def weights(ranker):
    """All tensors of a ranker: the encoder's and those that the engine has cut."""
    engine = ranker.engine
    return [*engine.encoder.parameters(), *(tensor for layer in engine.weights(1.0) for tensor in layer)]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_ranker_and_its_copy_have_one_set_of_weights(model, dtype):
    ranker = ElasticRanker(model, dtype=dtype)
    shared = share(ranker)
    copy = restore(shared)
    ours, theirs = weights(ranker), weights(copy)
    assert copy == ranker
    assert all(tensor.is_shared() for tensor in [*ours, *theirs])
    assert [tensor.data_ptr() for tensor in ours] == [tensor.data_ptr() for tensor in theirs]
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
    assert len(shared.pickled) < sum(tensor.nbytes for tensor in ours)


def test_sharing_changes_no_number(model):
    ranker = ElasticRanker(model)
    before = [tensor.clone() for tensor in weights(ElasticRanker(model))]
    share(ranker)
    assert all(torch.equal(one, other) for one, other in zip(before, weights(ranker), strict=True))


def test_views_stay_views():
    whole = torch.arange(6.0)
    row, column = whole.view(2, 3)[1], whole.view(2, 3)[:, 0]
    copies = restore(share([whole, row, column, row]))
    copies[0].zero_()
    assert row.tolist() == [0, 0, 0]
    assert column.tolist() == [0, 0]
    assert copies[1] is copies[3]
    assert copies[2].stride() == (3,)


def test_what_has_no_tensors_can_be_shared():
    assert restore(share({"a": [1, None]})) == {"a": [1, None]}


def write(shared):
    """In another process: change every weight."""
    with torch.inference_mode():
        for tensor in weights(restore(shared)):
            tensor.fill_(7)


def test_what_another_process_writes_is_seen_here(model):
    ranker = ElasticRanker(model, dtype="bfloat16")
    process = multiprocessing.get_context("spawn").Process(target=write, args=(share(ranker),))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert all(bool((tensor == 7).all()) for tensor in weights(ranker))
