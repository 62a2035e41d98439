"""A shape is a cross-encoder that everyone loads."""

import pytest

from elasticranker.model.checkpoint import load
from experiments.peers.shapes import SHAPES, write_shape


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_is_a_cross_encoder_of_its_sizes(tmp_path, name):
    folder = write_shape(name, tmp_path / name)
    made = load(folder)
    assert made.encoder.shape.layers == SHAPES[name]["num_hidden_layers"]
    assert made.encoder.shape.heads == SHAPES[name]["num_attention_heads"]
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert write_shape(name, folder) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
