"""Ray: the bytes of one process, though an actor is killed half way."""

import builtins
import os
import shutil
import tempfile
import threading
from functools import partial

import pytest

from elasticranker.ranker import ElasticRanker
from elasticranker.runs.on_ray import score_on_ray
from elasticranker.runs.scoring import here
from tests.backbones import save_backbone
from tests.fakes import FakeRanker
from tests.runs.mortal import DEPTH, DOCNOS, mortal_folder

FIRST = DOCNOS[::DEPTH]  # of every part
pytestmark = pytest.mark.usefixtures("one_thread")
NO_RAY = 'no Ray here: pip install -e ".[ray]"'


@pytest.fixture(scope="module")
def cluster():
    """A Ray of two processors in a folder whose name is short enough for sockets."""
    ray = pytest.importorskip("ray", reason=NO_RAY)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    folder = tempfile.mkdtemp(prefix="ray", dir="/tmp")
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=80 << 20,
        _temp_dir=folder,
    )
    yield ray
    ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def scoring():
    """By two actors."""
    return partial(score_on_ray, workers=2)


def until_the_third(scorer, pieces):
    """Score in this process, and stop half way."""
    yield from here(scorer, pieces[:2])
    raise KeyboardInterrupt


@pytest.mark.usefixtures("cluster")
def test_ray_goes_on_where_a_process_stopped_and_survives_the_death_of_an_actor(rerank_bytes, tmp_path):
    folder = mortal_folder(tmp_path / "collection", dies_at=FIRST[4])
    ranker = ElasticRanker(save_backbone(tmp_path / "model"), budget="50%", max_query_length=3, max_length=12)
    expected = rerank_bytes(folder, ranker, "expected.trec", scoring=here)
    with pytest.raises(KeyboardInterrupt):
        rerank_bytes(folder, ranker, scoring=until_the_third)
    assert rerank_bytes(folder, ranker) == expected
    reads = folder.reads()
    assert set(reads) == set(FIRST[2:])  # what was finished isn't scored again
    assert reads.count(FIRST[4]) >= 2
    assert len(list(folder.notes.glob("death-*"))) == 1


@pytest.mark.usefixtures("cluster")
def test_no_thread_of_this_process_fetches_from_ray_behind_its_back(rerank_bytes, tmp_path):
    """Ray ends the process, without a word, in which a thread still fetches after Ray was shut down."""
    fetching = set()

    def watched(scorer, pieces):
        for outcome in score_on_ray(scorer, pieces, workers=2):
            fetching.update(thread.name for thread in threading.enumerate() if thread.name == "iter_threaded")
            yield outcome

    rerank_bytes(mortal_folder(tmp_path / "collection"), FakeRanker(), scoring=watched)
    assert not fetching


@pytest.mark.usefixtures("cluster")
def test_more_actors_than_processors_are_refused(rerank_bytes, tmp_path):
    with pytest.raises(ValueError, match=r"workers=3: the Ray cluster has 2 CPUs"):
        rerank_bytes(mortal_folder(tmp_path / "collection"), FakeRanker(), scoring=partial(score_on_ray, workers=3))


@pytest.mark.usefixtures("cluster")
def test_an_address_where_nobody_listens_is_refused_at_once(rerank_bytes, tmp_path):
    with pytest.raises(ConnectionError, match=r"--address 127\.0\.0\.1:1: no Ray answers there.*ray start --head"):
        rerank_bytes(mortal_folder(tmp_path / "c"), FakeRanker(), scoring=partial(score_on_ray, address="127.0.0.1:1"))


@pytest.mark.usefixtures("cluster")
def test_an_error_in_an_actor_is_the_error_of_the_call(rerank_bytes, tmp_path):
    with pytest.raises(RuntimeError, match="fails at q5") as error:
        rerank_bytes(mortal_folder(tmp_path / "collection"), FakeRanker(fails_at="q5"))
    assert "tests/fakes.py" in str(error.value.__cause__)


def test_a_missing_ray_is_named_with_its_remedy(rerank_bytes, tmp_path, monkeypatch):
    wanted = builtins.__import__

    def without_ray(name, *arguments, **settings):
        if name.partition(".")[0] == "ray":
            raise ImportError("No module named 'ray'", name="ray")
        return wanted(name, *arguments, **settings)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    with pytest.raises(ImportError, match=r'--engine ray needs ray, of the extra ray: pip install -e "\.\[ray\]"'):
        rerank_bytes(mortal_folder(tmp_path / "collection"), FakeRanker())
