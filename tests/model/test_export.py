"""An exported sub-network gives the engine's scores in Hugging Face, sentence-transformers and ONNX Runtime."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elasticranker.cli import main
from elasticranker.model.checkpoint import Checkpoint, load
from elasticranker.model.encoder import Encoder
from elasticranker.model.export import export_hugging_face, export_onnx
from elasticranker.model.huggingface import untrained_head
from elasticranker.model.importance import Importance, reorder
from elasticranker.model.readout import ClsReadout, InteractionReadout
from tests.backbones import save_backbone
from tests.planning.test_cost import engine_of

ONCE = ["distilbert", "mpnet", "albert", "modernbert"]  # their layers, but not every readout again
PAIRS = [
    ("who is at the bank", "the river bank"),
    ("cat", ""),
    ("who", "money flows to the bank of the river " * 4),
    ("how do i copy a whole folder", "the whole file"),
    ("", "blue moon"),
]


def checkpoint_of(folder: Path, family: str, *, labels: int = 1, pooler: str | None = "its own") -> Checkpoint:
    """Random weights with heads and neurons reordered: `interaction` after 0 and 2 layers, `cls` after 1 and 3."""
    made = load(save_backbone(folder, family, labels))
    torch.manual_seed(1)
    hidden = made.encoder.shape.hidden
    own = pooler == "its own"
    readouts: dict[int, torch.nn.Module] = {depth: InteractionReadout(hidden) for depth in (0, 2)}
    readouts |= {
        depth: untrained_head(made.config, hidden, labels) if own else ClsReadout(hidden, labels, pooler)
        for depth in (1, 3)
    }
    encoder = Encoder(made.encoder.shape, readouts)
    for parameter in encoder.exits.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    encoder.load_state_dict(made.encoder.state_dict() | encoder.exits.state_dict(prefix="exits."), strict=False)
    importance = Importance(encoder)
    if family != "mpnet":
        importance.heads.uniform_()
    importance.neurons.uniform_()
    reorder(encoder, importance)
    checkpoint = Checkpoint(encoder.eval(), made.tokenizer, made.config, widths=(1.0, 0.5))
    return load(checkpoint.save(folder / "elastic"))


def engine_scores(checkpoint: Checkpoint, depth: int, width: float = 1.0) -> np.ndarray:
    engine = engine_of(checkpoint)
    queries, texts = zip(*PAIRS, strict=True)
    tokens = zip(engine.pairs.tokens(queries), engine.pairs.tokens(texts), strict=True)
    return engine.every_exit([engine.pairs.pair(*pair) for pair in tokens], width)[depth]


def hugging_face_logits(folder: Path) -> np.ndarray:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokens = AutoTokenizer.from_pretrained(folder)(*zip(*PAIRS, strict=True), padding=True, return_tensors="pt")
    with torch.no_grad():
        return model(**tokens).logits.numpy()


def margin(logits: np.ndarray) -> np.ndarray:
    """The score of one logit or two."""
    return logits[:, 0] if logits.shape[1] == 1 else logits[:, 1] - logits[:, 0]


@pytest.mark.parametrize("family", ["bert", "electra", "roberta", *ONCE])
@pytest.mark.parametrize("labels", [1, 2])
def test_hugging_face_gives_the_same_scores(tmp_path: Path, family: str, labels: int) -> None:
    checkpoint = checkpoint_of(tmp_path, family, labels=labels)
    for depth in (1, 3):
        logits = hugging_face_logits(export_hugging_face(checkpoint, tmp_path / f"plain-{depth}", depth=depth))
        assert logits.shape == (len(PAIRS), labels)
        np.testing.assert_allclose(margin(logits), engine_scores(checkpoint, depth), atol=1e-4)


def test_heads_in_an_order_of_their_own_in_every_layer_are_no_mpnet_of_hugging_faces(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(tmp_path, "mpnet")
    importance = Importance(checkpoint.encoder)
    importance.heads[1, 2] = 1
    before = engine_scores(checkpoint, 3)
    reorder(checkpoint.encoder, importance)
    np.testing.assert_allclose(engine_scores(checkpoint, 3), before, atol=1e-4)
    with pytest.raises(ValueError, match=r"no longer agree in encoder\.relative_attention_bias\.weight.*--onnx"):
        export_hugging_face(checkpoint, tmp_path / "plain", depth=3)


def test_a_head_with_a_bias_more_than_its_model_is_refused(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(tmp_path, "modernbert")
    checkpoint.encoder.exits["3"] = readout = ClsReadout(32, 1, "gelu", norm=1e-5)
    assert export_hugging_face(checkpoint, tmp_path / "zeros", depth=3).is_dir()
    torch.nn.init.ones_(readout.norm_bias)
    with pytest.raises(ValueError, match=r"none \(head\.norm\.bias\).*--onnx"):
        export_hugging_face(checkpoint, tmp_path / "plain", depth=3)


@pytest.mark.parametrize("labels", [1, 2])
def test_sentence_transformers_gives_the_same_scores(tmp_path: Path, labels: int) -> None:
    CrossEncoder = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers").CrossEncoder
    checkpoint = checkpoint_of(tmp_path, "bert", labels=labels)
    folder = export_hugging_face(checkpoint, tmp_path / "plain", depth=3)
    scores = CrossEncoder(str(folder), device="cpu").predict(PAIRS).reshape(len(PAIRS), labels)
    np.testing.assert_allclose(margin(scores), engine_scores(checkpoint, 3), atol=1e-4)


def test_others_cut_where_we_do(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(tmp_path, "bert")
    checkpoint.max_length = 24
    folder = export_hugging_face(checkpoint, tmp_path / "plain", depth=3)
    assert json.loads((folder / "tokenizer_config.json").read_text())["model_max_length"] == 24
    assert checkpoint.tokenizer.model_max_length == 64


@pytest.mark.parametrize("labels", [1, 2])
def test_a_linear_head_passes_through_gelu(tmp_path: Path, labels: int) -> None:
    checkpoint = checkpoint_of(tmp_path, "electra", labels=labels, pooler=None)
    logits = hugging_face_logits(export_hugging_face(checkpoint, tmp_path / "plain", depth=3))
    np.testing.assert_allclose(margin(logits), engine_scores(checkpoint, 3), atol=1e-4)


@pytest.mark.parametrize("pooler", [None, "gelu"])
def test_a_head_that_hugging_face_cannot_express_is_refused(tmp_path: Path, pooler: str | None) -> None:
    checkpoint = checkpoint_of(tmp_path, "bert", pooler=pooler)
    with pytest.raises(ValueError, match=r"has a tanh layer there.*--onnx"):
        export_hugging_face(checkpoint, tmp_path / "plain", depth=3)


def test_an_export_is_a_checkpoint_for_us_too(tmp_path: Path) -> None:
    checkpoint = checkpoint_of(tmp_path, "roberta")
    again = load(export_hugging_face(checkpoint, tmp_path / "plain", depth=1))
    np.testing.assert_allclose(engine_scores(again, 1), engine_scores(checkpoint, 1), atol=1e-5)


def onnx_scores(folder: Path, pairs: list[tuple[str, str]], **padding: Any) -> np.ndarray:
    """Scores by ONNX Runtime of what the exported tokenizer makes of some pairs."""
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    from transformers import AutoTokenizer

    session = runtime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    tokens = AutoTokenizer.from_pretrained(folder)(*zip(*pairs, strict=True), return_tensors="np", **padding)
    assert {given.name for given in session.get_inputs()} == set(tokens)
    (logits,) = session.run(["logits"], dict(tokens))
    assert logits.shape == (len(pairs), 1)
    return logits[:, 0]


# Both readouts, every depth, both widths; two labels and no pooler among them.
SUBNETS = [(0, 1.0), (1, 0.5), (2, 0.5), (3, 1.0)]


@pytest.mark.parametrize(
    ("family", "depth", "width"),
    [
        *((family, *subnet) for family in ("bert", "electra", "roberta") for subnet in SUBNETS),
        *((family, 3, 0.5) for family in ONCE),
    ],
)
def test_onnx_gives_the_same_scores(tmp_path: Path, family: str, depth: int, width: float) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    odd = {"labels": 2, "pooler": None} if depth == 1 else {}
    checkpoint = checkpoint_of(tmp_path, family, **odd)
    folder = export_onnx(checkpoint, tmp_path / "graph", depth=depth, width=width)
    expected = engine_scores(checkpoint, depth, width)
    for size in (1, 2, 5):
        scores = onnx_scores(folder, PAIRS[:size], padding=True)
        np.testing.assert_allclose(scores, expected[:size], atol=1e-4)
    for index, pair in enumerate(PAIRS):
        np.testing.assert_allclose(onnx_scores(folder, [pair]), expected[index : index + 1], atol=1e-4)
    longest = onnx_scores(folder, PAIRS, padding="max_length", max_length=64)
    np.testing.assert_allclose(longest, expected, atol=1e-4)


def test_an_onnx_folder_has_what_other_runtimes_read(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the extra onnx")
    folder = export_onnx(checkpoint_of(tmp_path, "bert"), tmp_path / "graph", depth=2, width=0.5)
    assert {path.name for path in folder.iterdir()} == {
        "model.onnx",
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["BertForSequenceClassification"]
    assert config["num_hidden_layers"] == 2
    assert len(config["id2label"]) == 1
    assert config["elasticranker"] == {"depth": 2, "width": 0.5, "readout": "interaction"}
    graph = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert {node.domain for node in graph.graph.node} == {""}
    assert b".py" not in (folder / "model.onnx").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--depth", "2"], "interaction readout, which no Hugging Face head can express: export it with --onnx"),
        (["--depth", "3", "--width", "0.5"], "full width; add --onnx"),
        (["--depth", "4"], "exits after layers 0, 1, 2, 3"),
        (["--depth", "3", "--onnx", "--width", "0.3"], "at depth 3 the checkpoint has width 1, 0.5"),
        (["--depth", "0", "--onnx", "--width", "0.5"], "at depth 0 the checkpoint has width 1"),
        (["--depth", "3", "--output", "{checkpoint}"], "holds an elastic checkpoint"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    checkpoint_of(tmp_path, "bert")
    elastic, output = str(tmp_path / "elastic"), str(tmp_path / "out")
    given = [argument.format(checkpoint=elastic) for argument in arguments]
    assert main(["export", elastic, "--output", output, *given]) == 2
    assert complaint in capsys.readouterr().err
    assert not Path(output).exists()


def test_the_command_writes_a_cross_encoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = checkpoint_of(tmp_path, "bert")
    output = tmp_path / "plain"
    assert main(["export", str(tmp_path / "elastic"), "--depth", "1", "--output", str(output)]) == 0
    assert f"CrossEncoder('{output}')" in capsys.readouterr().out
    np.testing.assert_allclose(margin(hugging_face_logits(output)), engine_scores(checkpoint, 1), atol=1e-4)


def test_missing_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint_of(tmp_path, "bert")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    command = ["export", str(tmp_path / "elastic"), "--onnx", "--depth", "2", "--output", str(tmp_path / "graph")]
    assert main(command) == 2
    assert 'of the extra onnx: pip install -e ".[onnx]" in the clone' in capsys.readouterr().err
