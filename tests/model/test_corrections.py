"""What a query encoder has of its own: it adds to its layers, and to nobody else's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from elasticranker import ElasticDenser
from elasticranker.model.checkpoint import load
from elasticranker.model.corrections import Correction
from elasticranker.model.own_layers import own_layers, sizes_of
from elasticranker.planning.dense import DenseReading
from elasticranker.planning.subnet import SubNet
from elasticranker.training.data.dense_texts import VectorBatch
from elasticranker.training.trainer.dense_stage import give_corrections
from elasticranker.training.trainer.dense_step import read_vectors
from tests.denser.tiny import QUERIES, checkpoint, corrected_checkpoint

TEXTS = list(QUERIES.values())


def vectors(source: str, depth: int) -> np.ndarray:
    return ElasticDenser(source, dtype="float32").encode_with(SubNet(depth), TEXTS).vectors


def test_untrained_corrections_change_nothing(tmp_path: Path) -> None:
    made = load(checkpoint(DenseReading((2, 0, 1))))
    give_corrections(made.encoder, 4, seed=0)
    saved = str(made.save(tmp_path / "untrained"))
    for depth in (0, 1, 2, 3):
        assert np.array_equal(vectors(saved, depth), vectors(checkpoint(DenseReading((2, 0, 1))), depth))


def test_a_correction_is_of_its_own_sub_network_alone() -> None:
    plain, corrected = checkpoint(DenseReading((2, 0, 1))), corrected_checkpoint()
    for depth, other in ((0, False), (1, True), (2, True), (3, False)):
        assert np.allclose(vectors(plain, depth), vectors(corrected, depth), atol=1e-3) != other


def test_a_corrected_layer_computes_with_the_sum() -> None:
    made = load(corrected_checkpoint())
    exit = made.encoder.exits["2"]
    layers = own_layers(made.encoder, exit, (0, 2))
    for index, layer, correction in zip((0, 2), layers, exit.corrections, strict=True):
        shared = made.encoder.layer(index)
        assert layer is not shared and torch.equal(layer.up_bias, shared.up_bias)
        for name, more in correction.added().items():
            wanted = getattr(shared, name) + more.view_as(getattr(shared, name))
            assert torch.equal(getattr(layer, name), wanted) and more.any()
    assert own_layers(made.encoder, made.encoder.exits["3"], (0, 1, 2)) == list(made.encoder.layers)


def test_training_and_running_compute_alike() -> None:
    denser = ElasticDenser(corrected_checkpoint(), dtype="float32")
    encoder = denser.checkpoint.encoder
    rows = denser._loaded.queries.tokens(TEXTS[:1]).rows
    ids = torch.from_numpy(rows[0][None].astype(np.int64))
    batch = VectorBatch(ids, torch.tensor([ids.shape[1]]), torch.zeros(1, encoder.shape.hidden))
    made = read_vectors(encoder, denser.checkpoint.dense, batch, 1.0, torch.float32)
    for place, depth in enumerate(encoder.depths):
        expected = denser.encode_with(SubNet(depth), TEXTS[:1]).vectors
        np.testing.assert_allclose(made[place].detach(), expected, atol=1e-5)


def test_a_correction_is_of_low_rank_and_has_the_size_of_what_it_corrects() -> None:
    layer = load(checkpoint()).encoder.layer(0)
    sizes = sizes_of(layer)
    assert sizes == {"qkv": (96, 32), "up": (48, 32), "out": (32, 32), "down": (32, 48)}
    correction = Correction(3, sizes)
    for name in sizes:
        getattr(correction, f"{name}_out").data.normal_()
    assert all(int(torch.linalg.matrix_rank(more)) == 3 for more in correction.added().values())
