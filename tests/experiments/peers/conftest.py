"""One tiny elastic checkpoint with its exports, and candidates for two queries, for the tests of the comparison."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch

from elasticranker.evaluation.candidates import Candidates
from experiments.peers.setup import Setup
from tests.denser import tiny
from tests.planning.test_cost import elastic

LENGTH = 72  # positions of the tiny backbone
WORDS = "the river bank money flows water deep cat dog quick brown fox jumps over lazy sun moon star"


@pytest.fixture(scope="session")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """Interaction readouts after every layer; exports are written when a test first needs them."""
    folder: Path = tmp_path_factory.mktemp("peers")
    checkpoint = elastic(folder / "backbone")
    for readout in checkpoint.encoder.exits.values():
        torch.nn.init.constant_(readout.bias, -21.0)  # scores around 0, where sigmoids differ
    checkpoint.save(folder / "elastic")
    return Setup(str(folder / "elastic"), str(folder / "exports"), threads=1, max_length=LENGTH)


@pytest.fixture(scope="session")
def split_setup(tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """The same of a checkpoint in split layout."""
    exports = tmp_path_factory.mktemp("split-peers")
    return Setup(tiny.checkpoint(), str(exports), threads=1, max_length=LENGTH)


@pytest.fixture(scope="session")
def candidates() -> Candidates:
    """Two queries with twelve candidates each, of rising and falling lengths; every third is relevant."""
    words = WORDS.split()
    rows = []
    for number, query in enumerate(["who is at the bank", "does the cat jump over"]):
        for rank in range(12):
            length = 1 + (7 * rank + 5 * number) % 40
            text = " ".join(words[(rank + place) % len(words)] for place in range(length))
            rows.append((f"q{number}", query, f"d{rank}", text, 12.0 - rank, rank))
    frame = pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score", "rank"])
    qrels = [(f"q{number}", f"d{rank}", 1) for number in range(2) for rank in range(2, 12, 3)]
    return Candidates("bm25", frame, pd.DataFrame(qrels, columns=["qid", "docno", "label"]), queries=2)
