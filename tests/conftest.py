"""Fixtures for all tests: no network, and nothing written outside temporary folders."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["HF_HUB_OFFLINE"] = "1"  # read once, when huggingface_hub is imported
os.environ["PT_TEST_TRANSFORMER_REPORTS"] = "0"  # PyTerrier's test classes would warn of success

# Machines are slow at times; tests must not care.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.load_profile("repeatable")
SHARED = Path(__file__).parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty cache folder of this run's own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELASTICRANKER_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data and models beside the repository, which only developers' machines have."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data: {SHARED} is not there")
    return SHARED
