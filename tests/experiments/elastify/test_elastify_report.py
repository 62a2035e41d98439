"""A stranger's cross-encoder and the report on it, in seconds on made-up data."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file

from elasticranker.model.checkpoint import load
from elasticranker.training.data.sources import read_sources
from elasticranker.training.elastifying.start import with_exits
from experiments.elastify.__main__ import main
from experiments.elastify.comparing import verdicts
from experiments.elastify.stranger import lists, pairs
from tests.backbones import save_backbone
from tests.fakes import write_collection
from tests.training.tiny import make_groups, write_source

SYSTEMS = ("elastic", "SEE", "top-k")


def test_it_trains_goes_on_and_is_done_once(tmp_path, capsys):
    pytest.importorskip("sentence_transformers", reason="the extra peers isn't installed")
    pytest.importorskip("datasets", reason="the extra peers isn't installed")
    source, start = write_source(tmp_path / "source"), save_backbone(tmp_path / "start", labels=None)
    train = ["train", str(source), "--start", start, "--output", str(tmp_path / "made"), "--batch-size", "8"]
    train += ["--max-length", "32", "--max-steps", "4", "--save-steps", "2"]
    assert main(train) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"wrote {tmp_path / 'made'}"
    assert load(tmp_path / "made").encoder.depths == (0, 3)
    first = load_file(tmp_path / "made" / "model.safetensors")
    (tmp_path / "made" / "config.json").unlink()  # killed before the end: the last steps are there
    assert main(train) == 0
    again = load_file(tmp_path / "made" / "model.safetensors")
    assert all((first[name] == again[name]).all() for name in first)
    assert main([*train, "--learning-rate", "1e-3"]) == 2
    assert "learning_rate: 5e-05 there, 0.001 here" in capsys.readouterr().err


def test_a_positive_stands_before_its_negatives(tmp_path):
    (made,) = pairs(read_sources(write_source(tmp_path)), negatives=4).values()
    labels = [row["label"] for row in made]
    starts = [place for place, label in enumerate(labels) if label == 1]
    assert len(starts) == 40
    assert all(3 <= after - before <= 5 for before, after in pairwise(starts))
    assert len({row["query"] for row in made[: starts[1]]}) == 1


def prepared(folder):
    groups = make_groups(folder)
    groups.save(folder / "prepared", {"temperature": 0.5})
    return groups


def test_a_list_is_the_teachers_best_and_others_of_a_query_that_is_not_held_out(tmp_path):
    groups = prepared(tmp_path)
    (made,) = lists(str(tmp_path / "prepared"), negatives=2).values()
    assert len(made) == (~groups.held_out).sum()
    for row, number in zip(made, np.flatnonzero(~groups.held_out), strict=True):
        assert row["query"] == groups.queries[number]
        assert len(row["passages"]) == len(row["label"]) == len(set(row["passages"])) == 3
        known = {groups.documents[one] for one in groups.candidates[number] if one >= 0}
        assert set(row["passages"]) <= known and row["label"][0] == max(row["label"])


def test_it_learns_from_a_teachers_scores(tmp_path, capsys):
    pytest.importorskip("sentence_transformers", reason="the extra peers isn't installed")
    pytest.importorskip("datasets", reason="the extra peers isn't installed")
    prepared(tmp_path)
    train = ["train", str(tmp_path / "prepared"), "--start", save_backbone(tmp_path / "start", labels=None)]
    train += ["--output", str(tmp_path / "made"), "--negatives", "2", "--batch-size", "12"]
    assert main([*train, "--max-length", "32", "--max-steps", "3"]) == 0
    state = json.loads(next((tmp_path / "made" / "run").glob("*/trainer_state.json")).read_text())
    assert state["train_batch_size"] == 4  # queries, of three candidates each
    assert load(tmp_path / "made").encoder.depths == (0, 3)


def test_the_report_measures_all_three_in_turn_and_says_where_the_elastic_one_stands(tmp_path, capsys):
    original = save_backbone(tmp_path / "original")
    elastic = with_exits(original, (1.0, 0.5)).save(tmp_path / "elastic")
    docs = [(f"d{i}", f"the river bank {'water ' * i}") for i in range(6)]
    folder = write_collection(tmp_path / "c", [("1", "river"), ("2", "water")], docs, [("1", "d1", 1), ("2", "d2", 1)])
    run = [f"{q} Q0 d{d} 0 {9 - d} t\n" for q in (1, 2) for d in range(6)]
    (folder / "first.trec").write_text("".join(run))
    report = ["report", str(folder), "--candidates", "first", "--original", original, "--elastic", str(elastic)]
    report += ["--budgets", "50%", "25%", "--dtype", "float32", "--output", str(tmp_path / "out")]
    assert main(report) == 0
    table = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(table["system"]) == {"first", *SYSTEMS}
    assert len(table) == 1 + 3 * 3
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["measurement"]["all in turn"]
    at = table.set_index(["system", "budget"])
    for name in ("nDCG@10", "RR@10"):
        assert at.loc[("elastic", "100%"), name] == at.loc[("SEE", "100%"), name] == at.loc[("top-k", "100%"), name]
    assert at.loc[("top-k", "50%"), "gflops_mean"] > 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("full is within 0.005 of the original")
    assert (tmp_path / "out" / "verdicts.md").read_text().splitlines()[0] == f"- {lines[0]}"
    journal = (tmp_path / "out" / "journal.jsonl").read_text()
    assert main(report) == 0
    assert (tmp_path / "out" / "journal.jsonl").read_text() == journal  # nothing was measured again


def test_verdicts_name_what_was_not_reached():
    values = {
        **{("elastic", "100%"): (0.700, 0.9), ("SEE", "100%"): (0.706, 0.9), ("top-k", "100%"): (0.706, 0.9)},
        **{("elastic", "25%"): (0.690, 0.9), ("SEE", "25%"): (0.600, 0.91), ("top-k", "25%"): (0.5, 0.5)},
        **{("elastic", "5%"): (0.600, 0.7), ("SEE", "5%"): (0.500, 0.6), ("top-k", "5%"): (0.5, 0.5)},
    }
    table = pd.DataFrame([(*key, *value) for key, value in values.items()])
    table.columns = ["system", "budget", "nDCG@10", "RR@10"]
    full, quarter, least = verdicts(table, ["25%", "5%"])
    assert full == "full is NOT within 0.005 of the original: nDCG@10 -0.0060, RR@10 +0.0000 (0.7060, 0.9000)"
    assert quarter == (
        "25%: nDCG@10 0.6900, 97.7% of the original's full (reached: 97%), RR@10 0.9000; NOT above SEE (0.6000, "
        "0.9100), above top-k (0.5000, 0.5000)"
    )
    assert "(reached" not in least and "above SEE" in least and "NOT above" not in least
