"""What is reranked: judged queries only, texts in place, and clear refusals."""

import lzma

import pandas as pd
import pytest

from elasticranker.collections import open_collection
from elasticranker.evaluation.candidates import load_candidates
from tests.fakes import write_collection


@pytest.fixture
def collection(tmp_path, monkeypatch):
    """Five judged queries and one that isn't; a run `ours` with two candidates for each."""
    monkeypatch.setenv("ELASTICRANKER_CACHE", str(tmp_path / "cache"))
    queries = [(f"q{n}", f"query {n}") for n in range(6)]
    docs, qrels = [("d0", "zero"), ("d1", "one")], [(f"q{n}", "d0", 1) for n in range(5)]
    folder = write_collection(tmp_path / "collection", queries, docs, qrels)
    (folder / "ours.trec").write_text("".join(f"q{n} Q0 d{d} {d} {-d} t\n" for n in (5, 4, 3, 2, 1, 0) for d in (0, 1)))
    return open_collection(str(folder))


def test_only_judged_queries_in_the_order_of_the_collection(collection):
    candidates = load_candidates(collection, "ours")
    assert list(candidates.frame["qid"].unique()) == ["q0", "q1", "q2", "q3", "q4"]
    assert candidates.queries == 5
    assert candidates.system == "ours"


def test_texts_and_queries_are_there(collection):
    row = load_candidates(collection, "ours").frame.iloc[1]
    assert dict(row) == {"qid": "q0", "query": "query 0", "docno": "d1", "score": -1.0, "rank": 1, "text": "one"}


def test_a_run_by_its_path(collection, tmp_path):
    run = tmp_path / "my.bm25.top100.trec"
    run.write_text("q1 Q0 d1 1 1.0 t\n")
    candidates = load_candidates(collection, str(run))
    assert candidates.system == "bm25"
    assert list(candidates.frame["docno"]) == ["d1"]
    assert candidates.queries == 5


def test_the_name_of_a_run_file_becomes_a_tag_that_runs_can_hold(collection, tmp_path):
    (tmp_path / "my first run.trec.xz").write_bytes(lzma.compress(b"q1 Q0 d1 1 1.0 t\n"))
    assert load_candidates(collection, str(tmp_path / "my first run.trec.xz")).system == "my-first-run"


def test_two_queries_of_one_qid_are_refused(collection, monkeypatch):
    twice = pd.DataFrame({"qid": ["q0", "q0"], "query": ["one", "another"]})
    monkeypatch.setattr(type(collection), "queries", lambda self: twice)
    with pytest.raises(ValueError, match="two queries of the qid 'q0'"):
        load_candidates(collection, "ours")


def test_fewer_queries_are_evenly_spaced(collection):
    assert list(load_candidates(collection, "ours", queries=2).frame["qid"].unique()) == ["q0", "q2"]
    assert load_candidates(collection, "ours", queries=2).queries == 2
    assert set(load_candidates(collection, "ours", queries=2).qrels["qid"]) == {"q0", "q2"}
    assert load_candidates(collection, "ours", queries=99).queries == 5


def test_fewer_candidates(collection):
    assert set(load_candidates(collection, "ours", k=1).frame["docno"]) == {"d0"}


def test_another_text_is_another_fingerprint(collection):
    before = load_candidates(collection, "ours").fingerprint
    assert load_candidates(collection, "ours").fingerprint == before
    (collection.path / "corpus.tsv").write_text("d0\tzero\nd1\tuno\n")
    assert load_candidates(collection, "ours").fingerprint != before


def test_missing_documents_are_counted(collection):
    (collection.path / "ours.trec").write_text("q0 Q0 d0 1 1 t\nq0 Q0 gone 2 0 t\n")
    with pytest.raises(KeyError, match=r"1 documents of the run are not in the corpus .*: gone"):
        load_candidates(collection, "ours")
    assert list(load_candidates(collection, "ours", skip_missing=True).frame["docno"]) == ["d0"]


def test_unknown_queries_are_counted(collection):
    (collection.path / "ours.trec").write_text("q0 Q0 d0 1 1 t\nz Q0 d0 1 1 t\n")
    with pytest.raises(KeyError, match="1 of 2 queries of the run are not in the collection"):
        load_candidates(collection, "ours")


@pytest.mark.parametrize(("name", "value"), [("queries", 0), ("k", 0), ("k", -1)])
def test_nonsense_numbers_are_refused(collection, name, value):
    with pytest.raises(ValueError, match=f"{name}={value}"):
        load_candidates(collection, "ours", **{name: value})


def test_an_unknown_run_is_refused(collection):
    with pytest.raises(ValueError, match="no run 'theirs'"):
        load_candidates(collection, "theirs")


def test_without_judgements_there_is_no_experiment(collection):
    (collection.path / "qrels.txt").write_text("other 0 d0 1\n")
    with pytest.raises(ValueError, match=r"no query of .* is judged"):
        load_candidates(collection, "ours")
