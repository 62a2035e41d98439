"""Elastify from end to end on tiny random models: killed in every phase, resumed, and what comes of it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from elasticranker import ElasticRanker, elastify
from elasticranker.cli import main
from elasticranker.collections import open_collection
from elasticranker.model.checkpoint import load
from elasticranker.model.export import export_hugging_face
from elasticranker.training.data.groups import Groups, read_info
from elasticranker.training.elastifying import candidates, finishing, phases
from elasticranker.training.elastifying.settings import ElastifySettings
from elasticranker.training.trainer.loop import Loop
from tests.backbones import WORDS, save_backbone
from tests.fakes import write_collection
from tests.training.tiny import write_source

SMALL = {"queries": 40, "tuning_queries": 12, "k": 10, "group_candidates": 8, "trials": 2, "dtype": "float32"}
RUN = {"groups_per_step": 4, "group_size": 4, "max_length": 32, "warmup": 2, "average": 0.5, "steps": 6}
CLOSE = ElastifySettings(**SMALL, training=RUN | {"widths": (1.0, 0.5), "importance_steps": 1})
EXACT = ElastifySettings(**SMALL, keep_full="exact", training=RUN)


@pytest.fixture(scope="module", params=["bert", "xlm-roberta", "modernbert"])
def model(request, tmp_path_factory):
    return save_backbone(tmp_path_factory.mktemp("model"), request.param)


@pytest.fixture(autouse=True)
def short_ladders(monkeypatch):
    monkeypatch.setattr(finishing, "SHARES", (0.1, 0.5))


def texts(count: int = 60) -> list[tuple[str, str]]:
    random = np.random.default_rng(0)
    return [(f"d{i}", " ".join(random.choice(WORDS, int(random.integers(6, 20))))) for i in range(count)]


@pytest.fixture(scope="module")
def documents(tmp_path_factory) -> Path:
    """A corpus that nobody asked anything about."""
    folder = tmp_path_factory.mktemp("documents")
    (folder / "corpus.tsv").write_text("".join(f"{docno}\t{text}\n" for docno, text in texts()))
    return folder


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Path:
    """Fifty queries, forty of them judged."""
    random = np.random.default_rng(1)
    docs = texts()
    asked = [(f"q{i}", " ".join(random.choice(docs[i][1].split(), 4))) for i in range(50)]
    qrels = [(f"q{i}", f"d{i}", 1) for i in range(40)]
    return write_collection(tmp_path_factory.mktemp("judged") / "collection", asked, docs, qrels)


def frame(pairs: list[tuple[str, str]]) -> pd.DataFrame:
    rows = [("1", "red fox", docno, text, 0.0, rank) for rank, (docno, text) in enumerate(pairs)]
    return pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score", "rank"])


def manifest(folder: Path) -> dict:
    """What a checkpoint says of itself, but for when and how fast it was made."""
    found = json.loads((folder / "elastic.json").read_text())
    del found["digest"], found["provenance"]["done"]["seconds"], found["provenance"]["date"]
    return found


class Killed(Exception):
    """Stands for kill -9: nothing gets a chance to clean up or save."""


def killed(*_, **__):
    raise Killed


def test_killed_in_every_phase_it_makes_the_same(model, documents, tmp_path, monkeypatch):
    elastify(model, documents, tmp_path / "straight", settings=CLOSE)
    steps = iter(range(100))
    usual = Loop._step
    places = [
        (candidates, "write_run", killed),
        (Groups, "save", killed),
        (Loop, "_step", lambda *given: killed() if next(steps) == 3 else usual(*given)),
        (finishing, "tune", killed),
        (finishing, "model_card", killed),
    ]
    for owner, name, fault in places:
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(owner, name, fault)
            elastify(model, documents, tmp_path / "killed", settings=CLOSE, save_every=0)
        assert not (tmp_path / "killed").exists()
    with monkeypatch.context() as patch:  # nothing that is there is made again
        for owner, name in ((phases, "gather"), (phases, "CrossEncoderTeacher"), (Loop, "_step")):
            patch.setattr(owner, name, killed)
        elastify(model, documents, tmp_path / "killed", settings=CLOSE)
        patch.setattr(phases, "tune_copy", killed)
        assert elastify(model, documents, tmp_path / "killed", settings=CLOSE) == tmp_path / "killed"
    assert manifest(tmp_path / "killed") == manifest(tmp_path / "straight")
    for name in ("model.safetensors", "config.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "straight" / name).read_bytes()


def test_close_gives_exits_widths_ladder_calibration_and_a_card_that_says_how_far_full_moved(model, judged, tmp_path):
    ranker = ElasticRanker(elastify(model, judged, tmp_path / "elastic", settings=CLOSE), dtype="float32")
    checkpoint = ranker.checkpoint
    assert [checkpoint.encoder.exits[str(depth)].kind for depth in range(4)] == ["interaction"] * 3 + ["cls"]
    assert (checkpoint.widths, len(checkpoint.calibration.lines)) == ((1.0, 0.5), 7)
    assert checkpoint.ladder is not None
    for budget in ("full", "30%", "5%"):
        ranked = ranker.with_budget(budget).transform(frame(texts(20)))
        assert sorted(ranked["docno"]) == sorted(docno for docno, _ in texts(20))
    story = checkpoint.provenance
    moved = story["elastified"]["moved"]
    assert story["elastified"]["keep_full"] == "close"
    assert moved["queries"] == len(story["tuned_on"]["queries"]) > 8
    assert 0 < moved["largest"] < 1 and 0.8 < moved["tau"] <= 1 and 0.8 < moved["rbo"] <= 1
    assert story["sources"].keys() == {"collection", "collection-made"}  # too few were asked
    card = (tmp_path / "elastic" / "README.md").read_text()
    for name in ("tau", "rbo", "ndcg", "ndcg_original"):
        assert f"| {moved[name]:.4f} |" in card
    assert str(tmp_path) not in card


def test_exact_leaves_the_full_model_as_it_is_bit_for_bit(model, documents, tmp_path):
    made = elastify(model, documents, tmp_path / "elastic", settings=EXACT)
    elastic, original = (ElasticRanker(str(place), dtype="float32") for place in (made, model))
    pairs = frame(texts())
    pd.testing.assert_frame_equal(elastic.transform(pairs), original.transform(pairs))
    queries = len(load(made).provenance["tuned_on"]["queries"])
    assert load(made).provenance["elastified"]["moved"] | {"ndcg": 0, "ndcg_original": 0} == {
        **{"tau": 1.0, "rbo": 1.0, "largest": 0.0, "ndcg": 0, "ndcg_original": 0, "queries": queries, "candidates": 10}
    }
    assert load(made).widths == (1.0,)
    # The head is the model's own, so that what goes back to Hugging Face is the model.
    export_hugging_face(load(made), tmp_path / "plain", depth=3)
    back = ElasticRanker(str(tmp_path / "plain"), dtype="float32").transform(pairs)
    pd.testing.assert_frame_equal(back, original.transform(pairs))
    with pytest.raises(ValueError, match=r"layer 1 has an interaction readout.*--onnx"):
        export_hugging_face(load(made), tmp_path / "shallow", depth=1)


def test_another_job_in_the_same_place_is_refused_and_a_job_that_failed_early_leaves_room(documents, tmp_path):
    bert = save_backbone(tmp_path / "bert")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "corpus.tsv").write_text("d1\tred fox\n")
    with pytest.raises(ValueError, match=r"gives 0 queries to train on|nothing|give"):
        elastify(bert, empty, tmp_path / "elastic", settings=EXACT)
    elastify(bert, documents, tmp_path / "elastic", settings=EXACT)
    with pytest.raises(ValueError, match=r"belongs to another job.*queries: 40 there, 10000 here"):
        elastify(bert, documents, tmp_path / "elastic")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is there already"):
        elastify(bert, documents, tmp_path / "taken", settings=EXACT)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="choose close or exact"):
        ElastifySettings(keep_full="almost")
    with pytest.raises(ValueError, match=r"widths=\(1.0, 0.5\): keep_full='exact'"):
        ElastifySettings(keep_full="exact", training={"widths": (1.0, 0.5)})
    with pytest.raises(ValueError, match="tuning_queries=1: it must be 2 or more"):
        ElastifySettings(tuning_queries=1)


def test_the_command_says_what_it_will_do_and_ends_with_what_to_paste(documents, tmp_path, capsys):
    bert, output = save_backbone(tmp_path / "bert"), tmp_path / "my-elastic"
    command = ["elastify", bert, "--collection", str(documents), "--output", str(output), "--queries", "30"]
    command += [
        "--tuning-queries",
        "10",
        "--k",
        "5",
        "--trials",
        "2",
        "--steps",
        "2",
        "--groups-per-step",
        "2",
        "--group-size",
        "3",
    ]
    assert main([*command, "--widths", "1", "0.5", "--dtype", "float32"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "(3 layers, 32 wide), its full depth held close to what it is" in lines[0]
    assert "30 queries made of documents to train on and 10 queries made of documents to tune on" in lines[1]
    assert "2 steps of 6 pairs, every exit and 1 narrower widths: about 1 s" in lines[3]
    assert lines[-2:] == [
        f'ElasticRanker("{output}", budget="25%")',
        f'ElasticRanker("{output}").push_to_hub("you/my-elastic")',
    ]
    assert main(["elastify", str(output), "--collection", str(documents), "--output", str(tmp_path / "b")]) == 2
    assert "is elastic already" in capsys.readouterr().err


def test_a_folder_of_training_data_becomes_a_collection(tmp_path):
    source = write_source(tmp_path / "source")
    settings = ElastifySettings(**SMALL | {"queries": 10})
    collection = candidates.open_documents(str(source), None, tmp_path)
    assert candidates.open_documents(str(source), None, tmp_path) == collection
    assert (len(collection.queries()), len(list(collection.corpus()))) == (40, 60)
    candidates.gather(collection, settings, tmp_path / "candidates", by_source=True)
    names = sorted(path.name for path in (tmp_path / "candidates" / "train").iterdir())
    assert names == ["made-up.docs.tsv.gz", "made-up.queries.jsonl.gz"]  # whose licence the card will know
    rows = [
        json.loads(line)
        for path in (tmp_path / "candidates" / "train").glob("*.jsonl.gz")
        for line in pd.read_csv(path, sep="\x01", header=None, quoting=3)[0]
    ]
    assert len(rows) == 10
    tuning = open_collection(tmp_path / "candidates" / "tuning").queries()["query"]
    assert len(tuning) == 12
    assert not set(tuning) & {row["query"] for row in rows}


def test_a_given_run_is_searched_no_further(judged, tmp_path, monkeypatch):
    lines = [f"q{q} Q0 d{(q + i) % 60} 0 {10 - i} t\n" for q in range(30) for i in range(6)]
    (tmp_path / "first.trec").write_text("".join(lines))
    settings = ElastifySettings(**SMALL | {"candidates": str(tmp_path / "first.trec")})
    monkeypatch.setattr("elasticranker.retrieval.bm25", killed)
    candidates.gather(open_collection(judged), settings, tmp_path / "candidates")
    assert len(open_collection(tmp_path / "candidates" / "tuning").queries()) == 12
    unjudged = tmp_path / "unjudged"
    write_collection(unjudged, [("q1", "a"), ("q2", "b")], texts(), [])
    with pytest.raises(ValueError, match="none of its queries is judged"):
        candidates.choose(open_collection(unjudged), settings)


def test_training_learns_from_more_queries_than_a_tenth_is_held_out_of(documents, tmp_path):
    """The weights that are kept are the best on held-out queries, also where all queries are made."""
    work = tmp_path / "elastic.work"
    elastify(save_backbone(tmp_path / "bert"), documents, tmp_path / "elastic", settings=EXACT)
    (counts,) = read_info(work / "prepared")["sources"].values()
    assert counts["held out"] == counts["queries"] // 10 > 0
    assert load(tmp_path / "elastic").provenance["kept"] == "best"
