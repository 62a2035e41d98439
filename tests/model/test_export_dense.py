"""An exported text encoder gives `ElasticDenser`'s vectors in sentence-transformers and ONNX Runtime."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from elasticranker.cli import main
from elasticranker.model.checkpoint import load
from elasticranker.model.dense import LoadedDense
from elasticranker.model.export_dense import export_sentence_transformer, export_vectors_onnx
from elasticranker.model.loaded import Settings
from elasticranker.model.readout import InteractionReadout
from elasticranker.planning.dense import DenseReading
from elasticranker.planning.subnet import SubNet
from tests.denser.tiny import QUERIES, TEXTS, checkpoint, corrected_checkpoint

SOURCES = {
    "first": checkpoint,
    "chosen": lambda: checkpoint(DenseReading((0, 2, 1))),
    "corrected": corrected_checkpoint,
}


def ours(source: str, texts: list[str], subnet: SubNet, *, queries: bool) -> np.ndarray:
    """Vectors by the engine, from one sub-network."""
    loaded = LoadedDense(Settings(source, 4096, None, 64, None, "float32", None))
    encoder = loaded.queries if queries else loaded.documents
    return loaded.engine.encode(encoder.tokens(texts).rows, [subnet] * len(texts), encoder)


@pytest.mark.parametrize("layers", SOURCES)
@pytest.mark.parametrize("depth", [0, 1, 2, 3])
def test_sentence_transformers_gives_our_vectors(tmp_path: Path, layers: str, depth: int) -> None:
    library = pytest.importorskip("sentence_transformers", reason="needs sentence-transformers")
    source = SOURCES[layers]()
    folder = export_sentence_transformer(load(source), tmp_path / "plain", depth=depth)
    model = library.SentenceTransformer(str(folder), device="cpu")
    for kind, texts in (("query", list(QUERIES.values())), ("document", list(TEXTS.values()))):
        theirs = model.encode(texts, prompt_name=kind)
        np.testing.assert_allclose(theirs, ours(source, texts, SubNet(depth), queries=kind == "query"), atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "depth", "width"),
    [("first", 0, 1.0), ("first", 3, 1.0), ("chosen", 2, 0.5), ("corrected", 2, 1.0), ("corrected", 1, 0.5)],
)
def test_onnx_gives_our_vectors(tmp_path: Path, layers: str, depth: int, width: float) -> None:
    runtime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    from transformers import AutoTokenizer

    source, texts = SOURCES[layers](), list(TEXTS.values())
    folder = export_vectors_onnx(load(source), tmp_path / "graph", depth=depth, width=width)
    prefix = json.loads((folder / "config.json").read_text())["elasticranker"]["prefixes"]["document"]
    session = runtime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    read = AutoTokenizer.from_pretrained(folder)
    expected = ours(source, texts, SubNet(depth, width), queries=False)
    for size in (1, 2, len(texts)):
        tokens = read([prefix + text for text in texts[:size]], padding=True, return_tensors="np")
        feed = {given.name: tokens[given.name] for given in session.get_inputs()}
        assert set(feed) == {"input_ids", "attention_mask"}
        np.testing.assert_allclose(session.run(["vectors"], feed)[0], expected[:size], atol=1e-5)


def test_an_export_is_a_bi_encoder_for_us_too(tmp_path: Path) -> None:
    source, texts = checkpoint(), list(QUERIES.values())
    folder = export_sentence_transformer(load(source), tmp_path / "plain", depth=3)
    again = ours(str(folder), texts, SubNet(3), queries=True)
    np.testing.assert_allclose(again, ours(source, texts, SubNet(3), queries=True), atol=1e-5)


def test_an_exit_that_projects_is_refused_as_an_ordinary_bi_encoder(tmp_path: Path) -> None:
    """Rather than read without its projection."""
    folder = export_sentence_transformer(load(checkpoint()), tmp_path / "plain", depth=1)
    with pytest.raises(ValueError, match=r"pools by mean\+Dense"):
        ours(str(folder), ["cat"], SubNet(1), queries=True)


def test_the_command_writes_either(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxscript", reason="needs the extra onnx")
    plain, graph = str(tmp_path / "plain"), str(tmp_path / "graph")
    assert main(["export", checkpoint(), "--depth", "2", "--output", plain]) == 0
    assert f"SentenceTransformer('{plain}')" in capsys.readouterr().out
    assert main(["export", checkpoint(), "--depth", "1", "--width", "0.5", "--onnx", "--output", graph]) == 0
    assert (tmp_path / "graph/model.onnx").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--depth", "4"], "exits after layers 0, 1, 2, 3"),
        (["--depth", "3", "--onnx", "--width", "0.3"], "at depth 3 the checkpoint has width 1, 0.5"),
        (["--depth", "3", "--output", "{checkpoint}"], "holds an elastic checkpoint"),
    ],
)
def test_what_cannot_be_exported_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    given = [argument.format(checkpoint=checkpoint()) for argument in arguments]
    assert main(["export", checkpoint(), "--output", str(tmp_path / "out"), *given]) == 2
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_that_scores_pairs_alone_makes_no_vectors(tmp_path: Path) -> None:
    model = load(checkpoint())
    model.encoder.exits["1"] = InteractionReadout(model.encoder.shape.hidden)
    with pytest.raises(ValueError, match="makes no vectors of single texts"):
        export_sentence_transformer(model, tmp_path / "plain", depth=1)
