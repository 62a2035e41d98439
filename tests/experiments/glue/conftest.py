"""A tiny backbone, and GLUE's files at a tiny scale."""

import dataclasses
from pathlib import Path

import pytest

from experiments.glue.study import run_training
from experiments.glue.tasks import named
from experiments.glue.training import Recipe
from tests.backbones import save_backbone
from tests.experiments.glue.made import KINDS, write_glue


@pytest.fixture(scope="session")
def glue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_glue(tmp_path_factory.mktemp("data") / "glue")


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Four steps from a backbone of three layers."""
    backbone = save_backbone(tmp_path_factory.mktemp("backbone"), labels=None)
    return Recipe(backbone, steps=4, batch_size=8, max_length=32, dtype="float32")


@pytest.fixture(scope="session")
def trained(glue: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of all three tasks."""
    output = tmp_path_factory.mktemp("trained") / "out"
    lines: list[str] = []
    run_training(glue, named(list(KINDS)), output=output, recipe=recipe, depths=[1], say=lines.append)
    assert sum("trained in" in line for line in lines) == 6
    return output


@pytest.fixture(scope="session")
def longer(recipe: Recipe) -> Recipe:
    return dataclasses.replace(recipe, steps=5)
