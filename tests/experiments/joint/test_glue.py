"""Joint inference on GLUE at a tiny scale."""

import shutil

import numpy as np
import pytest

from elasticranker.files import read_json
from elasticranker.model.classifier import ElasticClassifier
from elasticranker.routing import JointInference, exit_of
from experiments.glue.study import run_training
from experiments.glue.tasks import named, read_task
from experiments.glue.training import Recipe
from experiments.joint import __main__ as command
from experiments.joint import glue_report, measuring
from experiments.joint.glue import run_glue
from tests.backbones import save_backbone
from tests.experiments.glue.made import write_glue

TASKS = named(["SST-2", "RTE"])


@pytest.fixture(scope="module")
def glue(tmp_path_factory):
    return write_glue(tmp_path_factory.mktemp("data") / "glue")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return save_backbone(tmp_path_factory.mktemp("backbone"), labels=None)


@pytest.fixture(scope="module")
def trained(glue, backbone, tmp_path_factory):
    output = tmp_path_factory.mktemp("trained") / "out"
    recipe = Recipe(backbone, steps=4, batch_size=8, max_length=32, dtype="float32")
    run_training(glue, TASKS, output=output, recipe=recipe, depths=[])
    return output


@pytest.fixture(scope="module")
def done(glue, trained, backbone, tmp_path_factory):
    """A finished study: its folder and its table."""
    output = tmp_path_factory.mktemp("joint") / "out"
    other = ("small", backbone)
    return output, run_glue(
        glue, TASKS, trained=trained, output=output, depths=[1], other=other, shares=[0.25, 0.5], progress=False
    )


def test_every_task_and_swift_is_routed_in_every_way(done):
    output, results = done
    energies = ["free", "released", "max-softmax", "entropy"]
    for _, ours in results.groupby(["task", "model"], sort=False):
        ways = ["random", *energies, "oracle"]
        assert ours["system"].tolist() == ["swift", "super", *ways, *ways, *energies]
    assert list(dict.fromkeys(results["model"])) == ["exit-1", "small"]
    exits = results[(results["model"] == "exit-1") & (results["task"] == "RTE")].set_index("system")
    assert 0 < exits.loc["swift", "gflops_mean"] < exits.loc["super", "gflops_mean"]
    assert {path.name for path in output.iterdir()} == {
        *("SST-2", "RTE", "lock", "results.csv", "manifest.json", "report.md", "joint-exit-1.png", "joint-small.png"),
    }
    text = (output / "report.md").read_text()
    assert "exit-1 as Swift:" in text and "SST-2 12, RTE 12. In two halves" in text


def test_each_half_is_routed_as_joint_inference_routes_it(done, glue, trained):
    _, results = done
    examples = read_task(glue, TASKS[0], "dev")
    elastic = ElasticClassifier(trained / "SST-2" / "elastic" / "checkpoint")
    halves = np.array_split(np.random.default_rng(0).permutation(len(examples)), 2)
    right, sent = 0.0, 0.0
    for ours, others in (halves, halves[::-1]):
        joint = JointInference(exit_of(elastic, 1), exit_of(elastic, 3), energy="entropy", batch_size=1)
        joint.calibrate([examples.texts[place] for place in others], super_share=0.5)
        outputs = joint([examples.texts[place] for place in ours])
        right += (np.array(outputs.predictions) == examples.labels[ours]).sum()
        sent += outputs.to_super.sum()
    chosen = (results["task"] == "SST-2") & (results["model"] == "exit-1") & (results["system"] == "entropy")
    row = results[chosen & (results["share"] == 0.5)].iloc[0]
    assert (row["accuracy"], row["super_share"]) == (right / len(examples), sent / len(examples))


def test_a_finished_study_measures_nothing_again_and_other_models_are_refused(
    done, glue, trained, tmp_path, monkeypatch
):
    output = shutil.copytree(done[0], tmp_path / "copy")

    def never(*args, **settings):
        raise AssertionError("this was done before")

    monkeypatch.setattr(measuring, "output_energy", never)
    again = run_glue(glue, TASKS, trained=trained, output=output, depths=[1], shares=[0.5], progress=False)
    before = done[1][done[1]["model"] == "exit-1"]
    scores = [made[(made["share"] == 0.5) & (made["system"] != "random")]["score"].tolist() for made in (before, again)]
    assert scores[0] == scores[1]
    with pytest.raises(ValueError, match=r"belongs to another job \(energies.*delete .*job.json and .*journal.jsonl"):
        run_glue(glue, TASKS, trained=trained, output=output, depths=[1], energies=["free"], progress=False)


def test_nonsense_is_refused_before_any_work(glue, trained, tmp_path):
    with pytest.raises(ValueError, match="STS-B: a regression's one number has no energy"):
        run_glue(glue, named(["STS-B"]), trained=trained, output=tmp_path / "out")
    with pytest.raises(ValueError, match=r"no trained model: run .*--tasks CoLA"):
        run_glue(glue, named(["CoLA"]), trained=trained, output=tmp_path / "out")
    with pytest.raises(ValueError, match=r"shares=\[2.0\]"):
        run_glue(glue, TASKS, trained=trained, output=tmp_path / "out", shares=[2.0])
    assert not (tmp_path / "out").exists()


def test_energies_that_route_alike_are_told_once_and_others_apart(done):
    _, results = done
    told = glue_report.merged(results)
    ours = told[told["model"] == "exit-1"]
    assert "released, max-softmax, entropy" in {name.removeprefix("free, ") for name in ours["system"]}
    apart = results.copy()
    apart.loc[apart["system"] == "entropy", "score"] += 0.01
    assert "entropy" in set(glue_report.merged(apart)["system"])
    assert set(results["system"]) - {"free", "released", "max-softmax", "entropy"} <= set(told["system"])


def test_the_command_prints_tables_and_findings(done, glue, trained, tmp_path, capsys):
    output = shutil.copytree(done[0], tmp_path / "copy")
    arguments = ["glue", str(glue), "--trained", str(trained), "--tasks", "RTE", "--depths", "1"]
    assert command.main([*arguments, "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "all to Super" in printed and "set to stay within 0.2 points of Super's accuracy" in printed
    assert read_json(output / "manifest.json")["tolerance"] == pytest.approx(0.002)
    assert command.main([*arguments, "--other", "nameless", "--output", str(output)]) == 2
    assert "--other nameless: give NAME=ID|PATH" in capsys.readouterr().err
