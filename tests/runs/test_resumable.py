"""`rerank_run`: whatever happens on the way, the same bytes at the end, and nothing scored twice."""

import bz2
import errno
import gzip
import lzma
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker import files
from elasticranker.collections import open_collection
from elasticranker.files import locked
from elasticranker.runs import read_run, resumable
from elasticranker.runs.resumable import merge, rerank_run, split_run
from elasticranker.runs.workfolder import WorkFolder
from tests.fakes import FakeRanker, write_collection

QUERIES, DEPTH = 12, 10  # two queries a part, six parts
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch, tmp_path_factory):
    monkeypatch.setattr(resumable, "PAIRS_PER_PART", 2 * DEPTH)
    monkeypatch.setenv("ELASTICRANKER_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def folder(tmp_path):
    """A collection and its run `bm25.trec`, in which the word that a query asks for stands in its last candidate."""
    docs = [(f"d{n}", f"word{n} common text {'more ' * (n % 3)}") for n in range(DEPTH)]
    queries = [(f"q{n}", f"word{(n - 1) % DEPTH} common") for n in range(QUERIES)]
    path = write_collection(tmp_path / "collection", queries, docs, [(qid, "d1", 1) for qid, _ in queries])
    lines = [
        f"q{q} Q0 d{(q + rank) % DEPTH} {rank + 1} {DEPTH - rank} bm25\n"
        for q in range(QUERIES)
        for rank in range(DEPTH)
    ]
    (path / "bm25.trec").write_text("".join(lines))
    return path


@pytest.fixture
def rerank(folder, tmp_path):
    """Rerank the folder's run into `out.trec.gz` by a given ranker; returns the output's bytes."""

    def call(ranker, output="out.trec.gz", **settings) -> bytes:
        run = settings.pop("run", folder / "bm25.trec")
        path = rerank_run(run, open_collection(str(folder)), ranker, tmp_path / output, progress=False, **settings)
        return path.read_bytes() if path.exists() else b""

    return call


@pytest.fixture
def expected(rerank) -> bytes:
    """What an uninterrupted run writes."""
    return rerank(FakeRanker(), "expected.trec.gz")


def test_the_output_is_the_reranked_run(rerank, folder, tmp_path):
    rerank(FakeRanker())
    run = read_run(tmp_path / "out.trec.gz")
    assert len(run) == QUERIES * DEPTH
    assert list(run["qid"].unique()) == [f"q{n}" for n in range(QUERIES)]
    assert list(run[run["rank"] == 0]["docno"][:3]) == ["d9", "d0", "d1"]
    assert not (tmp_path / "out.trec.gz.parts").exists()


def test_plain_and_packed_output_hold_the_same(rerank, expected):
    assert rerank(FakeRanker(), "out.trec") == gzip.decompress(expected)


@pytest.mark.parametrize(("ending", "unpacked"), [(".bz2", bz2.decompress), (".xz", lzma.decompress)])
def test_the_output_is_packed_as_its_name_says(rerank, expected, ending, unpacked):
    assert unpacked(rerank(FakeRanker(), f"out.trec{ending}")) == gzip.decompress(expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tag": "my run"}, "the tag 'my run' is empty, has white space in it"),
        ({"tag": ""}, "the tag '' is empty"),
        ({"output": "out.trec.zip"}, r"out\.trec\.zip: \.zip is not a form .* \.gz, \.bz2, \.xz"),
    ],
)
def test_what_cannot_be_written_is_refused_before_anything_is_read(rerank, tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        rerank(FakeRanker(), run=tmp_path / "nowhere.trec", **settings)
    assert not list(tmp_path.glob("out.*"))


def test_the_output_does_not_depend_on_the_size_of_parts(rerank, expected, monkeypatch):
    monkeypatch.setattr(resumable, "PAIRS_PER_PART", 1000)
    assert rerank(FakeRanker()) == expected


def test_pairs_per_part_say_how_much_is_scored_at_once(rerank, expected, folder, tmp_path):
    calls = []

    class Counting(FakeRanker):
        def transform(self, inp):
            calls.append(len(inp))
            return super().transform(inp)

    assert rerank(Counting(), pairs_per_part=3 * DEPTH + 1) == expected
    assert calls == [4 * DEPTH, 4 * DEPTH, 4 * DEPTH]


def test_after_a_crash_finished_queries_are_not_scored_again(rerank, expected, tmp_path):
    crashing = FakeRanker(fails_at="q7")
    with pytest.raises(RuntimeError):
        rerank(crashing)
    assert crashing.scored == [f"q{n}" for n in range(7)]
    assert not (tmp_path / "out.trec.gz").exists()
    resuming = FakeRanker()
    assert rerank(resuming) == expected
    assert resuming.scored == [f"q{n}" for n in range(6, QUERIES)]  # q6 shared its part with q7


def test_a_finished_output_is_not_made_again(rerank, expected, tmp_path):
    rerank(FakeRanker())
    again = FakeRanker()
    assert rerank(again) == expected
    assert again.scored == []
    assert not (tmp_path / "out.trec.gz.parts").exists()


@pytest.fixture
def killed(folder, tmp_path):
    """Rerank in another process, kill it once two parts are there, and say how many there are then."""

    def call(shard=(1, 1)) -> int:
        script = f"""
from elasticranker.runs import resumable
from elasticranker.collections import open_collection
from tests.fakes import FakeRanker
resumable.PAIRS_PER_PART = {2 * DEPTH}
run, output = {str(folder / "bm25.trec")!r}, {str(tmp_path / "out.trec.gz")!r}
resumable.rerank_run(run, open_collection({str(folder)!r}), FakeRanker(seconds=0.1), output, shard={shard})
"""
        parts = tmp_path / "out.trec.gz.parts"
        with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
            patience = time.monotonic() + 60
            while len(list(parts.glob("*.trec.gz"))) < 2 and process.poll() is None and time.monotonic() < patience:
                time.sleep(0.01)
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
        return len(list(parts.glob("*.trec.gz")))

    return call


def test_a_killed_process_goes_on_where_it_was(rerank, expected, killed):
    finished = 2 * killed()
    assert 4 <= finished < QUERIES
    resuming = FakeRanker()
    assert rerank(resuming) == expected
    assert resuming.scored == [f"q{n}" for n in range(finished, QUERIES)]


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: b"", lambda data: data[:30] + b"??" + data[32:]]
)
def test_a_torn_part_is_scored_again(rerank, expected, tmp_path, damage):
    with pytest.raises(RuntimeError):
        rerank(FakeRanker(fails_at="q7"))
    part = tmp_path / "out.trec.gz.parts" / "00000001.trec.gz"
    part.write_bytes(damage(part.read_bytes()))
    resuming = FakeRanker()
    assert rerank(resuming) == expected
    assert resuming.scored[:2] == ["q2", "q3"]


def test_killed_between_output_and_clean_up(rerank, expected, tmp_path, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("elasticranker.runs.workfolder.sha256_file", killed)
        with pytest.raises(KeyboardInterrupt):
            rerank(FakeRanker())
    assert (tmp_path / "out.trec.gz").exists()
    again = FakeRanker()
    assert rerank(again) == expected
    assert again.scored == []
    assert sorted(path.name for path in tmp_path.glob("out*")) == ["out.trec.gz", "out.trec.gz.json"]


def test_a_full_disk_is_named_and_costs_nothing_that_was_finished(rerank, expected, monkeypatch):
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 6:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(OSError, match=r"no space left on the disk .* run the same command again") as error:
            rerank(FakeRanker())
    assert error.value.errno == errno.ENOSPC
    resuming = FakeRanker()
    assert rerank(resuming) == expected
    assert 0 < len(resuming.scored) < QUERIES


class TestRefusals:
    @pytest.fixture(autouse=True)
    def unfinished(self, rerank):
        with pytest.raises(RuntimeError):
            rerank(FakeRanker(fails_at="q7"))

    def test_another_budget(self, rerank):
        with pytest.raises(
            ValueError,
            match=r"budget: 'full' there, '50%' here.*delete .*out.trec.gz.parts, or choose another --output",
        ):
            rerank(FakeRanker(budget="50%"))

    def test_another_model(self, rerank):
        with pytest.raises(ValueError, match=r"model fingerprint: .* there"):
            rerank(FakeRanker("other"))

    def test_another_run(self, rerank, folder):
        (folder / "bm25.trec").write_text("q1 Q0 d1 1 1.0 t\n")
        with pytest.raises(ValueError, match=r"run file \(sha256\)"):
            rerank(FakeRanker())

    def test_other_queries(self, rerank, folder):
        (folder / "queries.tsv").write_text((folder / "queries.tsv").read_text().replace("common", "rare"))
        with pytest.raises(ValueError, match=r"queries \(sha256\)"):
            rerank(FakeRanker())

    def test_another_corpus(self, rerank, folder):
        (folder / "corpus.tsv").write_text((folder / "corpus.tsv").read_text().replace("common", "rare"))
        with pytest.raises(ValueError, match="collection fingerprint"):
            rerank(FakeRanker())

    def test_nothing_was_lost_by_a_refusal(self, rerank, expected):
        with pytest.raises(ValueError, match="belongs to another job"):
            rerank(FakeRanker(budget="50%"))
        resuming = FakeRanker()
        assert rerank(resuming) == expected
        assert len(resuming.scored) == 6

    def test_another_job_after_the_output_is_finished(self, rerank, expected, tmp_path):
        rerank(FakeRanker())
        with pytest.raises(ValueError, match="budget"):
            rerank(FakeRanker(budget="50%"))
        assert (tmp_path / "out.trec.gz").read_bytes() == expected


def test_a_file_of_unknown_origin_is_not_overwritten(rerank, tmp_path):
    (tmp_path / "out.trec.gz").write_text("precious")
    with pytest.raises(FileExistsError, match="was not written by this command"):
        rerank(FakeRanker())
    assert (tmp_path / "out.trec.gz").read_text() == "precious"
    assert not (tmp_path / "out.trec.gz.parts").exists()


def test_an_output_that_was_changed_is_not_taken_for_finished(rerank, tmp_path):
    rerank(FakeRanker())
    (tmp_path / "out.trec.gz").write_text("edited")
    with pytest.raises(ValueError, match="was changed since it was finished"):
        rerank(FakeRanker())


def test_a_second_process_on_the_same_output_is_refused(rerank, tmp_path):
    parts = tmp_path / "out.trec.gz.parts"
    parts.mkdir()
    with locked(parts / "lock", busy=""), pytest.raises(BlockingIOError, match="another process is writing"):
        rerank(FakeRanker())


def test_queries_that_the_collection_lacks_are_counted(rerank, folder, tmp_path):
    (folder / "bm25.trec").write_text("q1 Q0 d1 1 1.0 t\nx Q0 d1 1 1.0 t\ny Q0 d1 1 1.0 t\n")
    ranker = FakeRanker()
    with pytest.raises(KeyError, match=r"2 of 3 queries of the run are not in the collection .*: x, y"):
        rerank(ranker)
    assert ranker.scored == []


def test_missing_documents_are_counted_before_any_work(rerank, folder, tmp_path):
    with open(folder / "bm25.trec", "a") as run:
        run.write("q11 Q0 gone1 11 0.5 t\nq11 Q0 gone2 12 0.4 t\n")
    ranker = FakeRanker()
    with pytest.raises(KeyError, match=r"2 documents of the run .*: gone1, gone2; .*--skip-missing"):
        rerank(ranker)
    assert ranker.scored == []
    rerank(FakeRanker(), skip_missing=True)
    assert len(read_run(tmp_path / "out.trec.gz")) == QUERIES * DEPTH


def test_an_empty_run_is_refused(rerank, folder):
    (folder / "bm25.trec").write_text("")
    with pytest.raises(ValueError, match="no candidates"):
        rerank(FakeRanker())


def test_a_folder_that_cannot_be_written_is_named(rerank, folder):
    with pytest.raises(OSError, match=r"cannot write in the folder .*corpus.tsv"):
        rerank(FakeRanker(), output=folder / "corpus.tsv" / "out.trec")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_named(rerank, tmp_path):
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(OSError, match="cannot write in the folder"):
        rerank(FakeRanker(), output="locked/out.trec")


def test_a_ranker_that_drops_candidates_is_refused(rerank):
    class Dropping(FakeRanker):
        def transform(self, inp):
            return super().transform(inp).iloc[1:]

    with pytest.raises(ValueError, match="made 19 candidates of 20"):
        rerank(Dropping())


class TestShards:
    def test_merged_shards_are_the_output_of_one_process(self, rerank, expected, tmp_path):
        ranker = FakeRanker()
        for number in (3, 1, 2):
            assert rerank(ranker, shard=(number, 3)) == b""
        assert sorted(ranker.scored) == sorted(f"q{n}" for n in range(QUERIES))
        assert merge(tmp_path / "out.trec.gz").read_bytes() == expected
        assert not (tmp_path / "out.trec.gz.parts").exists()

    def test_a_missing_shard_is_counted(self, rerank, tmp_path):
        rerank(FakeRanker(), shard=(1, 3))
        with pytest.raises(FileNotFoundError, match=r"4 of 6 parts .* are not there yet"):
            merge(tmp_path / "out.trec.gz")

    def test_a_shard_that_was_interrupted_goes_on(self, rerank, expected, tmp_path):
        with pytest.raises(RuntimeError):
            rerank(FakeRanker(fails_at="q6"), shard=(1, 3))
        resuming = FakeRanker()
        rerank(resuming, shard=(1, 3))
        assert resuming.scored == ["q6", "q7"]

    def test_a_shard_that_was_killed_goes_on(self, rerank, expected, killed, tmp_path):
        finished = killed(shard=(1, 2))  # of three parts: 0, 2 and 4
        assert 2 <= finished < 3
        resuming, other = FakeRanker(), FakeRanker()
        rerank(other, shard=(2, 2))
        rerank(resuming, shard=(1, 2))
        assert resuming.scored == ["q8", "q9"]
        assert len(other.scored) == 6
        assert merge(tmp_path / "out.trec.gz").read_bytes() == expected

    def test_one_process_finishes_what_shards_began(self, rerank, expected):
        rerank(FakeRanker(), shard=(2, 3))
        ranker = FakeRanker()
        assert rerank(ranker) == expected
        assert len(ranker.scored) == 8

    def test_merging_again_changes_nothing(self, rerank, expected, tmp_path):
        rerank(FakeRanker())
        assert merge(tmp_path / "out.trec.gz").read_bytes() == expected

    def test_nothing_to_merge_is_an_error(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nothing to merge"):
            merge(tmp_path / "never.trec.gz")

    def test_a_split_scores_nothing_and_binds_the_shards(self, rerank, expected, folder, tmp_path):
        ranker = FakeRanker()
        arguments = folder / "bm25.trec", open_collection(str(folder)), ranker, tmp_path / "out.trec.gz"
        assert split_run(*arguments) == 6
        assert ranker.scored == []
        with pytest.raises(ValueError, match="budget"):
            rerank(FakeRanker(budget="50%"), shard=(1, 2))
        for number in (1, 2):
            rerank(ranker, shard=(number, 2))
        assert merge(tmp_path / "out.trec.gz").read_bytes() == expected
        assert split_run(*arguments) == 6
        assert (tmp_path / "out.trec.gz").read_bytes() == expected
        assert not (tmp_path / "out.trec.gz.parts").exists()

    def test_a_split_counts_missing_documents_and_leaves_nothing(self, folder, tmp_path):
        with open(folder / "bm25.trec", "a") as run:
            run.write("q11 Q0 gone1 11 0.5 t\n")
        with pytest.raises(KeyError, match="1 documents of the run"):
            split_run(folder / "bm25.trec", open_collection(str(folder)), FakeRanker(), tmp_path / "out.trec.gz")
        assert not (tmp_path / "out.trec.gz.parts").exists()

    @given(parts=st.integers(1, 9), shards=st.integers(1, 12))
    def test_every_part_belongs_to_exactly_one_shard(self, tmp_path_factory, parts, shards):
        folder = WorkFolder(tmp_path_factory.mktemp("shards") / "out.trec")
        with folder.locked((1, shards)):
            folder.claim({}, parts=parts)
            owned = [part for number in range(1, shards + 1) for part in folder.pending((number, shards))]
        assert sorted(owned) == list(range(parts))

    def test_a_shard_that_does_not_exist_is_refused(self, rerank):
        with pytest.raises(ValueError, match="shard 4/3 does not exist"):
            rerank(FakeRanker(), shard=(4, 3))
