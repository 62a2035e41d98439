"""Every tensor is the checkpoint's: what lacks is named, nothing is made up, asked for or run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from elasticranker import ElasticRanker
from elasticranker.files import sha256_file
from elasticranker.model.checkpoint import load
from elasticranker.model.huggingface import from_hugging_face
from elasticranker.model.manifest import read_manifest, write_manifest
from elasticranker.model.weights import tensor_names
from elasticranker.training.teachers.cross_encoder import CrossEncoderTeacher
from elasticranker.training.teachers.teacher import open_teacher
from elasticranker.training.trainer.rank_stage import ElasticTrainer
from tests.backbones import FAMILIES, save_backbone
from tests.model.test_parity import FRAME, vanilla_logits
from tests.planning.test_cost import elastic
from tests.training.tiny import make_groups

Tensors = dict[str, torch.Tensor]


def change_weights(folder: str | Path, change: Callable[[Tensors], Tensors]) -> None:
    path = Path(folder) / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def change_config(folder: str | Path, **changes: Any) -> None:
    path = Path(folder) / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def without(part: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if part not in name}


def scores(folder: str) -> np.ndarray:
    result = ElasticRanker(folder, dtype="float32")(FRAME)
    return result.set_index("docno").loc[FRAME["docno"], "score"].to_numpy()


CASES: list[tuple[str, str, Callable[[Tensors], Tensors], str]] = [
    ("bert", "head", without("classifier"), r"without a ranking head .*classifier\.weight.*elasticranker train"),
    ("bert", "encoder alone", without("pooler"), r"they lack bert\.pooler\.dense\.bias, bert\.pooler\.dense\.weight"),
    ("electra", "half a head", without("classifier.dense"), r"they lack classifier\.dense\.bias"),
    ("roberta", "layer", without("layer.1."), r"they lack roberta\.encoder\.layer\.1\..* and 12 more"),
    ("bert", "word", without("word_embeddings"), r"they lack bert\.embeddings\.word_embeddings\.weight"),
    (
        "bert",
        "prefix",
        lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()},
        r"no place for module\.bert\.embeddings",
    ),
    (
        "roberta",
        "other names",
        lambda tensors: {name.replace("attention.self", "mixer.Wqkv"): tensor for name, tensor in tensors.items()},
        r"they lack roberta\.encoder.*no place for roberta\.encoder\.layer\.0\.mixer",
    ),
    (
        "bert",
        "adapter",
        lambda tensors: tensors | {"bert.encoder.layer.0.attention.self.query.lora_A": torch.ones(2, 2)},
        r"no place for bert\.encoder\.layer\.0\.attention\.self\.query\.lora_A",
    ),
    (
        "bert",
        "shape",
        lambda tensors: tensors | {"classifier.weight": torch.ones(2, 32)},
        r"classifier\.weight \(\(2, 32\) in the file, \(1, 32\) by config\.json\)",
    ),
]


@pytest.mark.parametrize(("family", "what", "change", "message"), CASES, ids=[case[1] for case in CASES])
def test_weights_that_are_not_the_models_are_refused_by_name(
    tmp_path: Path, family: str, what: str, change: Callable[[Tensors], Tensors], message: str
) -> None:
    folder = save_backbone(tmp_path, family)
    change_weights(folder, change)
    with pytest.raises(ValueError, match=message):
        ElasticRanker(folder)(FRAME)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_is_needed(tmp_path: Path, family: str) -> None:
    folder = save_backbone(tmp_path, family, layers=1)
    whole = load_file(tmp_path / "model.safetensors")
    for name in whole:
        change_weights(folder, lambda _, name=name: {key: whole[key] for key in whole if key != name})
        with pytest.raises(ValueError, match=name.replace(".", r"\.")):
            load(folder)


@pytest.mark.parametrize(
    "extra",
    ["bert.embeddings.position_ids", "cls.predictions.bias", "lm_head.decoder.weight", "generator.dense.weight"],
)
def test_what_no_score_depends_on_may_be_there(tmp_path: Path, extra: str) -> None:
    folder = save_backbone(tmp_path)
    expected = scores(folder)
    change_weights(folder, lambda tensors: tensors | {extra: torch.ones(2)})
    np.testing.assert_array_equal(scores(folder), expected)


def test_layers_that_the_configuration_leaves_out_are_named(tmp_path: Path) -> None:
    folder = save_backbone(tmp_path)
    change_config(folder, num_hidden_layers=2)
    with pytest.raises(ValueError, match=r"no place for bert\.encoder\.layer\.2"):
        load(folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_counts_also_where_the_configuration_does_not_name_it(tmp_path: Path, family: str) -> None:
    folder = save_backbone(tmp_path, family)
    expected = vanilla_logits(folder)[:, 0]
    change_config(folder, architectures=None)
    np.testing.assert_allclose(scores(folder), expected, atol=1e-4)
    assert isinstance(open_teacher(folder, device="cpu"), CrossEncoderTeacher)


def test_a_teacher_that_should_have_a_head_is_no_bi_encoder(tmp_path: Path) -> None:
    folder = save_backbone(tmp_path)
    change_weights(folder, without("classifier"))
    with pytest.raises(ValueError, match="without a ranking head"):
        open_teacher(folder, device="cpu")


def test_training_starts_from_whole_weights_with_a_head_of_its_own(tmp_path: Path) -> None:
    folder = save_backbone(tmp_path / "model")
    change_weights(folder, without("pooler"))
    encoder, _ = from_hugging_face(folder, keep_head=False)
    assert {readout.kind for readout in encoder.exits.values()} == {"interaction"}
    change_weights(folder, without("layer.2."))
    make_groups(tmp_path / "source").save(tmp_path / "data")
    with pytest.raises(ValueError, match=r"they lack encoder\.layer\.2"):
        ElasticTrainer(folder, tmp_path / "data", tmp_path / "run")


def test_an_elastic_checkpoint_that_lacks_a_tensor_is_refused_by_name(tmp_path: Path) -> None:
    folder = elastic(tmp_path / "source").save(tmp_path / "saved")
    change_weights(folder, without("exits.1.term"))
    manifest = read_manifest(folder)
    manifest["files"]["model.safetensors"] = sha256_file(folder / "model.safetensors")
    write_manifest(folder, manifest)
    with pytest.raises(ValueError, match=r"they lack exits\.1\.term, exits\.1\.term_bias; get the checkpoint again"):
        load(folder)


@pytest.mark.parametrize("content", [None, b"", b"\x00" * 100])
def test_weights_that_cannot_be_read_are_refused(tmp_path: Path, content: bytes | None) -> None:
    folder = save_backbone(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.unlink()
    if content is not None:
        weights.write_bytes(content)
    with pytest.raises(ValueError, match="has no weights that can be read"):
        load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "jina", "auto_map": {"AutoConfig": "code.Config"}}, "'jina' is not supported.*is never run"),
        ({"model_type": None}, "model type None is not supported"),
        ({"is_decoder": True}, "is_decoder=True"),
        ({"quantization_config": {"quant_method": "gptq"}}, "are quantised"),
    ],
)
def test_what_is_not_supported_is_named_and_nobody_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on standard input"))
    folder = save_backbone(tmp_path)
    change_config(folder, **changes)
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_code_beside_a_known_model_is_never_run(tmp_path: Path) -> None:
    folder = save_backbone(tmp_path)
    expected = scores(folder)
    (tmp_path / "code.py").write_text("raise SystemExit('ran')")
    names = {"AutoConfig": "code.Config", "AutoModelForSequenceClassification": "code.Model"}
    change_config(folder, auto_map=names)
    np.testing.assert_array_equal(scores(folder), expected)


def test_an_adapter_beside_the_weights_is_refused(tmp_path: Path) -> None:
    folder = save_backbone(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ValueError, match="merge it into the weights"):
        load(folder)


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no config\.json"):
        ElasticRanker(str(tmp_path))(FRAME)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        ElasticRanker(str(tmp_path))(FRAME)


def test_shards_and_pickled_weights_are_read_as_well(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    expected = scores(save_backbone(tmp_path / "whole"))
    names = tensor_names(tmp_path / "whole")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "whole")
    shards, pickled = save_backbone(tmp_path / "shards"), save_backbone(tmp_path / "pickled")
    (tmp_path / "shards" / "model.safetensors").unlink()
    model.save_pretrained(shards, max_shard_size="20KB")
    (tmp_path / "pickled" / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pickled" / "pytorch_model.bin")
    for folder in (shards, pickled):
        assert tensor_names(folder) == names
        np.testing.assert_allclose(scores(folder), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_weights_are_saved_in_the_dtype_that_they_came_in(tmp_path: Path, dtype: torch.dtype) -> None:
    folder = save_backbone(tmp_path / "model", "electra")
    change_weights(folder, lambda tensors: {name: tensor.to(dtype) for name, tensor in tensors.items()})
    saved = ElasticRanker(folder).save_pretrained(tmp_path / "saved")
    tensors = load_file(saved / "model.safetensors")
    assert {tensor.dtype for name, tensor in tensors.items() if not name.startswith("exits.0.")} == {dtype}
    np.testing.assert_array_equal(scores(str(saved)), scores(folder))


def test_another_dtype_is_asked_for_by_name(tmp_path: Path) -> None:
    ranker = ElasticRanker(save_backbone(tmp_path / "model"))
    saved = ranker.save_pretrained(tmp_path / "saved", dtype="bfloat16")
    assert {tensor.dtype for tensor in load_file(saved / "model.safetensors").values()} == {torch.bfloat16}
    with pytest.raises(ValueError, match="dtype='int8': weights are stored as bfloat16, float16, float32"):
        ranker.save_pretrained(tmp_path / "other", dtype="int8")
    assert not (tmp_path / "other").exists()
