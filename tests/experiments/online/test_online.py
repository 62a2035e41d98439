"""The commands on a tiny collection with a tiny model, and the table of rungs that the simulation rests on."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from elasticranker.files import read_json
from elasticranker.planning.ladder import Ladder, Rung
from elasticranker.planning.plan import SubNet, even
from experiments.online import planning
from experiments.online.__main__ import main
from experiments.online.quality import COLUMNS, as_rungs
from tests.fakes import write_collection
from tests.planning.test_cost import elastic

QUERIES = 3
TEXTS = ["the river bank", "a cat", "money flows to the bank of the river", "how do i copy a whole folder"]
SETTINGS = ["--candidates", "first", "--dtype", "float32", "--loads", "0.1", "2", "--seconds", "5"]


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    docs = [(f"d{n}", text) for n, text in enumerate(TEXTS)]
    queries = [(f"q{n}", text) for n, text in enumerate(TEXTS[:QUERIES])]
    path = write_collection(
        tmp_path_factory.mktemp("collection") / "tiny", queries, docs, [(f"q{n}", f"d{n}", 1) for n in range(QUERIES)]
    )
    lines = [f"q{q} Q0 d{(q + rank) % 4} {rank} {9 - rank} t\n" for q in range(QUERIES) for rank in range(4)]
    (path / "first.trec").write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    checkpoint = elastic(tmp_path_factory.mktemp("backbone"))
    full = SubNet(checkpoint.encoder.shape.layers)
    plan = even([SubNet(0), full])
    ladder = Ladder((Rung(0.1, plan), Rung(0.3, plan)), full)
    return str(replace(checkpoint, ladder=ladder).save(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture
def simulate(collection, model, tmp_path):
    out = tmp_path / "out"

    def call(*arguments: str) -> int:
        return main(["simulate", str(collection), "--model", model, *SETTINGS, "--output", str(out), *arguments])

    return call


def test_simulate_prints_tables_and_writes_its_files(simulate, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(planning, "FEWEST", 500)
    monkeypatch.setattr(planning, "CELL", 4)
    assert simulate("--arrivals", "poisson", "bursty", "--to", "20", "--note", "made up") == 0
    printed = capsys.readouterr().out
    assert "elastic, 95% of nDCG@10" in printed
    assert "made up" in printed
    out = tmp_path / "out"
    assert f"{out}/online-bursty.png" in printed
    simulated = pd.read_csv(out / "simulated.csv")
    systems = ["static full", "static middle", "static smallest", "elastic", "elastic, greedy"]
    assert simulated["system"].tolist() == systems * 4
    assert (simulated["requests"] > 1000).all()
    assert pd.read_csv(out / "replicas.csv")["rate"].unique().tolist() == [1.0, 10.0, 20.0]
    report = (out / "report.md").read_text()
    assert "## Replicas" in report
    assert "(online-poisson.png)" in report
    assert (out / "online-poisson.png").read_bytes().startswith(b"\x89PNG")
    assert read_json(out / "manifest.json")["job"]["rungs"] == [0.1, 0.3, 1.0]


def test_rungs_are_measured_once_and_keep_their_promises(simulate, tmp_path, monkeypatch):
    assert simulate("--arrivals", "poisson") == 0
    table = pd.read_csv(tmp_path / "out" / "rungs.csv")
    assert tuple(table.columns) == COLUMNS
    assert len(table) == QUERIES * 3
    assert (table["spend"] <= table["share"] * table["full_cost"]).all()
    full = table[table["share"] == 1]
    assert (full["spend"] == full["full_cost"]).all()
    assert table[["RR@10", "nDCG@10"]].stack().between(0, 1).all()

    def never(*_, **__):
        raise RuntimeError("measured again")

    monkeypatch.setattr("elasticranker.ranker.ElasticRanker.transform", never)
    assert simulate("--arrivals", "day") == 0
    assert list(tmp_path.glob("out/online-*.png"))


def test_rungs_as_arrays_line_up_with_the_table(simulate, tmp_path):
    assert simulate("--arrivals", "poisson") == 0
    table = pd.read_csv(tmp_path / "out" / "rungs.csv")
    rungs = as_rungs(table)
    row = table[(table["qid"] == "q1") & (table["share"] == 0.3)].iloc[0]
    assert rungs.shares == (0.1, 0.3, 1.0)
    assert (rungs.spend[1, 1], rungs.ndcg[1, 1], rungs.rr[1, 1]) == (row["spend"], row["nDCG@10"], row["RR@10"])
    assert rungs.full_cost[1] == row["full_cost"]
    full = table[table["share"] == 1]
    assert rungs.full_seconds >= full["ms"].mean() / 1e3 * 0.5
    assert list(rungs.profile.flops) == sorted(set(rungs.profile.flops))
    assert list(rungs.profile.seconds) == sorted(rungs.profile.seconds)


def test_another_model_under_the_same_output_is_refused(simulate, tmp_path_factory, capsys):
    assert simulate("--arrivals", "poisson") == 0
    assert simulate("--max-length", "20") == 2
    assert "belongs to another job (max_length" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(["--loads", "1", "1"], "loads="), (["--slo", "0"], "slo="), (["--candidates", "nowhere"], "nowhere")],
)
def test_errors_are_one_line(simulate, capsys, arguments, error):
    assert simulate(*arguments) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert message.startswith("python -m experiments.online: error: ")
    assert error in message


def test_load_runs_the_real_server(collection, model, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["load", str(collection), "--model", model, *SETTINGS[:4], "--loads", "0.5", "--seconds", "0.2"]
    arguments += ["--systems", "static smallest", "elastic", "--slo", "30 s", "--threads", "1", "--drain", "30"]
    assert main([*arguments, "--output", str(out)]) == 0
    measured = pd.read_csv(out / "measured.csv")
    assert measured["system"].tolist() == ["static smallest", "elastic"]
    assert (measured["requests"] > 0).all()
    assert (measured[["failed", "unanswered", "rejects"]] == 0).all(axis=None)
    assert measured["budget"].iloc[0] == pytest.approx(0.1)
    assert measured["budget"].iloc[1] > 0.1
    assert f"{out}/online-poisson.png" in capsys.readouterr().out


def test_help_has_examples(capsys):
    for command in ([], ["simulate"], ["load"]):
        with pytest.raises(SystemExit):
            main([*command, "--help"])
        assert "examples:" in capsys.readouterr().out
