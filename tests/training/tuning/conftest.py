"""A tiny judged collection with a run."""

from pathlib import Path

import numpy as np
import pytest

from tests.backbones import WORDS
from tests.fakes import write_collection


@pytest.fixture
def validation(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    texts = [(f"d{i}", " ".join(random.choice(WORDS, 12))) for i in range(60)]
    queries = [(f"q{i}", " ".join(random.choice(WORDS, 3, replace=False))) for i in range(12)]
    qrels = [(f"q{i}", f"d{random.integers(60)}", 1) for i in range(12)]
    folder = write_collection(tmp_path / "validation", queries, texts, qrels)
    run = [(q, d) for q in range(12) for d in random.choice(60, 20, replace=False)]
    (folder / "first.trec").write_text("".join(f"q{q} Q0 d{d} 0 {60 - i % 20} t\n" for i, (q, d) in enumerate(run)))
    return folder
