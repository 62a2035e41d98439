import os
import subprocess
import sys
from pathlib import Path

import ir_measures
import pandas as pd
import pyterrier as pt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R

from elasticranker import retrieval
from elasticranker.collections import Collection, cache_dir, open_collection
from elasticranker.retrieval import indexing, searching
from elasticranker.retrieval.searching import BM25
from tests.oddframes import column, keys

CORPUS = {
    "fox": "The quick brown fox jumps over the lazy dog.",
    "foxes": "Foxes hunt at night; a fox sleeps by day.",
    "empty": "",
    "os.path": "Unicode: naïve café, 日本語, 😀 and a\u2028line separator",
    "cat": "Cats sleep all day, and all night.",
}


def write(folder: Path, documents: dict[str, str]) -> Collection:
    folder.mkdir(exist_ok=True)
    (folder / "corpus.tsv").write_text("".join(f"{docno}\t{text}\n" for docno, text in documents.items()))
    return open_collection(folder)


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    return write(tmp_path_factory.mktemp("corpus"), CORPUS)


@pytest.fixture(scope="module")
def bm25(collection: Collection) -> BM25:
    return retrieval.bm25(collection, k=3)


def queries(*texts: str) -> pd.DataFrame:
    # pandas' own text columns, where pyarrow is installed, do not hold lone surrogates; object columns do.
    return pd.DataFrame({"qid": [f"q{i}" for i in range(len(texts))], "query": list(texts)}, dtype=object)


def test_it_finds_and_ranks(bm25):
    found = bm25(queries("fox", "sleeping cat"))
    assert found[found["qid"] == "q0"]["docno"].tolist() == ["foxes", "fox"]
    assert found[found["qid"] == "q1"]["docno"].tolist() == ["cat", "foxes"]
    assert found["rank"].tolist() == [0, 1, 0, 1]
    assert found.columns.tolist() == ["qid", "query", "docno", "score", "rank"]


def test_columns_of_the_queries_stay(bm25):
    found = bm25(queries("fox").assign(topic="animals"))
    assert found["topic"].unique().tolist() == ["animals"]
    assert found["query"].unique().tolist() == ["fox"]


def test_queries_without_a_known_word_have_no_rows(bm25):
    found = bm25(queries("", "the", "😀", "unheardof", "fox"))
    assert found["qid"].unique().tolist() == ["q4"]


def test_no_queries_and_only_empty_ones_give_an_empty_frame_with_columns(bm25):
    for frame in (queries(), queries(""), queries("\0", "   ")):
        assert bm25(frame).columns.tolist() == ["qid", "query", "docno", "score", "rank"]
        assert len(bm25(frame)) == 0


@settings(deadline=None)
@given(st.lists(st.text(st.characters() | st.sampled_from("\0\ud800 fox")), max_size=5))
def test_no_query_however_odd_makes_it_fail(bm25, texts):
    found = bm25(queries(*texts))
    assert set(found["docno"]) <= CORPUS.keys()
    assert found.groupby("qid").size().le(3).all()


def test_a_long_query_with_a_lone_surrogate_and_a_nul_is_searched_all_the_same(bm25):
    assert bm25(queries("\ud800 fox\0fox " * 1000))["docno"].tolist() == ["foxes", "fox"]


def test_a_query_that_is_no_text_is_named(bm25):
    with pytest.raises(
        ValueError, match=r"'query' has no text in 1 of 2 rows, the first is row 1 .*qid 'q1'.* with None"
    ):
        bm25(pd.DataFrame({"qid": ["q0", "q1"], "query": ["fox", None]}, dtype=object))


@settings(deadline=None, max_examples=30)
@given(keys(), st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["fox", "sleeping cat", "unheardof", ""]))))
def test_each_query_finds_what_it_would_find_alone(bm25, qids, asked):
    values, dtype = qids
    frame = pd.DataFrame({"query": [query for _, query in asked]}, dtype=object)
    frame = frame.assign(qid=column([values[number] for number, _ in asked], dtype), row=range(len(asked)))
    found = bm25(frame.set_index(pd.Index([0] * len(frame))))
    expected = []
    for row, (number, query) in enumerate(asked):
        alone = bm25(queries(query))
        expected += [(row, values[number], *rest) for rest in alone[["docno", "score", "rank"]].itertuples(index=False)]
    assert (
        list(zip(*(found[name].tolist() for name in ("row", "qid", "docno", "score", "rank")), strict=True)) == expected
    )
    assert found["qid"].dtype == frame["qid"].dtype


def test_two_of_one_index_are_equal_and_a_smaller_cutoff_is_not(collection, bm25):
    again = retrieval.bm25(collection, k=3)
    assert again == bm25 != retrieval.bm25(collection, k=2)
    assert hash(again) == hash(bm25)


def test_what_pyterrier_shows_of_it_is_what_it_was_made_with(bm25):
    shown = {attribute.name: attribute.value for attribute in pt.inspect.transformer_attributes(bm25)}
    assert shown == {"index": bm25.index, "engine": "pisa", "k": 3, "verbose": False}


def test_a_rank_cutoff_is_pushed_into_the_search(bm25):
    assert (bm25 % 1).compile() == BM25(bm25.index, k=1)
    assert bm25.fuse_rank_cutoff(5) is None
    assert (bm25 % 1).compile().search("fox")["docno"].tolist() == ["foxes"]


def test_pipelines_with_one_beginning_run_it_once_in_an_experiment(collection, bm25, monkeypatch):
    searches = []
    search = BM25.transform
    monkeypatch.setattr(BM25, "transform", lambda self, frame: searches.append(len(frame)) or search(self, frame))
    qrels = pd.DataFrame({"qid": ["q0"], "docno": ["fox"], "label": [1]})
    systems = [retrieval.bm25(collection, k=3), retrieval.bm25(collection, k=3) >> collection.text_loader()]
    table = pt.Experiment(systems, queries("fox"), qrels, [RR @ 10], plan="tree")
    assert table["RR@10"].tolist() == [0.5, 0.5]
    assert [size for size in searches if size] == [1]


def test_an_index_is_built_once(collection, bm25, monkeypatch):
    monkeypatch.setattr(indexing, "build_pisa", None)
    assert retrieval.bm25(collection, k=3).index == bm25.index


def test_a_changed_corpus_is_indexed_again(tmp_path):
    collection = write(tmp_path, {"d1": "fox"})
    assert retrieval.bm25(collection).search("fox")["docno"].tolist() == ["d1"]
    write(tmp_path, {"d1": "cat", "d2": "fox and fox"})
    assert retrieval.bm25(collection).search("fox")["docno"].tolist() == ["d2"]


def test_indexing_and_searching_print_nothing(tmp_path, capfd):
    retrieval.bm25(write(tmp_path, CORPUS)).search("fox")
    assert capfd.readouterr() == ("", "")


def test_bars_show_when_asked_for(tmp_path, capfd):
    retrieval.bm25(write(tmp_path, CORPUS), verbose=True)(queries("fox", "cat", ""))
    err = capfd.readouterr().err
    assert f"indexing {tmp_path.name}: 5 documents" in err
    assert "searching: 100%" in err and "2/2" in err


def test_queries_are_searched_in_parts_as_they_are_together(collection, bm25, monkeypatch):
    asked = queries("fox", "sleeping cat", "unheardof", "day", "night")
    together = bm25(asked)
    monkeypatch.setattr(searching, "TOGETHER", 2)
    pd.testing.assert_frame_equal(retrieval.bm25(collection, k=3)(asked), together)


@pytest.mark.parametrize(
    ("corpus", "complaint"),
    [
        ("d1\tfox\nd2 fox\n", "line 2: expected docno <tab> text"),
        ("d1\tfox\nd1\tcat\n", "line 2: docno 'd1' was already on line 1"),
        ("d1\t\nd2\t😀 ...\n", "no document has a word to index"),
        ("", "no document has a word to index"),
        (f"{'d' * 257}\tfox\n", "1 to 256 bytes"),
    ],
)
def test_a_corpus_that_cannot_be_indexed_is_an_error_and_leaves_no_index(tmp_path, corpus, complaint):
    (tmp_path / "corpus.tsv").write_text(corpus)
    collection = open_collection(tmp_path)
    for _ in range(2):
        with pytest.raises(ValueError, match=complaint):
            retrieval.bm25(collection)
    assert not list((cache_dir() / "indexes").glob(f"*{collection.fingerprint()}"))
    assert not list((cache_dir() / "indexes").glob("*.building-*"))


def test_when_pisa_dies_its_last_words_are_told(tmp_path):
    with pytest.raises(RuntimeError, match=r"PISA failed to index \(exit status -6\)(?s:.*)Error opening file"):
        indexing.build_pisa(tmp_path / "index", [{"docno": "d1", "text": ""}])


def test_an_index_that_pisa_made_too_short_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pyterrier_pisa.PisaIndex.__len__", lambda self: 1)
    with pytest.raises(RuntimeError, match="PISA indexed 1 of 2 documents"):
        indexing.build_pisa(tmp_path / "index", [{"docno": "d1", "text": "fox"}, {"docno": "d2", "text": "cat"}])


def start(script: str, cache: Path, corpus: Path) -> "subprocess.Popen[str]":
    environment = os.environ | {"ELASTICRANKER_CACHE": str(cache), "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.Popen(
        [sys.executable, "-c", script, str(corpus)], env=environment, stdout=subprocess.PIPE, text=True
    )


def finished_indexes(cache: Path) -> list[str]:
    return [path.name for path in (cache / "indexes").iterdir() if path.is_dir() and "building" not in path.name]


def test_two_processes_at_once_build_one_index(tmp_path):
    write(tmp_path / "corpus", {f"d{i}": f"fox {i}" for i in range(500)})
    script = """
import sys; from elasticranker import retrieval
from elasticranker.collections import open_collection
print(len(retrieval.bm25(open_collection(sys.argv[1])).search("fox")))
"""
    processes = [start(script, tmp_path / "cache", tmp_path / "corpus") for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in processes] == ["100\n", "100\n"]
    assert len(finished_indexes(tmp_path / "cache")) == 1


def test_a_killed_indexer_leaves_nothing_that_looks_finished(tmp_path):
    write(tmp_path / "corpus", {f"d{i}": f"fox {i}" for i in range(100)})
    script = """
import sys; from elasticranker import retrieval
from elasticranker.collections import folder, open_collection
def endless(self):
    while True:
        yield from folder.FileCollection.corpus(self)
        print("fed", flush=True)
folder.Folder.corpus = endless
retrieval.bm25(open_collection(sys.argv[1]))
"""
    process = start(script, tmp_path / "cache", tmp_path / "corpus")
    assert process.stdout is not None
    assert process.stdout.readline() == "fed\n"
    process.kill()
    process.communicate()
    assert finished_indexes(tmp_path / "cache") == []
    assert len(retrieval.bm25(open_collection(tmp_path / "corpus")).search("fox")) == 100


def test_bad_arguments_are_named(collection):
    with pytest.raises(ValueError, match="engine='lucene' is not one of 'pisa', 'terrier'"):
        retrieval.bm25(collection, engine="lucene")
    with pytest.raises(ValueError, match="k=0"):
        retrieval.bm25(collection, k=0)


def scores(collection: Collection) -> dict:
    qrels = collection.qrels().rename(columns={"qid": "query_id", "docno": "doc_id", "label": "relevance"})
    run = retrieval.bm25(collection).transform(collection.queries())
    return ir_measures.calc_aggregate(
        [RR @ 10, R @ 100], qrels, run.rename(columns={"qid": "query_id", "docno": "doc_id"})
    )


def test_python_docs_leave_room_for_a_reranker_and_something_to_find():
    measured = scores(open_collection("python-docs"))
    assert 0.35 < measured[RR @ 10] < 0.6
    assert measured[R @ 100] > 0.8


def test_real_data_are_searched_as_well_as_they_can_be(shared):
    measured = scores(open_collection(shared / "data" / "msmarco-reduced"))
    assert measured[RR @ 10] == pytest.approx(0.859, abs=0.01)  # a reduced corpus: no figure for MS MARCO
    assert measured[R @ 100] > 0.97


TestPyTerrierAcceptsIt = pt.testing.transformer_test_class(lambda: retrieval.bm25(open_collection("python-docs")))


def test_pyterrier_remakes_it_with_other_arguments():
    searching = BM25(Path("index"), engine="terrier", k=100)
    fewer = pt.inspect.transformer_apply_attributes(searching, k=5)
    assert fewer == BM25(Path("index"), engine="terrier", k=5)
