"""Fixtures for whoever scores the parts of a run."""

import pytest
import torch

from elasticranker.runs.resumable import rerank_run
from tests.runs.mortal import DEPTH


@pytest.fixture
def one_thread():
    """The last digits of scores may depend on the threads of a process: all have one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def rerank_bytes(tmp_path, scoring):
    """Rerank a folder's run in parts of one query with the module's `scoring`; returns the bytes (none: b"")."""

    def call(folder, ranker, output="out.trec", **settings) -> bytes:
        settings = {"scoring": scoring, "pairs_per_part": DEPTH, **settings}
        path = rerank_run(folder.path / "bm25.trec", folder, ranker, tmp_path / output, progress=False, **settings)
        return path.read_bytes() if path.exists() else b""

    return call
