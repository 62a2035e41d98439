import sys

import pytest

from elasticranker.collections import open_collection
from elasticranker.collections.python_docs import gather


@pytest.fixture(scope="module")
def collection():
    return open_collection("python-docs")


@pytest.fixture(scope="module")
def docs(collection) -> dict[str, str]:
    return {document["docno"]: document["text"] for document in collection.corpus()}


def test_every_answer_is_a_document(collection, docs):
    assert set(collection.qrels()["docno"]) <= docs.keys()


def test_there_are_100_questions_and_each_has_an_answer(collection):
    queries, qrels = collection.queries(), collection.qrels()
    assert len(queries) == queries["query"].nunique() == 100
    assert set(queries["qid"]) == set(qrels["qid"])
    assert set(qrels["label"]) == {1}


def test_it_has_a_few_thousand_documents_on_one_line_each(docs):
    assert 4000 < len(docs) < 8000
    assert all(text and text == " ".join(text.split()) for text in docs.values())


def test_things_have_the_names_that_people_know_them_by(docs):
    assert {"open", "OSError", "str.split", "os.path.join", "json.JSONDecoder", "random.shuffle"} <= docs.keys()
    assert (
        not {"io.open", "IOError", "posixpath.join", "json.decoder.JSONDecoder", "random.Random.shuffle"} & docs.keys()
    )
    assert not [name for name in docs for part in name.split(".") if part.startswith("_")]


def test_a_text_begins_with_the_name_and_the_parameters(docs):
    assert docs["shutil.copytree"].startswith("shutil copytree(src, dst, ")
    assert "Recursively copy a directory tree" in docs["shutil.copytree"]


def test_gathering_is_quiet_deterministic_and_leaves_this_process_alone(tmp_path, capfd):
    modules = set(sys.modules)
    gather(tmp_path / "one.tsv")
    gather(tmp_path / "two.tsv")
    lines = (tmp_path / "one.tsv").read_text(encoding="utf-8").splitlines()
    assert (tmp_path / "one.tsv").read_bytes() == (tmp_path / "two.tsv").read_bytes()
    assert lines == sorted(lines, key=lambda line: line.split("\t")[0])
    assert set(sys.modules) == modules
    assert capfd.readouterr() == ("", "")


def test_a_gatherer_that_fails_says_why(tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)cannot gather Python's docstrings.*No such file"):
        gather(tmp_path / "no such folder" / "docs.tsv")


def test_it_has_no_runs(collection):
    with pytest.raises(ValueError, match="take BM25's candidates"):
        collection.run("bm25")
