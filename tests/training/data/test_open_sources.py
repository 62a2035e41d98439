"""Training data from ir_datasets and collections' folders: docpairs, and qrels with BM25's or a run's candidates."""

from pathlib import Path

import ir_datasets
import pytest
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import TrecQrels, TsvDocPairs, TsvDocs, TsvQueries
from ir_datasets.util import LocalDownload

from elasticranker.training.data.open_sources import open_sources
from elasticranker.training.data.sources import TrainingQuery
from tests.training.tiny import write_source

TEXTS = {"d1": "the red fox", "d2": "the red dog", "d3": "a blue cat", "d4": "a blue moon", "d5": "a green star"}


@pytest.fixture(scope="module")
def irds(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a made-up dataset with qrels and docpairs; "<id>/triples-small" has the same, "<id>/pairs" no qrels."""
    folder = tmp_path_factory.mktemp("irds")

    def download(name: str, content: str) -> LocalDownload:
        Path(folder / name).write_text(content)
        return LocalDownload(folder / name)

    docs = TsvDocs(download("docs.tsv", "".join(f"{docno}\t{text}\n" for docno, text in TEXTS.items())))
    queries = TsvQueries(download("queries.tsv", "q1\tred fox\nq2\tblue moon\nq3\tgreen\n"))
    qrels = TrecQrels(download("qrels.txt", "q1 0 d1 1\nq2 0 d4 1\nq2 0 d3 0\n"), {})
    pairs = "q2\td4\td3\nq1\td1\td2\nq2\td4\td5\nq2\td4\td1\nq1\td1\td2\nq3\td5\td1\n"
    docpairs = TsvDocPairs(download("pairs.tsv", pairs))
    register = ir_datasets.registry.register
    register("elasticranker-training", Dataset(docs, queries, qrels, docpairs))
    register("elasticranker-training/triples-small", Dataset(docs, queries, qrels, docpairs))
    register("elasticranker-training/pairs", Dataset(docs, queries, docpairs))
    return "elasticranker-training"


@pytest.mark.parametrize("part", ["triples-small", "pairs"])
def test_docpairs_become_groups(irds, part):
    (source,) = open_sources(f"irds:{irds}/{part}", k=2)
    assert source.name == f"{irds}/{part}"
    texts = dict(zip(source.docnos, source.documents, strict=True))
    assert texts == TEXTS
    named = {
        query.text: ([source.docno(n) for n in query.positives], [source.docno(n) for n in query.candidates])
        for query in source.queries
    }
    assert named == {"red fox": (["d1"], ["d2"]), "blue moon": (["d4"], ["d3", "d5"]), "green": (["d5"], ["d1"])}
    assert {query.qid for query in source.queries} == {"q1", "q2", "q3"}
    assert all(query.judged for query in source.queries)


def test_docpairs_are_read_for_the_first_queries_until_they_have_enough(irds):
    (source,) = open_sources(f"irds:{irds}/pairs", k=1, max_queries=1)
    assert source.queries == [TrainingQuery("blue moon", [0], [1], qid="q2")]
    assert source.documents == ["a blue moon", "a blue cat"]


def test_qrels_get_candidates_from_bm25(irds):
    (source,) = open_sources(f"irds:{irds}", k=2)
    found = {query.text: (query.positives, query.candidates) for query in source.queries}
    assert set(found) == {"red fox", "blue moon"}
    numbers = {docno: number for number, docno in enumerate(source.docnos)}
    assert found["red fox"] == ([numbers["d1"]], [numbers["d2"]])
    assert found["blue moon"] == ([numbers["d4"]], [numbers["d3"]])


def test_qrels_get_candidates_from_a_run_of_a_collection_in_a_folder(tmp_path):
    folder = tmp_path / "collection"
    folder.mkdir()
    (folder / "corpus.tsv").write_text("".join(f"{docno}\t{text}\n" for docno, text in TEXTS.items()))
    (folder / "queries.tsv").write_text("q1\tred fox\nq2\tblue moon\n")
    (folder / "qrels.txt").write_text("q1 0 d1 3\nq1 0 d2 1\nq1 0 d5 0\nq2 0 d9 2\n")
    run = "".join(f"q1 Q0 {docno} {rank} {-rank} x\n" for rank, docno in enumerate(["d2", "d3", "d1", "d4", "d5"]))
    (tmp_path / "run.trec").write_text(run)
    (source,) = open_sources(str(folder), negatives=str(tmp_path / "run.trec"), k=4)
    assert source.name == "collection"
    (query,) = source.queries  # the other one's positive isn't in the corpus
    assert [source.docno(number) for number in query.positives] == ["d1"]
    assert [source.docno(number) for number in query.candidates] == ["d3", "d4"]  # d2 is neither good nor bad


def test_where_no_label_says_irrelevant_the_lowest_of_a_positive_is_asked_for(tmp_path):
    (tmp_path / "corpus.tsv").write_text("".join(f"{docno}\t{text}\n" for docno, text in TEXTS.items()))
    (tmp_path / "queries.tsv").write_text("q1\tred fox\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d1 4\nq1 0 d2 1\nq1 0 d3 3\n")
    (tmp_path / "run.trec").write_text("q1 Q0 d4 1 1.0 x\n")
    with pytest.raises(ValueError, match=r"labels of .* are 1, 3, 4, and none says that a document is not relevant"):
        open_sources(str(tmp_path), negatives=str(tmp_path / "run.trec"))
    (source,) = open_sources(str(tmp_path), negatives=str(tmp_path / "run.trec"), rel=3)
    assert [source.docno(number) for number in source.queries[0].positives] == ["d1", "d3"]


def test_a_folder_of_sources_is_read_as_it_is(tmp_path):
    (source,) = open_sources(str(write_source(tmp_path)), max_queries=3)
    assert (source.name, len(source.queries), len(source.documents)) == ("made-up", 3, 60)


def test_what_cannot_be_opened_says_so(irds, tmp_path):
    with pytest.raises(ValueError, match="no folder 'nowhere'"):
        open_sources("nowhere")
    with pytest.raises(ValueError, match=r"no \*\.queries\.jsonl"):
        open_sources(str(tmp_path))
    (tmp_path / "corpus.tsv").write_text("d1\tx\n")
    with pytest.raises(ValueError, match="has no docpairs: take the negatives from bm25 or from a run file"):
        open_sources(str(tmp_path), negatives="docpairs")
