"""How threads wait is settled before torch is there, and how many compute is the user's to say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from elasticranker import ElasticRanker
from elasticranker.cli import main
from elasticranker.threads import SPINS
from tests.backbones import save_backbone

ROOT = Path(__file__).parents[1]


def in_a_new_process(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=True
    )


def test_openmp_reads_how_long_its_threads_may_spin() -> None:
    shown = in_a_new_process("from elasticranker import ElasticRanker; import torch", OMP_DISPLAY_ENV="VERBOSE").stderr
    if "GOMP_SPINCOUNT" not in shown:
        pytest.skip("this torch doesn't use GNU's OpenMP")
    assert f"GOMP_SPINCOUNT = '{SPINS}'" in shown


@pytest.mark.parametrize("given", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_what_the_environment_says_stays(given: dict[str, str]) -> None:
    code = "import os, elasticranker; print({n: v for n, v in os.environ.items() if n[:4] in ('OMP_', 'GOMP')})"
    assert in_a_new_process(code, **given).stdout.strip() == str(given)


@pytest.fixture
def threads() -> None:
    """Puts torch's threads back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("threads")
def test_a_ranker_computes_with_the_threads_it_is_given(tmp_path: Path) -> None:
    model = save_backbone(tmp_path / "model")
    torch.set_num_threads(1)
    ElasticRanker(model).warm_up()
    assert torch.get_num_threads() == 1
    ranker = ElasticRanker(model, threads=2)
    assert torch.get_num_threads() == 1  # nothing is loaded yet
    ranker.with_budget("50%").warm_up()
    assert torch.get_num_threads() == 2
    assert ranker != ElasticRanker(model)  # last digits may differ


@pytest.mark.parametrize("threads_given", [0, -1, 1.5, True])
def test_threads_that_make_no_sense_are_refused(threads_given: object) -> None:
    with pytest.raises(ValueError, match="threads="):
        ElasticRanker(threads=threads_given)  # type: ignore[arg-type]


@pytest.mark.usefixtures("threads")
def test_the_command_line_takes_threads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_backbone(tmp_path / "model")
    torch.set_num_threads(1)
    arguments = ["rerank", "none.trec", "--collection", str(tmp_path), "--budget", "5%", "--output", "o", "--threads"]
    assert main([*arguments, "2", "--model", model]) == 2  # there is no such run; threads come first
    assert "none.trec" in capsys.readouterr().err
    assert torch.get_num_threads() == 2
