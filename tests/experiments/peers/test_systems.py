"""Every runtime computes the same function; what cannot run is named."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from elasticranker.evaluation.candidates import Candidates
from elasticranker.model.checkpoint import load
from elasticranker.model.dense import LoadedDense
from elasticranker.model.loaded import Settings
from elasticranker.planning.subnet import SubNet
from experiments.peers.memory import peak_memory
from experiments.peers.setup import Setup, Unavailable
from experiments.peers.systems import FULL, FULL_FLOAT32, PEERS, Peer, open_system, open_systems, ranked
from tests.backbones import save_backbone

# Largest difference from our float32 scores, which spread over some 40 units.
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.2, "int8": 0.4}


def scores(scored: pd.DataFrame) -> pd.Series:
    return scored.set_index(["qid", "docno"])["score"].sort_index()


@pytest.fixture(scope="session")
def ours(setup: Setup, candidates: Candidates) -> pd.Series:
    return scores(open_system(FULL_FLOAT32, setup).rerank(candidates.frame))


def opened(name: str, setup: Setup, batch: int = 5) -> Peer:
    """A peer, or a skip where its package isn't there."""
    pytest.importorskip(name.partition(",")[0].replace("-", "_"), reason="needs the extra peers")
    if not name.startswith("sentence"):
        pytest.importorskip("onnxscript", reason="needs the extra onnx")
    system = open_system(name, setup, batch)
    assert isinstance(system, Peer)
    return system


@pytest.mark.parametrize("name", [name for name in PEERS if not name.startswith("flashrank")])
def test_a_peer_gives_our_scores(name: str, setup: Setup, candidates: Candidates, ours: pd.Series) -> None:
    if "openvino, bfloat16" in name and not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("this processor has no bfloat16")
    theirs = scores(opened(name, setup).rerank(candidates.frame))
    assert ours.max() - ours.min() > 10 * TOLERANCE["bfloat16"]
    np.testing.assert_allclose(theirs, ours, atol=TOLERANCE[name.partition(", ")[2]])


@pytest.mark.parametrize("name", [name for name in PEERS if not name.startswith("flashrank")])
def test_of_split_layout_a_peer_gives_cosines_of_single_texts(
    name: str, split_setup: Setup, candidates: Candidates
) -> None:
    """As `ElasticDenser`'s vectors of the whole model have them."""
    if "openvino, bfloat16" in name and not torch.cpu._is_avx512_bf16_supported():
        pytest.skip("this processor has no bfloat16")
    loaded = LoadedDense(Settings(split_setup.model, 4096, None, 64, None, "float32"))
    frame, full = candidates.frame, SubNet(3)
    asked, read = (
        loaded.engine.encode(encoder.tokens(list(frame[column])).rows, [full] * len(frame), encoder)
        for column, encoder in (("query", loaded.queries), ("text", loaded.documents))
    )
    expected = scores(frame[["qid", "docno"]].assign(score=(asked * read).sum(-1)))
    theirs = scores(opened(name, split_setup).rerank(frame))
    np.testing.assert_allclose(theirs, expected, atol={"float32": 1e-5}.get(name.partition(", ")[2], 0.03))
    assert expected.std() > 0.05


def test_flashrank_reads_pairs_alone(split_setup: Setup) -> None:
    pytest.importorskip("flashrank", reason="needs the extra peers")
    with pytest.raises(Unavailable, match="single texts"):
        open_system("flashrank, float32", split_setup)


def test_flashrank_gives_sigmoids_of_our_scores(setup: Setup, candidates: Candidates, ours: pd.Series) -> None:
    theirs = scores(opened("flashrank, float32", setup).rerank(candidates.frame))
    np.testing.assert_allclose(theirs, 1 / (1 + np.exp(-ours)), atol=1e-5)
    assert theirs.nunique() > 4


@pytest.mark.parametrize("name", ["sentence-transformers, float32", "onnxruntime, float32"])
def test_batches_of_any_size_give_the_same(name: str, setup: Setup, candidates: Candidates, ours: pd.Series) -> None:
    peer = opened(name, setup)
    for batch in (1, 100):
        np.testing.assert_allclose(scores(replace(peer, batch=batch).rerank(candidates.frame)), ours, atol=1e-4)


@pytest.mark.parametrize("family", ["bert", "electra", "roberta"])
@pytest.mark.parametrize("labels", [1, 2])
def test_ordinary_cross_encoders_too(tmp_path, family: str, labels: int, candidates: Candidates) -> None:
    """With their own heads; RoBERTa has no token types."""
    model = save_backbone(tmp_path / "model", family, labels)
    longest = load(model).encoder.shape
    setup = Setup(model, str(tmp_path), 1, longest.positions - longest.position_offset)
    expected = scores(open_system(FULL_FLOAT32, setup).rerank(candidates.frame))
    theirs = scores(opened("sentence-transformers, float32", setup).rerank(candidates.frame))
    np.testing.assert_allclose(theirs, expected, atol=1e-4)


def test_what_is_not_installed_or_left_out_is_named(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("sentence_transformers", "openvino", "flashrank"):
        monkeypatch.setitem(sys.modules, package, None)
    systems, skipped = open_systems(setup, budgets=["50%"], without=["onnxruntime"])
    assert [system.name for system in systems] == [FULL_FLOAT32, FULL, "ours, 50%"]
    assert skipped.keys() == PEERS.keys()
    assert skipped["onnxruntime, int8"] == "left out with --without"
    assert 'of the extra peers: pip install -e ".[peers]"' in skipped["openvino, float32"]


def test_processor_runtimes_are_skipped_elsewhere(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("onnxruntime", "openvino", "flashrank"):
        pytest.importorskip(package, reason="needs the extra peers")
    monkeypatch.setattr(Setup, "on_processor", False)
    _, skipped = open_systems(setup, budgets=[], without=["sentence-transformers"])
    assert "add --device cpu" in skipped["onnxruntime, float32"]
    assert "add --device cpu" in skipped["openvino, int8"]
    assert "add --device cpu" in skipped["flashrank, float32"]


def test_runs_break_ties_by_incoming_order() -> None:
    incoming = pd.DataFrame({"qid": ["b", "b", "b", "a"], "docno": ["x", "y", "z", "x"]})
    run = ranked(incoming.assign(score=[1.0, 2.0, 1.0, 0.0]).iloc[::-1], incoming)
    assert list(run["qid"]) == ["b", "b", "b", "a"]
    assert list(run["docno"]) == ["y", "x", "z", "x"]
    assert list(run["score"]) == [0, -1, -2, 0]


def test_memory_of_each_alone_and_of_what_fails(setup: Setup, candidates: Candidates) -> None:
    jobs = {FULL_FLOAT32: 0, "ours, nonsense": 0}
    measured = dict(peak_memory(jobs, setup, candidates.frame))
    assert measured[FULL_FLOAT32] > 0
    assert np.isnan(measured["ours, nonsense"])
