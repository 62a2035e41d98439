"""Heads that sentence-transformers saves in modules, as Ettin's rerankers have: its scores, or refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from elasticranker import ElasticRanker
from elasticranker.model import hub
from elasticranker.model.checkpoint import fingerprint, load
from elasticranker.model.export import export_hugging_face
from elasticranker.model.huggingface import from_hugging_face, has_head
from tests.backbones import save_backbone
from tests.model.test_saved import LONG, QUERY, TEXTS, change, cross_encoder, ours, theirs

pytestmark = pytest.mark.filterwarnings("ignore:texts longer than max_length")
pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")


def modular(
    folder: Path,
    family: str = "modernbert",
    *,
    pooling: str = "cls",
    dense: bool = True,
    norm: bool = True,
    **last: Any,
) -> str:
    """What Ettin's are, but tiny: Transformer, Pooling, Dense, LayerNorm, Dense."""
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import LayerNorm, Pooling

    torch.manual_seed(2)
    encoder = save_backbone(folder / "encoder", family, labels=None)
    modules: list[Any] = [Transformer(encoder, transformer_task="feature-extraction"), Pooling(32, pooling)]
    if dense:
        modules.append(Dense(32, 32, bias=False, activation_function=torch.nn.GELU()))
    if norm:
        modules.append(LayerNorm(32))
        torch.nn.init.normal_(modules[-1].norm.weight, mean=1.0)
        torch.nn.init.normal_(modules[-1].norm.bias)
    end = {"out_features": 1, "activation_function": torch.nn.Identity(), "module_output_name": "scores"} | last
    modules.append(Dense(32, **end))
    CrossEncoder(modules=modules, device="cpu").save_pretrained(str(folder / "saved"))
    return str(folder / "saved")


FORMS = [{}, {"pooling": "mean"}, {"norm": False}, {"norm": False, "dense": False}, {"bias": False}, {"family": "bert"}]


@pytest.mark.parametrize("form", FORMS)
def test_its_scores_are_sentence_transformers_own(tmp_path: Path, form: dict[str, Any]) -> None:
    folder = modular(tmp_path, **form)
    expected = theirs(folder)
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(ours(folder), expected, atol=1e-4)
    again = ElasticRanker(folder).save_pretrained(tmp_path / "elastic")
    np.testing.assert_allclose(ours(again), expected, atol=1e-4)


def test_its_order_is_sentence_transformers_own(tmp_path: Path) -> None:
    folder = modular(tmp_path)
    texts = [*TEXTS, LONG + "star", "moon"]
    order = np.argsort(-ours(folder, texts=texts)).tolist()
    assert order == [row["corpus_id"] for row in cross_encoder(folder).rank(QUERY, texts)]


def test_it_is_a_cross_encoder_and_a_backbone(tmp_path: Path) -> None:
    folder = modular(tmp_path)
    assert has_head(folder)
    encoder, _ = from_hugging_face(folder, keep_head=False)
    assert {readout.kind for readout in encoder.exits.values()} == {"interaction"}


def test_all_that_it_needs_is_fetched_from_the_hub(tmp_path: Path) -> None:
    from huggingface_hub.utils import filter_repo_objects

    folder = Path(modular(tmp_path))
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    for name in filter_repo_objects(files, allow_patterns=[*hub.SETTINGS, *hub.WEIGHTS[0]]):
        (tmp_path / "fetched" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, tmp_path / "fetched" / name)
    np.testing.assert_array_equal(ours(tmp_path / "fetched"), ours(folder))


def test_another_head_is_another_checkpoint(tmp_path: Path) -> None:
    folder = modular(tmp_path)
    before, path = fingerprint(folder), Path(folder) / "2_Dense" / "model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(path).items()}, path)
    assert fingerprint(folder) != before


def test_a_norm_with_a_bias_is_no_head_of_hugging_faces(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"head\.norm\.bias.*--onnx"):
        export_hugging_face(load(modular(tmp_path)), tmp_path / "plain", depth=3)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("1_Pooling/config.json", {"pooling_mode": "max"}, "pooling_mode='max'"),
        ("1_Pooling/config.json", {"include_prompt": False}, "include_prompt=false"),
        ("2_Dense/config.json", {"activation_function": "torch.nn.modules.activation.SiLU"}, "activation.SiLU'"),
        ("2_Dense/config.json", {"use_residual": True}, "use_residual=true"),
        ("2_Dense/config.json", {"out_features": 16}, "a Dense of 32 to 16 features"),
        ("4_Dense/config.json", {"out_features": 3}, "a Dense of 32 to 3 features"),
        ("4_Dense/config.json", {"activation_function": "torch.nn.modules.activation.Tanh"}, "activation.Tanh'"),
    ],
)
def test_what_is_not_done_here_is_refused_by_name(
    tmp_path: Path, file: str, changes: dict[str, Any], message: str
) -> None:
    folder = modular(tmp_path)
    change(folder, file, **changes)
    with pytest.raises(ValueError, match=message):
        load(folder)


def test_modules_of_another_form_are_refused_by_name(tmp_path: Path) -> None:
    folder = modular(tmp_path)
    modules = json.loads((Path(folder) / "modules.json").read_text())
    (Path(folder) / "modules.json").write_text(json.dumps([modules[0], modules[2], modules[4]]))
    with pytest.raises(ValueError, match="with the modules Dense, Dense behind its encoder"):
        load(folder)


@pytest.mark.parametrize("module", ["2_Dense", "3_LayerNorm", "4_Dense"])
def test_weights_that_a_module_lacks_are_refused_by_name(tmp_path: Path, module: str) -> None:
    folder = modular(tmp_path)
    (Path(folder) / module / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"weights in .*{module} aren't those of its model: they lack"):
        load(folder)
