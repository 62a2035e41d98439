"""A model card says what is recorded, invents nothing, and shows no path of the machine that made it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from huggingface_hub import ModelCard

from elasticranker.evaluation.measurement import Measurement
from elasticranker.model.card import model_card, source_of
from elasticranker.model.checkpoint import Checkpoint, load
from elasticranker.planning.dense import DenseReading
from elasticranker.planning.ladder import Ladder, Rung
from elasticranker.planning.plan import Plan, Stage, SubNet
from tests.planning.test_cost import elastic

PROVENANCE: dict[str, Any] = {
    "backbone": "intfloat/e5-small-v2",
    "teacher": "intfloat/e5-small-v2",
    "sources": {"squadshifts-reddit": 1200, "msmarco-qa": 1199, "my-own": 7},
    "training": {"steps": 900, "learning_rate": 1e-4},
    "date": "2026-11-23",
    "tuned_on": {"collection": "/home/me/data/msmarco-reduced", "queries": ["a", "b", "c"]},
    "licence": "apache-2.0",
    "limits": ["The backbone saw MS MARCO's training queries."],
}
RESULTS = pd.DataFrame(
    {
        "system": ["bm25", "elastic"],
        "budget": ["", "100%"],
        "nDCG@10": [0.506, 0.712],
        "gflops_mean": [float("nan"), 512.3],
        "p nDCG@10": [0.0001, float("nan")],
    }
)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return elastic(tmp_path_factory.mktemp("backbone"))


@pytest.fixture
def known(bare: Checkpoint) -> Checkpoint:
    plan = Plan((Stage(SubNet(0), 0.2, prior=0.5), Stage(SubNet(2, 0.5), 0.8)))
    ladder = Ladder((Rung(0.05, plan, 0.61234), Rung(1.0, plan)), SubNet(3))
    return Checkpoint(bare.encoder, bare.tokenizer, bare.config, bare.widths, ladder, PROVENANCE)


def test_the_header_is_what_the_hub_reads(known: Checkpoint) -> None:
    header = ModelCard(model_card(known)).data.to_dict()
    assert header["license"] == "apache-2.0"
    assert header["language"] == "en"
    assert header["base_model"] == "intfloat/e5-small-v2"
    assert header["library_name"] == "elasticranker"
    assert header["pipeline_tag"] == "text-ranking"
    assert "reranker" in header["tags"]


def test_it_says_what_the_checkpoint_holds(known: Checkpoint) -> None:
    card = model_card(known, name="me/my-reranker")
    assert "\n# my-reranker\n" in card
    assert "ElasticRanker('me/my-reranker', budget='25%')" in card
    assert "- backbone: 3 layers, 32 wide, 4 heads, 48 neurons" in card
    assert "- exits: after layers 0, 1, 2, 3 (interaction)" in card
    assert "- widths: 1, 0.75, 0.5, 0.25" in card
    assert "- longest pair: 64 tokens" in card


def test_the_ladder_is_a_table(known: Checkpoint) -> None:
    card = model_card(known)
    assert "| 0.05 | `0:20%+0.5 > 2x0.5:80%` | 0.6123 |" in card
    assert "Tuned on 3 queries of msmarco-reduced." in card


def test_it_says_which_queries_chose_the_weights(known: Checkpoint) -> None:
    assert "chose these weights" not in model_card(known)
    chosen = {"chosen_on": {"collection": "/data/msmarco-reduced", "queries": ["d", "e"]}}
    card = model_card(replace(known, provenance=PROVENANCE | chosen))
    assert "2 queries of msmarco-reduced chose these weights and no others" in card


def test_sources_have_their_licences(known: Checkpoint) -> None:
    card = model_card(known)
    assert "| squadshifts-reddit | SQuADShifts | 1,200 | CC BY 4.0 |" in card
    assert "| msmarco-qa | MS MARCO | 1,199 | non-commercial research only |" in card
    assert "| my-own | my-own | 7 | not stated |" in card
    assert "The terms of MS MARCO allow non-commercial research only" in card
    assert '"steps": 900' in card
    assert "- The backbone saw MS MARCO's training queries." in card


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("squad-sentences", "CC BY-SA 4.0"),
        ("squadshifts-new-wiki", "CC BY 4.0"),
        ("natural-questions", "CC BY-SA 3.0"),
        ("irds:msmarco-passage/train/judged", "non-commercial research only"),
        ("wikiqa", "research use only"),
        ("irds:beir/scifact/train", "not stated"),
    ],
)
def test_a_source_is_known_by_how_its_name_begins(name: str, licence: str) -> None:
    assert source_of(name).licence == licence


def test_what_is_not_recorded_is_said_to_be_unknown(bare: Checkpoint) -> None:
    card = model_card(bare)
    header = ModelCard(card).data.to_dict()
    assert (header["license"], header["license_name"]) == ("other", "not-stated")
    assert "base_model" not in header
    assert "Not tuned" in card
    assert "The training data is not recorded." in card
    assert "## Measured" not in card


def test_both_papers_are_cited(bare: Checkpoint) -> None:
    card = model_card(bare)
    assert "10.1145/3677375" in card
    assert "2203.00748" in card


def test_no_path_of_the_machine_is_shown(bare: Checkpoint) -> None:
    about = {"backbone": "../shared/models/e5-small-v2", "teacher": "/home/me/teacher", "sources": ["/data/mine"]}
    card = model_card(Checkpoint(bare.encoder, bare.tokenizer, bare.config, provenance=about))
    assert "base_model" not in ModelCard(card).data.to_dict()
    assert "- backbone: e5-small-v2" in card
    assert "- teacher: teacher" in card
    assert not {"/home/me", "../shared", "/data/"} & {word for word in card.split() if "/" in word}
    assert "/data/mine" not in card


def test_a_measured_table_comes_with_its_conditions(known: Checkpoint) -> None:
    notes = ("43 judged queries", "Some Processor, 2 threads")
    card = model_card(known, measured=[Measurement(RESULTS, "trec-dl-2019", "2026-11-23", notes).section()])
    assert "### trec-dl-2019, 2026-11-23" in card
    assert "| system | budget | nDCG@10 | GFLOPs mean |" in card
    assert "| elastic | 100% | 0.7120 | 512.3 |" in card
    assert "| system | budget | p nDCG@10 |" in card
    assert "| bm25 |  | <0.001 |" in card
    assert "- Some Processor, 2 threads" in card


def test_a_measurement_is_read_from_an_experiment(known: Checkpoint, tmp_path: Path) -> None:
    job = {
        "collection": "trec-dl-2019",
        "queries": 43,
        "queries with candidates": 43,
        "queries left out": 0,
        "candidates": 4300,
        "processor": "Some Processor",
        "cores": 2,
        "threads": 2,
    }
    system = {"system": "elastic", "checkpoint fingerprint": "0123456789abcdef", "dtype": "float32"}
    manifest = {
        "job": job,
        "systems": {"elastic 100%": system},
        "evaluation": {"measures": ["nDCG@10"], "baseline": "elastic 100%", "relevance level": 2},
        "measurement": {"sittings": 1, "all in turn": True, "highest load": 1.5, "unfinished": []},
        "note": "easier than the full collection",
        "date": "2026-11-23T10:00:00+00:00",
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    RESULTS.to_csv(tmp_path / "results.csv", index=False)
    card = model_card(known, measured=[Measurement.read(tmp_path).section()])
    assert "### trec-dl-2019, 2026-11-23" in card
    assert "43 judged queries of trec-dl-2019; 100 candidates a query" in card
    assert "- Some Processor, 2 threads; elastic: checkpoint 0123456789ab, dtype float32." in card
    assert "load average" not in card
    assert "- easier than the full collection" in card
    assert "| bm25 |  | 0.5060 |  |" in card


def test_a_folder_without_a_measurement_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no results\.csv"):
        Measurement.read(tmp_path)


def test_it_is_saved_beside_the_weights(known: Checkpoint, tmp_path: Path) -> None:
    folder = known.save(tmp_path, card=model_card(known))
    assert (folder / "README.md").read_text(encoding="utf-8") == model_card(load(folder))


def test_a_licence_is_said_where_the_checkpoint_names_none(known: Checkpoint) -> None:
    assert "license: apache-2.0" in model_card(known, licence="mit")  # its own counts
    silent = replace(known, provenance={})
    assert "license: mit" in model_card(silent, licence="mit")
    assert "license_name: not-stated" in model_card(silent)


def test_a_denser_is_no_reranker(known: Checkpoint) -> None:
    reading = DenseReading((1, 0, 2), (16,), ((SubNet(1), 0.91), (SubNet(2), 0.95)))
    card = model_card(replace(known, dense=reading, provenance=PROVENANCE | {"stage": "dense"}), name="me/vectors")
    assert ModelCard(card).data.to_dict()["pipeline_tag"] == "sentence-similarity"
    assert "ElasticDenser('me/vectors', budget='51%')" in card and "ElasticRanker(" not in card
    assert "| 2 | 1 | 0 1 | 0.950 |" in card and "1, 0, 2 (from 0)" in card and "32, 16" in card
    assert "## Ladder" not in card and "## Calibration" not in card
