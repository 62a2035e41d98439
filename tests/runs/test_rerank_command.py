"""`elasticranker rerank` past one process: what its arguments choose, and what it says."""

import pytest

from elasticranker.cli import main
from elasticranker.commands import rerank
from elasticranker.runs import on_ray, read_run, workers
from elasticranker.runs.scoring import here
from tests.fakes import FakeRanker
from tests.runs.mortal import DEPTH, QUERIES, mortal_folder


@pytest.fixture
def command(tmp_path, monkeypatch):
    """The command line of a rerank by a fake ranker, and the output."""
    folder = mortal_folder(tmp_path / "collection")
    monkeypatch.setattr(rerank, "make_ranker", lambda args, **settings: FakeRanker(args.model, **settings))
    output = tmp_path / "out.trec"
    arguments = ["rerank", f"{folder.path}/bm25.trec", "--collection", str(folder.path), "--budget", "50%"]
    return [*arguments, "--output", str(output)], output


@pytest.fixture
def asked(monkeypatch):
    """What the ways of scoring are asked for; `here` does the work."""
    calls = []

    def noting(name):
        def score(scorer, pieces, **settings):
            calls.append((name, settings, len(pieces)))
            yield from here(scorer, pieces)

        return score

    monkeypatch.setattr(workers, "score_in_processes", noting("processes"))
    monkeypatch.setattr(on_ray, "score_on_ray", noting("ray"))
    return calls


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        (["--workers", "1"], []),
        (["--workers", "3"], [("processes", {"workers": 3}, 1)]),
        (["--engine", "ray"], [("ray", {"address": None, "workers": None}, 1)]),
        (["--engine", "ray", "--address", "auto", "--workers", "2"], [("ray", {"address": "auto", "workers": 2}, 1)]),
        (["--workers", "3", "--pairs-per-part", str(DEPTH)], [("processes", {"workers": 3}, QUERIES)]),
    ],
)
def test_who_scores(command, asked, given, expected):
    arguments, output = command
    assert main([*arguments, *given]) == 0
    assert asked == expected
    assert len(read_run(output)) == QUERIES * DEPTH


def test_a_tag_that_no_run_can_hold_is_refused_before_the_scoring(command, asked, capsys):
    assert main([*command[0], "--tag", "my run"]) == 2
    assert "the tag 'my run'" in capsys.readouterr().err
    assert asked == []


def test_an_address_without_ray_is_refused(command, capsys):
    assert main([*command[0], "--address", "auto"]) == 2
    assert "--address auto is for Ray: add --engine ray" in capsys.readouterr().err


def test_shards_prepares_and_says_how_to_go_on(command, capsys):
    arguments, output = command
    parts = ["--pairs-per-part", str(4 * DEPTH)]
    assert main([*arguments, *parts, "--shards", "3"]) == 0
    shown = capsys.readouterr().out
    assert "2 parts are ready for 3 shards; shards above 2 will have nothing to do" in shown
    assert "--shard $SLURM_ARRAY_TASK_ID/3" in shown
    assert main(["merge", str(output)]) == 2
    for number in (1, 2, 3):
        assert main([*arguments, *parts, "--shard", f"{number}/3"]) == 0
    assert main(["merge", str(output)]) == 0
    assert len(read_run(output)) == QUERIES * DEPTH


def test_shard_and_shards_exclude_each_other(command, capsys):
    with pytest.raises(SystemExit):
        main([*command[0], "--shards", "3", "--shard", "1/3"])
    assert "not allowed with" in capsys.readouterr().err


def test_help_shows_an_array_job(capsys):
    with pytest.raises(SystemExit):
        main(["rerank", "--help"])
    assert "#SBATCH --array=1-8" in capsys.readouterr().out
