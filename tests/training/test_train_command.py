"""The commands `prepare` and `train` from end to end, as users run them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from elasticranker import ElasticRanker
from elasticranker.cli import build_parser, main
from elasticranker.commands.training_arguments import HELP, training_settings
from elasticranker.training.data.groups import Groups, read_info
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.loop import Loop
from tests.backbones import save_backbone
from tests.training.tiny import write_source

ROOT = Path(__file__).parents[2]
HEAVY = ("pandas", "pyterrier", "ir_datasets", "ir_measures", "pipelines", "experiments", "matplotlib")
SMALL = ["--groups-per-step", "4", "--group-size", "4", "--max-length", "32", "--max-query-length", "8"]
SMALL += ["--widths", "1", "0.5", "--importance-steps", "1", "--dtype", "float32"]
LAST_PIECE = """
import sys
from elasticranker.cli import main
status = main(sys.argv[1:])
print("heavy:", sorted(set({heavy!r}) & set(sys.modules)))
sys.exit(status)
"""


def python(*arguments: str, **options) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, **options
    )


def test_train_is_killed_resumed_saved_loaded_and_reranks(tmp_path):
    source, run = write_source(tmp_path / "source"), tmp_path / "run"
    teacher = save_backbone(tmp_path / "teacher", labels=None)
    train = ["train", "--backbone", save_backbone(tmp_path / "backbone"), "--data", str(source), "--teacher", teacher]
    train += ["--output", str(run), "--steps", "60", "--save-every", "0", *SMALL]
    first = python("-m", "elasticranker", *train, stderr=subprocess.DEVNULL)
    while not (run / "state.pt").exists() and first.poll() is None:
        time.sleep(0.01)
    first.kill()
    assert first.wait() == -signal.SIGKILL
    assert not (run / "checkpoint").exists()

    second = python("-c", LAST_PIECE.format(heavy=HEAVY), *train, "--resume", stderr=subprocess.PIPE)
    output, errors = second.communicate(timeout=500)
    assert second.returncode == 0, errors[-3000:]
    assert f"wrote {run / 'checkpoint'}" in output
    assert "heavy: []" in output  # training needs neither pandas nor PyTerrier

    ranker = ElasticRanker(run / "checkpoint", device="cpu", dtype="float32")
    texts = ["the red fox jumps", "the blue moon", "a lazy dog", "water flows"]
    frame = pd.DataFrame(
        {"qid": "1", "query": "red fox", "docno": list("abcd"), "text": texts, "score": 0.0, "rank": 0}
    )
    for budget in ("full", "30%"):
        ranked = ranker.with_budget(budget).transform(frame)
        assert sorted(ranked["docno"]) == list("abcd")
        assert np.isfinite(ranked["score"]).all()
    assert ranker.checkpoint.provenance["done"]["steps"] == 60
    assert "made-up" in (run / "checkpoint" / "README.md").read_text()


def test_prepare_says_what_it_made_and_train_stops_when_time_is_up(tmp_path, capsys, backbone):
    source, folder = write_source(tmp_path / "source"), tmp_path / "prepared"
    rows = [f"{query}\t{document}\t{(query * document) % 7}" for query in range(40) for document in range(60)]
    (tmp_path / "scores.tsv").write_text("\n".join(rows))
    prepare = ["prepare", str(source), "--teacher", str(tmp_path / "scores.tsv"), "--output", str(folder)]
    assert main([*prepare, "--candidates", "6", "--pseudo", "made-up"]) == 2
    assert "scores fewer than two candidates of each query of made-up-keywords" in capsys.readouterr().err
    assert main([*prepare, "--candidates", "6"]) == 0
    assert "made-up: 40 queries, 40 judged, 4 held out\nprepared in" in capsys.readouterr().out
    assert Groups.load(folder).candidates.shape == (40, 6)
    train = ["train", "--backbone", backbone, "--data", str(folder), "--output", str(tmp_path / "run"), *SMALL]
    assert main([*train, "--steps", "3", "--max-minutes", "0"]) == 0
    assert "stopped after step 1 of 3: the same command with --resume goes on" in capsys.readouterr().out
    stored = (tmp_path / "run" / "settings.json").read_text()
    assert f'"temperature": {read_info(folder)["temperature"]}' in stored


def test_a_signal_ends_the_command_with_its_status(tmp_path, capsys, monkeypatch, backbone, prepared):
    monkeypatch.setattr(Loop, "_validate", lambda loop: os.kill(os.getpid(), signal.SIGTERM))
    train = ["train", "--backbone", backbone, "--data", str(prepared), "--output", str(tmp_path / "run"), *SMALL]
    assert main([*train, "--steps", "9", "--validate-every", "2"]) == 128 + signal.SIGTERM
    assert capsys.readouterr().out == "stopped after step 2 of 9: the same command with --resume goes on\n"


def test_every_setting_has_an_argument():
    parser = build_parser()
    required = ["train", "--backbone", "b", "--data", "d", "--output", "o"]
    assert training_settings(parser.parse_args(required)) == TrainingSettings()
    given = ["--losses", "kl=1", "margin_mse=0.05", "--exit-weights", "0=0.5", "7=2", "--source-weights", "a=b=2"]
    given += ["--depths", "1", "3", "--widths", "1", "0.5", "--steps", "7", "--train-tokens", "--sampling", "sandwich"]
    settings = training_settings(parser.parse_args(required + given), temperature=0.3, steps=9)
    assert settings == TrainingSettings(
        losses={"kl": 1.0, "margin_mse": 0.05},
        exit_weights={0: 0.5, 7: 2.0},
        source_weights={"a=b": 2.0},
        depths=(1, 3),
        widths=(1.0, 0.5),
        steps=7,
        freeze_tokens=False,
        sampling="sandwich",
        temperature=0.3,
    )
    assert {*HELP, "freeze_tokens"} == set(vars(TrainingSettings()))


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--losses", "kl"], "'kl': give NAME=WEIGHT, such as kl=1"),
        (["--exit-weights", "two=1"], "'two=1': give DEPTH=WEIGHT, such as 3=0.5"),
    ],
)
def test_a_malformed_weight_is_explained(capsys, arguments, error):
    with pytest.raises(SystemExit):
        main(["train", "--backbone", "b", "--data", "d", "--output", "o", *arguments])
    assert error in capsys.readouterr().err


def test_data_and_teacher_must_go_together(tmp_path, capsys, monkeypatch, backbone, prepared):
    source = str(write_source(tmp_path / "source"))
    train = ["train", "--backbone", backbone, "--output", str(tmp_path / "run"), "--data"]

    def error(*arguments: str) -> str:
        assert main([*train, *arguments]) == 2
        return capsys.readouterr().err

    assert "is not a prepared folder: name a --teacher, or run `elasticranker prepare`" in error(source)
    assert "is prepared, its scores are there; leave --teacher out" in error(str(prepared), "--teacher", backbone)
    assert "--stage align needs the encoder to learn from" in error(source, "--stage", "align")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert "run `elasticranker prepare` first" in error(source, "--teacher", backbone)
