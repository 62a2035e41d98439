"""The command from end to end: its files, its table, its refusals, and that parts can be added."""

from __future__ import annotations

import argparse

import pandas as pd
import pytest

from elasticranker.files import read_json
from experiments.peers import __main__ as command
from experiments.peers import bench, methods, runtimes, sizes, standings
from experiments.peers.bench import Settings
from tests.fakes import write_collection


@pytest.fixture
def folder(candidates, tmp_path, monkeypatch):
    """The candidates of the fixture as a collection on disk."""
    monkeypatch.setenv("ELASTICRANKER_CACHE", str(tmp_path / "cache"))
    frame = candidates.frame
    documents = {f"{row.qid}{row.docno}": row.text for row in frame.itertuples()}
    queries = frame.drop_duplicates("qid")[["qid", "query"]].itertuples(index=False, name=None)
    qrels = [(row.qid, f"{row.qid}{row.docno}", 1) for row in candidates.qrels.itertuples()]
    path = write_collection(tmp_path / "collection", queries, documents.items(), qrels)
    run = [f"{row.qid} Q0 {row.qid}{row.docno} {row.rank + 1} {row.score} t\n" for row in frame.itertuples()]
    (path / "bm25.trec").write_text("".join(run))
    return path


@pytest.fixture
def run_command(folder, setup, tmp_path, monkeypatch):
    """Run `python -m experiments.peers` on the tiny collection and checkpoint, in no time."""
    monkeypatch.setattr(runtimes, "SETTLE", 0.0)
    monkeypatch.setattr(sizes, "SETTLE", 0.0)
    monkeypatch.setattr(sizes, "LENGTHS", (16, 32))
    monkeypatch.setattr(sizes, "CANDIDATES", (10, 20))
    monkeypatch.setattr(methods, "BUDGETS", ("25%", "50%"))
    monkeypatch.setattr(runtimes, "peak_memory", lambda jobs, setup, frame: ((name, 7.0) for name in jobs))
    monkeypatch.setattr(runtimes, "_rates", lambda system: {"8x8x8": 1.0, "16x16x16": 2.0})

    def call(*arguments: str) -> None:
        parser = argparse.ArgumentParser()
        command.add_arguments(parser)
        fixed = [str(folder), "--candidates", f"{folder}/bm25.trec", "--model", setup.model, "--device", "cpu"]
        command.run(parser.parse_args([*fixed, "--output", str(tmp_path / "out"), *arguments]))

    return call


def test_all_parts(run_command, tmp_path, capsys) -> None:
    pytest.importorskip("sentence_transformers", reason="needs the extra peers")
    quick = ["--rounds", "1", "--bench-queries", "1", "--budgets", "25%", "--note", "made up"]
    without = ["--without", "onnxruntime", "openvino", "flashrank"]
    run_command("--parts", "runtimes", "methods", "sizes", *quick, *without)
    shown, out = capsys.readouterr().out, tmp_path / "out"
    files = {"runtimes.csv", "methods.csv", "sizes.csv", "methods.png", "sizes.png", "report.md"}
    assert {path.name for path in out.iterdir()} == files | {"manifest.json", "journal.jsonl", "lock"}
    assert tuple(pd.read_csv(out / "runtimes.csv").columns) == standings.COLUMNS
    assert tuple(pd.read_csv(out / "methods.csv").columns) == methods.COLUMNS
    assert tuple(pd.read_csv(out / "sizes.csv").columns) == sizes.COLUMNS
    assert "skipped: flashrank, float32: left out with --without" in shown
    assert "GFLOP/s" in shown
    assert "made up" in shown
    report = (out / "report.md").read_text()
    for heading in ("Runtimes on the same weights and pairs", "Methods on the same checkpoint", "Other sizes"):
        assert f"## {heading}" in report
        assert heading in shown
    assert "![Methods on the same checkpoint](methods.png)" in report
    job = read_json(out / "manifest.json")["job"]
    assert job["threads"] >= 1
    assert len(job["checkpoint fingerprint"]) > 12
    assert job["collection"] == "collection"


def test_parts_may_be_added_but_other_settings_are_refused(run_command, capsys) -> None:
    run_command("--parts", "methods")
    alone = capsys.readouterr().out
    run_command("--parts", "methods")
    assert capsys.readouterr().out == alone  # nothing was measured again
    with pytest.raises(ValueError, match="rounds: 3 there, 2 here"):
        run_command("--parts", "methods", "--rounds", "2")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"parts": []}, "parts="),
        ({"parts": ["all"]}, "parts="),
        ({"budgets": ["25%", "25 %"]}, "name each once"),
        ({"budgets": ["full"]}, "name each once"),
        ({"budgets": ["fast"]}, "fast"),
        ({"without": ["torch"]}, "choose among sentence-transformers, onnxruntime"),
        ({"rounds": 0}, "rounds=0"),
    ],
)
def test_nonsense_is_refused(wrong, complaint) -> None:
    with pytest.raises(ValueError, match=complaint):
        Settings(**wrong)


def test_the_command_offers_what_there_is() -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    actions = {action.dest: action for action in parser._actions}
    assert tuple(actions["parts"].choices) == bench.PARTS
    assert tuple(actions["without"].choices) == bench.LIBRARIES
    assert tuple(actions["budgets"].default) == bench.BUDGETS
