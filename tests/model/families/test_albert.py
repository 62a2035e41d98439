"""ALBERT's layers are one: stored once, cut once, exported as one."""

from pathlib import Path

import pytest
import torch

from elasticranker.model.checkpoint import load
from elasticranker.model.export import export_hugging_face
from elasticranker.model.families.albert import AlbertShape
from elasticranker.model.readout import ClsReadout
from tests.backbones import save_backbone
from tests.planning.test_cost import elastic, engine_of


def test_its_layers_are_one(tmp_path: Path) -> None:
    checkpoint = elastic(tmp_path / "model", "albert")
    again = load(checkpoint.save(tmp_path / "elastic"))
    assert {name.split(".")[1] for name in again.encoder.state_dict() if name.startswith("layers.")} == {"0"}
    assert len({id(layer) for layer in engine_of(again).weights(0.5)}) == 1


@pytest.mark.parametrize(("layers", "shared"), [(12, 1), (12, 3), (5, 2), (7, 7)])
def test_layers_take_turns_as_in_transformers(layers: int, shared: int) -> None:
    shape = AlbertShape(10, 10, 2, layers, 8, 2, 4, 8, 4, shared=shared)
    assert [shape.own(index) for index in range(layers)] == [int(i / (layers / shared)) for i in range(layers)]


def test_several_shared_layers_have_no_cut_model_of_hugging_faces(tmp_path: Path) -> None:
    checkpoint = load(save_backbone(tmp_path / "model", "albert", layers=4, num_hidden_groups=2))
    checkpoint.encoder.exits["2"] = ClsReadout(32, 1, "tanh")
    with pytest.raises(ValueError, match=r"depth=2: an ALBERT of 2 distinct layers.*--onnx"):
        export_hugging_face(checkpoint, tmp_path / "plain", depth=2)
    again = load(export_hugging_face(checkpoint, tmp_path / "plain", depth=4))
    assert torch.equal(again.encoder.layers[1].qkv, checkpoint.encoder.layers[1].qkv)
