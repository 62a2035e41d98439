"""A run that is killed, stopped or refused, and what it leaves behind."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from elasticranker.files import locked
from elasticranker.model.checkpoint import load
from elasticranker.training.trainer.rank_stage import ElasticTrainer
from tests.backbones import save_backbone
from tests.training.tiny import make_groups, settings


@pytest.fixture
def trainer(backbone, prepared, tmp_path):
    """Makes a trainer of the run in `tmp_path`/run (or another folder)."""

    def make(folder: str = "run", data: Path = prepared, start: str = backbone, **options) -> ElasticTrainer:
        changed = options.pop("changed", {})
        return ElasticTrainer(start, data, tmp_path / folder, settings(**changed), dtype="float32", **options)

    return make


class Killed(Exception):
    """Stands for kill -9: nothing gets a chance to clean up or save."""


def kill_at(step: int):
    def on_step(done: int) -> None:
        if done == step:
            raise Killed

    return on_step


def weights(folder: Path, name: str = "last") -> dict[str, torch.Tensor]:
    return load_file(folder / f"{name}.safetensors")


def log(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def step_of(folder: Path) -> int:
    return torch.load(folder / "state.pt", weights_only=True)["progress"]["step"]


def test_a_run_that_was_killed_goes_on_exactly_where_it_was(trainer, tmp_path):
    trainer("straight", validate_every=2).train()
    with pytest.raises(Killed):
        trainer("killed", validate_every=2, save_every=0, on_step=kill_at(3)).train()
    (tmp_path / "killed" / ".state.pt.abc.tmp").write_text("half a state")
    with open(tmp_path / "killed" / "log.jsonl", "a") as file:  # steps after the last state come again
        file.write('{"step": 4, "score": 9}\n{"step": 4, "sco')
    resumed = trainer("killed", validate_every=2, resume=True)
    assert resumed.progress.step == 3
    resumed.train()
    for name in ("last", "best"):
        first, second = weights(tmp_path / "straight", name), weights(tmp_path / "killed", name)
        assert all(torch.equal(first[key], second[key]) for key in first)
    without_times = [
        [{key: value for key, value in row.items() if "second" not in key} for row in log(tmp_path / name)]
        for name in ("straight", "killed")
    ]
    assert without_times[0] == without_times[1]
    assert [row["step"] for row in log(tmp_path / "killed")] == [2, 4, 6, 6]
    assert not list((tmp_path / "killed").glob("*.tmp")) and not list((tmp_path / "killed").glob(".*.tmp"))


def test_training_lowers_the_loss(trainer, tmp_path):
    trainer(changed={"steps": 60, "temperature": 0.25, "learning_rate": 3e-3, "average": 0.9}).train()
    losses = [row["loss"] for row in log(tmp_path / "run") if "loss" in row]
    assert losses[-1] < losses[0] * 0.8


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_step_at_hand(trainer, tmp_path, number):
    before = signal.getsignal(number)
    run = trainer(on_step=lambda done: os.kill(os.getpid(), number) if done == 2 else None)
    run.train()
    assert (run.stopped, run.progress.step, step_of(tmp_path / "run")) == (number, 2, 2)
    assert signal.getsignal(number) is before
    assert not run.product.exists()


def test_time_that_is_up_ends_it_with_a_checkpoint_and_it_can_go_on(trainer, tmp_path):
    trainer(max_minutes=0).train()
    assert step_of(tmp_path / "run") == 1
    assert load(tmp_path / "run" / "checkpoint").provenance["done"]["steps"] == 1
    trainer(resume=True).train()
    assert load(tmp_path / "run" / "checkpoint").provenance["done"]["steps"] == 6


def test_a_broken_loss_is_an_error_and_the_last_good_state_stays(trainer, tmp_path):
    def poison(done: int) -> None:
        if done == 3:
            run.encoder.layer(0).norm1.data.fill_(torch.nan)

    run = trainer(save_every=0, on_step=poison)
    with pytest.raises(ValueError, match=r"diverged in step 4: loss nan.*keeps the state of step 3.*--learning-rate"):
        run.train()
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    assert state["progress"]["step"] == 3
    assert all(torch.isfinite(value).all() for value in state["encoder"].values())


def test_another_run_under_the_same_output_is_refused(trainer, tmp_path, prepared):
    trainer(max_minutes=0).train()
    with pytest.raises(ValueError, match="holds a training run: pass resume=True"):
        trainer()
    with pytest.raises(ValueError, match=r"learning_rate: 0\.001 there, 0\.5 here"):
        trainer(resume=True, changed={"learning_rate": 0.5})
    make_groups(tmp_path / "source", candidates=6).save(tmp_path / "other")
    with pytest.raises(ValueError, match=r"belongs to another job .data"):
        trainer(resume=True, data=tmp_path / "other")
    with pytest.raises(ValueError, match=r"belongs to another job .backbone"):
        trainer(resume=True, start=save_backbone(tmp_path / "backbone", layers=2))


def test_a_run_of_an_older_version_goes_on_if_its_unknown_settings_have_their_defaults(trainer, tmp_path):
    trainer(max_minutes=0).train()
    stored = tmp_path / "run" / "settings.json"
    older = json.loads(stored.read_text())
    del older["depths"], older["relation_heads"]
    stored.write_text(json.dumps(older))
    (tmp_path / "run" / "run.json").unlink()
    state = torch.load(tmp_path / "run" / "state.pt", weights_only=True)
    del state["progress"]["pairs"]
    torch.save(state, tmp_path / "run" / "state.pt")
    with pytest.raises(ValueError, match=r"depths: \[\] there, \[1\] here"):
        trainer(resume=True, changed={"depths": (1,)})
    run = trainer(resume=True)
    assert (run.progress.step, run.progress.pairs) == (1, 16)
    assert json.loads(stored.read_text())["depths"] == []


def test_two_processes_cannot_train_in_one_folder(trainer, tmp_path):
    run = trainer()
    with locked(tmp_path / "run" / ".lock", busy=""), pytest.raises(BlockingIOError, match="another process"):
        run.train()


def test_the_checkpoint_has_the_weights_that_were_wanted_and_tells_how_it_came_to_be(trainer, tmp_path):
    run = trainer(keep="last", validate_every=2, changed={"depths": (0, 1)})
    run.train()
    checkpoint = load(run.product)
    stored = weights(tmp_path / "run", "last")
    for name, value in checkpoint.encoder.state_dict().items():
        torch.testing.assert_close(value, stored[name].to(torch.bfloat16).float())
    assert checkpoint.encoder.depths == (0, 1, 3)
    assert checkpoint.widths == (1.0, 0.5)
    story = checkpoint.provenance
    assert (story["teacher"], story["kept"], story["sources"]) == ("overlap", "last", {"made-up": 40})
    assert (story["done"]["steps"], story["done"]["pairs"]) == (6, 96)
    assert story["training"]["learning_rate"] == 1e-3
    assert str(tmp_path) not in json.dumps(story)
    made = (run.product / "elastic.json").stat().st_mtime_ns
    trainer(keep="last", validate_every=2, changed={"depths": (0, 1)}, resume=True).train()
    assert (run.product / "elastic.json").stat().st_mtime_ns == made  # finished before: nothing to do


def test_what_cannot_be_trained_is_refused_before_it_begins(trainer, tmp_path):
    with pytest.raises(ValueError, match=r"depths=.7,.: the backbone has 3 layers"):
        trainer("a", changed={"depths": (7,)})
    with pytest.raises(ValueError, match="max_length=600: the backbone has positions for 72"):
        trainer("b", changed={"max_length": 600})
    with pytest.raises(ValueError, match="is not a prepared folder: run `elasticranker prepare`"):
        trainer("c", data=tmp_path)
    with pytest.raises(ValueError, match="keep='first': choose best or last"):
        trainer("d", keep="first")
    with pytest.raises(ValueError, match=r"losses=.*give weights, not all 0, of some of kl"):
        settings(losses={"mse": 1.0})


def test_training_goes_on_from_an_elastic_checkpoint(trainer, tmp_path):
    first = load(trainer("first").train() / "checkpoint")
    second = trainer("second", start=str(tmp_path / "first" / "checkpoint"))
    before = {name: tensor.clone() for name, tensor in second.encoder.state_dict().items()}
    assert all(torch.equal(before[name], tensor) for name, tensor in first.encoder.state_dict().items())
    made = load(second.train() / "checkpoint")
    assert not torch.equal(made.encoder.layer(0).qkv, first.encoder.layer(0).qkv)
    assert made.provenance["backbone"] == first.provenance["backbone"]
    assert made.provenance["before"]["done"] == first.provenance["done"]


def test_other_widths_or_exits_than_the_checkpoint_has_are_refused(trainer, tmp_path):
    trainer("first", changed={"depths": (2,)}).train()
    start = str(tmp_path / "first" / "checkpoint")
    with pytest.raises(ValueError, match=r"widths=\(1.0, 0.125\)"):
        trainer("second", start=start, changed={"widths": (1.0, 0.125)})
    with pytest.raises(ValueError, match=r"no exit after layers \[1\]"):
        trainer("third", start=start, changed={"depths": (1, 2)})


def test_without_held_out_queries_the_last_weights_are_kept_and_it_says_so(trainer, tmp_path):
    make_groups(tmp_path / "source", held_out=0).save(tmp_path / "all")
    with pytest.warns(UserWarning, match=r"holds out no query.*so the last ones are kept"):
        run = trainer(data=tmp_path / "all", validate_every=2)
    run.train()
    assert load(run.product).provenance["kept"] == "last"
    assert [row["step"] for row in log(tmp_path / "run")] == [6]
    assert "Infinity" not in (tmp_path / "run" / "log.jsonl").read_text()


def test_who_asks_for_the_last_weights_is_not_warned(trainer, tmp_path, recwarn):
    make_groups(tmp_path / "source", held_out=0).save(tmp_path / "all")
    trainer(data=tmp_path / "all", keep="last")
    assert not [warning for warning in recwarn if "held out" in str(warning.message)]
