from pathlib import Path

import ir_datasets
import pytest
from ir_datasets.datasets.base import Dataset
from ir_datasets.formats import TrecQrels, TrecScoredDocs, TsvDocs, TsvQueries
from ir_datasets.util import LocalDownload

from elasticranker.collections import open_collection


@pytest.fixture(scope="module")
def ir_dataset(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id of a small dataset, registered under a name of its own; "<id>/test" shares its documents."""
    folder = tmp_path_factory.mktemp("irds")

    def download(name: str, content: str) -> LocalDownload:
        Path(folder / name).write_text(content)
        return LocalDownload(folder / name)

    docs = TsvDocs(download("docs.tsv", "d1\tthe fox\nd2\tthe dog\nd3\tthe cat\n"))
    queries = TsvQueries(download("queries.tsv", "q2\tdog\nq1\tfox\n"))
    qrels = TrecQrels(download("qrels.txt", "q1 0 d1 3\nq2 0 d2 1\n"), {3: "answers\n it", 1: "related", 0: "neither"})
    graded = TrecQrels(download("graded.txt", "q1 0 d1 3\nq2 0 d2 1\n"), {3: "answers it", 2: "fair", 1: "senseless"})
    runs = TrecScoredDocs(download("run.trec", "q2 Q0 d3 1 1 r\nq2 Q0 d2 2 1 r\nq1 Q0 d2 1 0.5 r\nq1 Q0 d1 2 2 r\n"))
    ir_datasets.registry.register("elasticranker-tests", Dataset(docs))
    twice = TrecScoredDocs(download("twice.trec", "q2 Q0 d3 1 1 r\nq2 Q0 d2 2 1 r\nq2 Q0 d3 3 0.5 r\n"))
    ir_datasets.registry.register("elasticranker-tests/test", Dataset(docs, queries, qrels, runs))
    ir_datasets.registry.register("elasticranker-tests/graded", Dataset(docs, queries, graded, twice))
    return "elasticranker-tests"


def test_a_dataset_gives_queries_qrels_and_documents(ir_dataset):
    collection = open_collection(f"irds:{ir_dataset}/test")
    assert collection.name == "irds:elasticranker-tests/test"
    assert collection.queries().values.tolist() == [["q2", "dog"], ["q1", "fox"]]
    assert collection.qrels().values.tolist() == [["q1", "d1", 3], ["q2", "d2", 1]]
    assert collection.relevance_level() == 2
    assert next(collection.corpus()) == {"docno": "d1", "text": "the fox"}
    assert collection.texts(iter(["d2", "nowhere"])) == {"d2": "the dog"}


def test_its_candidates_are_a_run(ir_dataset):
    run = open_collection(f"irds:{ir_dataset}/test").run("scoreddocs")
    assert run.values.tolist() == [
        ["q2", "d3", 1.0, 0],
        ["q2", "d2", 1.0, 1],
        ["q1", "d1", 2.0, 0],
        ["q1", "d2", 0.5, 1],
    ]


def test_what_labels_mean_decides_or_is_shown(ir_dataset):
    whole, graded = (open_collection(f"irds:{ir_dataset}/{part}") for part in ("test", "graded"))
    assert whole.label_meanings() == {3: "answers it", 1: "related", 0: "neither"}
    with pytest.raises(
        ValueError, match=r"labels of irds:.* are 1, 2, 3, .*--rel K(?s:.*)\n  1: senseless\n  2: fair\n"
    ):
        graded.relevance_level()


def test_a_candidate_that_comes_twice_is_an_error(ir_dataset):
    with pytest.raises(ValueError, match="d3 comes a second time for the query q2"):
        open_collection(f"irds:{ir_dataset}/graded").run("scoreddocs")


def test_datasets_that_share_documents_share_the_fingerprint(ir_dataset):
    whole, part = open_collection(f"irds:{ir_dataset}"), open_collection(f"irds:{ir_dataset}/test")
    assert whole.fingerprint() == part.fingerprint()
    assert whole != part == open_collection(part.name)


def test_what_a_dataset_has_not_is_an_error_that_names_it(ir_dataset):
    collection = open_collection(f"irds:{ir_dataset}")
    for ask in (collection.queries, collection.qrels, lambda: collection.run("scoreddocs")):
        with pytest.raises(ValueError, match=r"irds:elasticranker-tests has no (queries|qrels|scoreddocs)"):
            ask()
    with pytest.raises(ValueError, match="'scoreddocs'"):
        collection.run("bm25")


def test_an_unknown_dataset_is_refused_at_once():
    with pytest.raises(ValueError, match="no dataset 'no/such/set'"):
        open_collection("irds:no/such/set")
