"""The pipelines run as they are: each as a user would start it, on a tiny collection with a tiny model."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.denser.tiny import checkpoint as split_checkpoint
from tests.planning.test_cost import elastic

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "pipelines").glob("*.py"))
TEXTS = ["the river bank", "a cat by the river", "money flows to the bank", "how do i copy a folder", "the cat"]


def run(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("collection")
    (folder / "corpus.tsv").write_text("".join(f"d{i}\t{text}\n" for i, text in enumerate(TEXTS)))
    (folder / "queries.tsv").write_text("1\tthe river\n2\tmoney in the bank\n3\ta cat\n")
    (folder / "qrels.txt").write_text("1 0 d0 1\n2 0 d2 1\n3 0 d4 1\n")
    checkpoint = elastic(tmp_path_factory.mktemp("backbone")).save(tmp_path_factory.mktemp("checkpoint"))
    return ["the river", "--collection", str(folder), "--model", str(checkpoint)]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_it_ranks(script: Path, arguments: list[str]) -> None:
    own = {"cascade": ["--keep", "2"], "dense_then_elastic": ["--encoder", split_checkpoint()]}
    more = own.get(script.stem, [])
    done = run(script, *arguments, *more)
    assert done.returncode == 0, done.stderr
    heading, *rows = done.stdout.strip().splitlines()
    assert heading.split() == ["docno", "score"]
    found = {row.split()[0] for row in rows}
    by_vectors = script.stem == "dense_then_elastic"  # which know no document without a word of the query
    assert found == ({f"d{number}" for number in range(len(TEXTS))} if by_vectors else {"d0", "d1"})


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_it_says_what_it_is_for(script: Path) -> None:
    done = run(script, "--help")
    assert done.returncode == 0
    assert f"python pipelines/{script.name}" in done.stdout
