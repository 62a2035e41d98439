"""The study at a tiny scale: what is trained and measured, kills, and what is refused."""

import os
import shutil
import signal

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from elasticranker.files import read_json
from elasticranker.model.classifier import ElasticClassifier
from elasticranker.planning.subnet import SubNet
from experiments.glue import __main__ as command
from experiments.glue import measuring, training
from experiments.glue.study import run_estimate, run_report, run_training
from experiments.glue.tasks import measures, named, read_task
from tests.experiments.glue.made import KINDS

TASKS = named(list(KINDS))


@pytest.fixture(scope="module")
def reported(glue, trained, tmp_path_factory):
    """A copy of the trained study with its report, and its table."""
    output = shutil.copytree(trained, tmp_path_factory.mktemp("reported") / "out")
    return output, run_report(glue, TASKS, output=output, depths=[1], timed=3)


def test_every_depth_and_width_of_every_task_is_in_the_table(reported, glue):
    _, results = reported
    for task in TASKS:
        ours = results[results["task"] == task.name]
        subnets = [(row.system, row.depth, row.width) for row in ours.itertuples()]
        elastic = [("elastic", depth, width) for depth in (1, 2, 3) for width in (0.5, 1.0)]
        assert sorted(subnets) == sorted([*elastic, ("static-1", 1, 1.0)])
        assert ours[list(task.measures)].mean(axis=1).tolist() == pytest.approx(ours["score"].tolist())
    alone = results[results["system"] == "static-1"]["gflops_mean"]
    same = results[(results["system"] == "elastic") & (results["depth"] == 1) & (results["width"] == 1.0)]
    assert alone.tolist() == pytest.approx(same["gflops_mean"].tolist())


def test_a_row_is_what_the_sub_network_says(reported, glue):
    output, results = reported
    task = TASKS[0]
    examples = read_task(glue, task, "dev")
    logits = ElasticClassifier(output / task.name / "elastic" / "checkpoint").logits(examples.texts, SubNet(2, 0.5))
    expected = measures(task, logits.argmax(1), examples.labels)
    row = results[(results["task"] == task.name) & (results["depth"] == 2) & (results["width"] == 0.5)].iloc[0]
    assert row["accuracy"] == expected["accuracy"]


def test_files_and_report(reported):
    output, results = reported
    written = {path.name for path in output.iterdir()}
    assert written == {*KINDS, "lock", "results.csv", "manifest.json", "report.md", "glue.png"}
    assert pd.read_csv(output / "results.csv")["score"].tolist() == pytest.approx(results["score"].tolist())
    assert (output / "glue.png").read_bytes().startswith(b"\x89PNG")
    text = (output / "report.md").read_text()
    assert "SST-2: accuracy; trained on 24 examples in 4 steps of 8, reported on the development set (12)" in text
    assert {path.name for path in (output / "RTE" / "static-1").iterdir()} == {
        *("checkpoint", "training.json", "answers.safetensors"),
    }


def test_what_is_done_is_not_done_again(reported, glue, recipe, tmp_path, monkeypatch):
    output = shutil.copytree(reported[0], tmp_path / "copy")

    def never(*args, **settings):
        raise AssertionError("this was done before")

    monkeypatch.setattr(training, "TaskTrainer", never)
    monkeypatch.setattr(ElasticClassifier, "logits", never)
    monkeypatch.setattr(ElasticClassifier, "every", never)
    run_training(glue, TASKS, output=output, recipe=recipe, depths=[1])
    again = run_report(glue, TASKS, output=output, depths=[1], timed=3)
    pd.testing.assert_frame_equal(again, reported[1])


def test_a_training_that_was_asked_to_stop_goes_on_to_the_same_weights(glue, recipe, trained, tmp_path, monkeypatch):
    made, asked = training.TaskTrainer, []

    def mortal(*args, **options):
        def stop(done):
            if done == 2 and not asked:
                asked.append(done)
                os.kill(os.getpid(), signal.SIGTERM)

        return made(*args, on_step=stop, **options)

    monkeypatch.setattr(training, "TaskTrainer", mortal)
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_training(glue, TASKS[:1], output=output, recipe=recipe, depths=[1])
    assert (output / "SST-2" / "elastic" / "run" / "state.pt").exists()
    run_training(glue, TASKS[:1], output=output, recipe=recipe, depths=[1])
    first, second = (
        load_file(folder / "SST-2" / "elastic" / "checkpoint" / "model.safetensors") for folder in (trained, output)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not (output / "SST-2" / "elastic" / "run").exists()


def test_times_go_on_where_they_were(reported, glue, tmp_path, monkeypatch):
    output = shutil.copytree(reported[0], tmp_path / "copy")
    journal = output / "SST-2" / "times.jsonl"
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:2]) + lines[2][:10])  # torn by a kill
    read, logits = [], ElasticClassifier.logits
    monkeypatch.setattr(
        ElasticClassifier, "logits", lambda self, texts, subnet: read.append(texts[0]) or logits(self, texts, subnet)
    )
    run_report(glue, TASKS[:1], output=output, depths=[1], timed=3)
    assert set(read) == {read_task(glue, TASKS[0], "dev").texts[-1]}
    assert journal.read_text().splitlines(keepends=True)[:2] == lines[:2]
    assert len(read) == (measuring.WARM_UP + 1) * 7


def test_models_of_another_recipe_and_models_that_are_not_there_are_refused(glue, longer, trained, tmp_path):
    with pytest.raises(
        ValueError, match=r"elastic belongs to another job \(steps: 4 there, 5 here\).*delete .*elastic"
    ):
        run_training(glue, TASKS, output=trained, recipe=longer, depths=[1])
    with pytest.raises(ValueError, match=r"no trained SST-2 static-2, RTE static-2.*experiments.glue train"):
        run_report(glue, TASKS, output=trained, depths=[2])


def test_the_estimate_counts_steps_and_leaves_nothing(glue, longer, tmp_path):
    lines = []
    minutes = run_estimate(glue, TASKS[:1], recipe=longer, depths=[1], say=lines.append)
    assert minutes > 0
    assert [line.split(" of ")[0] for line in lines[:2]] == ["SST-2, elastic: 5 steps", "SST-2, static-1: 5 steps"]
    assert lines[2].startswith("all: ")


def test_the_command_trains_and_reports(glue, recipe, tmp_path, capsys):
    output, common = str(tmp_path / "out"), ["--tasks", "RTE", "--alone", "2", "--output", str(tmp_path / "out")]
    options = ["--backbone", recipe.backbone, "--steps", "3", "--batch-size", "4", "--max-length", "32"]
    assert command.main(["train", str(glue), *common, *options]) == 0
    printed = capsys.readouterr().out
    assert "RTE, elastic: 3 steps of 4 of 24 examples" in printed and "RTE, static-2: trained in" in printed
    assert command.main(["report", str(glue), *common, "--timed", "2"]) == 0
    printed = capsys.readouterr().out
    assert "Depth 2: the elastic model's" in printed and f"report: {output}/report.md" in printed
    assert read_json(tmp_path / "out" / "manifest.json")["tasks"]["RTE"]["recipe"]["steps"] == 3
    assert command.main(["report", str(glue), "--tasks", "WNLI", "--output", output]) == 2
    with pytest.raises(SystemExit):
        command.main(["--help"])
    assert "python -m experiments.glue train ./glue" in capsys.readouterr().out
