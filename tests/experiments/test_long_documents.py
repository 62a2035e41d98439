"""Long documents made of passages, and rerankers of their beginnings and of their passages."""

import pandas as pd
import pytest

from elasticranker.evaluation.candidates import Candidates
from elasticranker.files import read_json
from experiments import long_documents
from experiments.long_documents import ByPassages
from tests.backbones import save_backbone
from tests.fakes import FakeRanker, write_collection


@pytest.fixture
def found():
    """Two queries, six passages each; one of the first query's is relevant. A third query found nothing."""
    rows = [(qid, f"about {qid}", f"{qid}p{n}", f"{qid} passage{n}", 6.0 - n, n) for qid in "xy" for n in range(6)]
    frame = pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score", "rank"])
    qrels = pd.DataFrame([("x", "xp4", 1), ("y", "elsewhere", 1), ("z", "zp0", 1)], columns=["qid", "docno", "label"])
    return Candidates("bm25", frame, qrels, queries=3)


def test_every_passage_is_in_one_document_beside_others(found):
    made = long_documents.long_documents(found, topical=2, others=3)
    for qid, own in made.frame.groupby("qid"):
        words = " ".join(own["text"]).split()
        assert sorted(word for word, before in zip(words[1:], words[:-1], strict=True) if before == qid) == [
            f"passage{n}" for n in range(6)
        ]
        assert [len(text.split()) for text in own["text"]] == [2 * (2 + 3)] * 3


def test_a_document_is_as_good_as_its_best_passage(found):
    made = long_documents.long_documents(found, topical=2, others=1)
    labels = made.qrels.set_index("docno")["label"]
    for row in made.frame[made.frame["qid"] == "x"].itertuples():
        assert labels[row.docno] == ("x passage4" in row.text)
        assert row.score == max(6.0 - n for n in range(6) if f"x passage{n}" in row.text)
    assert made.frame.groupby("qid")["rank"].apply(list).tolist() == [[0, 1, 2]] * 2
    assert set(made.qrels["qid"]) == {"x", "y", "z"} and made.queries == 3


def test_the_same_seed_makes_the_same_documents(found):
    first, again, other = (long_documents.long_documents(found, seed=seed).frame for seed in (1, 1, 2))
    assert first.equals(again) and not first.equals(other)


def test_too_few_passages_are_refused(found):
    with pytest.raises(ValueError, match="topical=0"):
        long_documents.long_documents(found, topical=0)
    alone = Candidates("bm25", found.frame[found.frame["qid"] == "x"], found.qrels, 1)
    with pytest.raises(ValueError, match="one query alone"):
        long_documents.long_documents(alone)


def test_a_document_has_its_best_passages_score_and_pays_for_all():
    frame = pd.DataFrame(
        {
            "qid": ["1", "1"],
            "query": ["fox river", "fox river"],
            "docno": ["a", "b"],
            "text": ["dog dog dog dog fox river", "fox dog dog"],
            "score": [2.0, 1.0],
            "rank": [0, 1],
        }
    )
    ranked = ByPassages(FakeRanker(trace=True), length=2, stride=2)(frame).set_index("docno")
    assert ranked["spend"].to_dict() == {"a": 6e9, "b": 2e9}  # `sliding` drops what is behind the last whole window
    assert ranked["rank"].to_dict() == {"a": 0, "b": 1}


def test_the_command_compares_beginnings_with_passages(tmp_path, capsys):
    docs = [(f"d{n}", f"river bank {n} " + "water flows deep " * 4) for n in range(8)]
    queries = [("q0", "river bank 0"), ("q1", "river bank 1")]
    folder = write_collection(tmp_path / "collection", queries, docs, [("q0", "d0", 1), ("q1", "d1", 1)])
    model, output = save_backbone(tmp_path / "model"), tmp_path / "out"
    small = ["--topical", "2", "--others", "2", "--length", "10", "--stride", "5", "--max-length", "70"]
    command = [str(folder), *small, "--model", model, "--budgets", "full", "50%", "--output", str(output)]
    assert long_documents.main(command) == 0
    assert "passages" in capsys.readouterr().out
    manifest = read_json(output / "manifest.json")
    assert list(manifest["systems"]) == ["beginnings 100%", "passages 100%", "beginnings 50%", "passages 50%"]
    assert "10 words each, one every 5" in (output / "report.md").read_text()
