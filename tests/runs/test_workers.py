"""Several processes: the bytes of one process, one set of weights, and no death that loses a part."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from elasticranker.ranker import ElasticRanker
from elasticranker.runs import workers
from elasticranker.runs.scoring import here
from elasticranker.runs.workers import score_in_processes
from tests.backbones import save_backbone
from tests.fakes import FakeRanker
from tests.runs.mortal import DEPTH, DOCNOS, QUERIES, mortal_folder

ROOT = Path(__file__).parents[2]
FIRST = DOCNOS[::DEPTH]  # of every part
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def scoring():
    """By two processes."""
    return partial(score_in_processes, workers=2)


def test_a_worker_that_is_killed_costs_nothing_but_its_part(rerank_bytes, tmp_path):
    folder = mortal_folder(tmp_path / "collection", dies_at=FIRST[3])
    ranker = ElasticRanker(save_backbone(tmp_path / "model"), budget="50%", max_query_length=3, max_length=12)
    expected = rerank_bytes(folder, ranker, "expected.trec", scoring=here)
    cut = ranker.truncated
    assert cut > 0
    assert rerank_bytes(folder, ranker) == expected
    assert folder.reads() == sorted([*FIRST, FIRST[3]])
    assert ranker.truncated == 2 * cut


def test_what_always_kills_its_worker_is_named_and_the_rest_is_kept(rerank_bytes, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "RETRIES", 1)
    folder = mortal_folder(tmp_path / "collection", dies_at=FIRST[0], deaths=2)
    with pytest.raises(ChildProcessError, match=r"part 0 \(queries q0 to q0, 6 candidates\) ended 2 workers.*SIGKILL"):
        rerank_bytes(folder, FakeRanker())
    finished = {path.name[:8] for path in (tmp_path / "out.trec.parts").glob("*.trec.gz")}
    resuming = FakeRanker()
    rerank_bytes(folder, resuming, scoring=here)
    assert resuming.scored == [f"q{number}" for number in range(QUERIES) if f"{number:08d}" not in finished]


def test_an_error_in_a_worker_is_the_error_of_the_call(rerank_bytes, tmp_path):
    folder = mortal_folder(tmp_path / "collection")
    with pytest.raises(RuntimeError, match="fails at q5") as error:
        rerank_bytes(folder, FakeRanker(fails_at="q5"))
    assert "tests/fakes.py" in str(error.value.__cause__)


def test_workers_end_when_their_parent_is_killed(rerank_bytes, tmp_path):
    folder = mortal_folder(tmp_path / "collection")
    script = f"""
from functools import partial
from elasticranker.runs.resumable import rerank_run
from elasticranker.runs.scoring import here
from elasticranker.runs.workers import score_in_processes
from tests.fakes import FakeRanker
from tests.runs.mortal import DEPTH, mortal_folder
folder, score = mortal_folder({folder.path!r}), partial(score_in_processes, workers=2)
run, output = folder.path / "bm25.trec", {str(tmp_path / "out.trec")!r}
rerank_run(run, folder, FakeRanker(seconds=0.2), output, scoring=score, pairs_per_part=DEPTH)
""".replace("PosixPath", "__import__('pathlib').Path")
    parts = tmp_path / "out.trec.parts"
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        patience = time.monotonic() + 60
        while len(list(parts.glob("*.trec.gz"))) < 2 and process.poll() is None and time.monotonic() < patience:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    processes = {int(line.split()[0]) for line in (folder.notes / "reads").read_text().splitlines()}
    patience = time.monotonic() + 60
    while any(map(alive, processes)) and time.monotonic() < patience:
        time.sleep(0.01)
    assert not any(map(alive, processes))
    finished = len(list(parts.glob("*.trec.gz")))
    assert 2 <= finished < QUERIES
    resuming = FakeRanker()
    assert rerank_bytes(folder, resuming, scoring=here) == rerank_bytes(
        folder, FakeRanker(), "expected.trec", scoring=here
    )
    assert len(resuming.scored) == QUERIES - finished


def alive(process: int) -> bool:
    """Whether a process runs (one that ended and wasn't waited for doesn't)."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_finished_job_starts_no_process(rerank_bytes, tmp_path):
    folder = mortal_folder(tmp_path / "collection")
    done = rerank_bytes(folder, FakeRanker(), scoring=here)
    assert rerank_bytes(folder, FakeRanker()) == done
    assert folder.reads() == []


def test_weights_on_a_gpu_are_refused_before_any_work(rerank_bytes, tmp_path):
    ranker = FakeRanker()
    ranker.device = "meta"
    with pytest.raises(ValueError, match=r"workers=2: .*--device cpu, or use --engine ray"):
        rerank_bytes(mortal_folder(tmp_path / "collection"), ranker)
    assert not os.path.exists(tmp_path / "out.trec.parts")
