"""A tiny backbone and a tiny prepared folder, made once."""

from pathlib import Path

import pytest

from tests.backbones import save_backbone
from tests.training.tiny import make_groups


@pytest.fixture(scope="session")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A BERT of three layers, 32 wide."""
    return save_backbone(tmp_path_factory.mktemp("backbone"))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty queries, four of them held out."""
    folder = tmp_path_factory.mktemp("prepared")
    make_groups(folder / "source").save(folder / "prepared", {"teacher": "overlap", "temperature": 0.25})
    return folder / "prepared"
