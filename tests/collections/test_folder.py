import gzip
import os
from pathlib import Path

import pytest

from elasticranker.collections import open_collection, tsv
from elasticranker.textfiles import compressed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three documents, one of them empty, two queries and a run."""
    (tmp_path / "corpus.tsv").write_text("d1\tthe fox\nd2\tthe dog\nd3\t\n")
    (tmp_path / "queries.tsv").write_text("q1\tfox\nq2\tdog\n")
    (tmp_path / "qrels.txt").write_text("q1 0 d1 1\nq2 0 d2 1\n")
    (tmp_path / "bm25.top2.trec").write_text("q1 Q0 d1 1 2.5 bm25\nq1 Q0 d2 2 1.5 bm25\n")
    return tmp_path


def test_a_folder_gives_queries_qrels_documents_and_runs(folder):
    collection = open_collection(folder)
    assert collection.queries()["query"].tolist() == ["fox", "dog"]
    assert collection.qrels()["docno"].tolist() == ["d1", "d2"]
    assert [document["docno"] for document in collection.corpus()] == ["d1", "d2", "d3"]
    assert collection.run("bm25.top2")["docno"].tolist() == ["d1", "d2"]
    assert collection.name == str(folder)


def test_texts_are_those_asked_for_and_there(folder):
    assert open_collection(folder).texts(["d3", "d1", "nowhere", "d1"]) == {"d1": "the fox", "d3": ""}


def test_odd_texts_come_back_as_they_were(tmp_path):
    texts = {"nul": "a\0b", "emoji": "😀\u2028\x85", "tabs": "\tx\t", "long": "x" * 100_000, "日本": "語"}
    (tmp_path / "corpus.tsv").write_text("".join(f"{docno}\t{text}\n" for docno, text in texts.items()))
    assert open_collection(tmp_path).texts(texts) == texts


def test_more_texts_than_one_look_up_takes(tmp_path):
    (tmp_path / "corpus.tsv").write_text("".join(f"d{i}\ttext {i}\n" for i in range(2000)))
    texts = open_collection(tmp_path).texts(f"d{i}" for i in range(0, 3000, 2))
    assert len(texts) == 1000
    assert texts["d1998"] == "text 1998"


def test_the_corpus_is_read_once_for_all_look_ups(folder, monkeypatch):
    open_collection(folder).texts(["d1"])

    def must_not_run(path: Path) -> None:
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(tsv, "read_corpus", must_not_run)
    assert open_collection(folder).texts(["d2"]) == {"d2": "the dog"}


def test_a_changed_corpus_has_another_fingerprint_and_other_texts(folder):
    collection = open_collection(folder)
    before = collection.fingerprint()
    assert collection.texts(["d1"]) == {"d1": "the fox"}
    (folder / "corpus.tsv").write_text("d1\tthe cat\n")
    os.utime(folder / "corpus.tsv", ns=(1, 1))
    assert collection.fingerprint() != before
    assert collection.texts(["d1"]) == {"d1": "the cat"}


def test_files_may_be_gzipped(folder):
    for name in ("corpus.tsv", "queries.tsv", "qrels.txt"):
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    collection = open_collection(folder)
    assert collection.texts(["d2"]) == {"d2": "the dog"}
    assert len(collection.queries()) == len(collection.qrels()) == 2


def test_the_corpus_may_be_elsewhere(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "all.tsv"
    (folder / "corpus.tsv").rename(elsewhere)
    collection = open_collection(folder, corpus=elsewhere)
    assert collection.texts(["d1"]) == {"d1": "the fox"}
    assert collection == open_collection(folder, corpus=elsewhere) != open_collection(folder)


def test_what_is_missing_is_named_with_the_remedy(tmp_path):
    collection = open_collection(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no corpus\.tsv \(nor corpus\.tsv\.gz, .*--corpus FILE"):
        collection.corpus()
    with pytest.raises(FileNotFoundError, match=r"queries\.tsv.*add one: qid <tab> query"):
        collection.queries()
    with pytest.raises(FileNotFoundError, match=r"qrels\.txt.*TREC qrels"):
        collection.qrels()
    with pytest.raises(FileNotFoundError, match="no corpus file"):
        open_collection(tmp_path, corpus=tmp_path / "nowhere.tsv")


def test_an_unknown_run_is_an_error_that_names_the_runs(folder):
    with pytest.raises(ValueError, match=r"no run 'bm52'.*\['bm25.top2'\]"):
        open_collection(folder).run("bm52")


def test_duplicate_docnos_are_an_error_of_the_look_up_too(folder):
    (folder / "corpus.tsv").write_text("d1\tone\nd1\ttwo\n")
    with pytest.raises(ValueError, match="line 2: docno 'd1' was already on line 1"):
        open_collection(folder).texts(["d1"])


@pytest.mark.parametrize(
    ("labels", "level"), [([0, 1], 1), ([0, 1, 2], 1), ([0, 3], 2), ([-2, 1, 4], 1), ([1, 1], 1), ([], 1)]
)
def test_labels_up_to_three_count_from_two(folder, labels, level):
    (folder / "qrels.txt").write_text("".join(f"q1 0 d{i} {label}\n" for i, label in enumerate(labels)))
    assert open_collection(folder).relevance_level() == level


def test_where_no_label_says_irrelevant_somebody_has_to_say_which_are_relevant(folder):
    (folder / "qrels.txt").write_text("".join(f"q1 0 d{label} {label}\n" for label in (4, 1, 2, 3)))
    with pytest.raises(ValueError, match=r"labels of .* are 1, 2, 3, 4, and none says .* \(--rel K, rel=K\)$"):
        open_collection(folder).relevance_level()


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".xz"])
def test_every_file_may_be_compressed(folder, ending):
    plain = open_collection(folder)
    expected = [plain.queries(), plain.qrels(), plain.run("bm25.top2"), plain.texts(["d1"]), list(plain.corpus())]
    for path in list(folder.iterdir()):
        with open(path.with_name(path.name + ending), "wb") as file, compressed(file, path.name + ending) as packed:
            packed.write(path.read_bytes())
        path.unlink()
    packed = open_collection(folder)
    found = [packed.queries(), packed.qrels(), packed.run("bm25.top2"), packed.texts(["d1"]), list(packed.corpus())]
    for one, other in zip(found, expected, strict=True):
        assert one.equals(other) if hasattr(one, "equals") else one == other


def test_a_corpus_of_an_unknown_form_is_refused_at_once(folder):
    (folder / "elsewhere.tsv.zst").touch()
    with pytest.raises(ValueError, match=r"elsewhere\.tsv\.zst: \.zst is not a form .* \.gz, \.bz2, \.xz"):
        open_collection(folder, corpus=folder / "elsewhere.tsv.zst")


def test_an_unknown_name_says_what_a_collection_can_be():
    with pytest.raises(FileNotFoundError, match=r"no folder 'msmarco'.*'python-docs', 'irds:'"):
        open_collection("msmarco")


def test_a_corpus_for_a_collection_that_has_its_own_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="python-docs has its own documents"):
        open_collection("python-docs", corpus=tmp_path)


def test_real_data_opens(shared):
    corpus = shared / "data" / "msmarco-reduced" / "corpus.tsv.gz"
    collection = open_collection(shared / "data" / "trec-dl-2019", corpus=corpus)
    run = collection.run("bm25.top100")
    assert len(collection.queries()) == run["qid"].nunique() == 43
    assert collection.relevance_level() == 2
    assert len(collection.texts(run["docno"])) == run["docno"].nunique()
