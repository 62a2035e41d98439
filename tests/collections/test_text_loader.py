import pandas as pd
import pyterrier as pt
import pytest

from elasticranker.collections import open_collection


@pytest.fixture
def collection(tmp_path):
    (tmp_path / "corpus.tsv").write_text("d1\tone\nd2\t\n")
    return open_collection(tmp_path)


def results(*docnos: str) -> pd.DataFrame:
    rows = [("q1", "query", docno, 9.0 - rank, rank) for rank, docno in enumerate(docnos)]
    return pd.DataFrame(rows, columns=["qid", "query", "docno", "score", "rank"])


def test_texts_come_beside_their_docnos_and_all_else_stays(collection):
    frame = results("d2", "d1", "d2")
    frame.index = [5, 3, 1]
    loaded = collection.text_loader()(frame)
    assert loaded["text"].tolist() == ["", "one", ""]
    pd.testing.assert_frame_equal(loaded.drop(columns="text"), frame)


def test_the_column_has_the_name_asked_for(collection):
    assert collection.text_loader("body")(results("d1"))["body"].tolist() == ["one"]


def test_missing_documents_are_counted_and_named(collection):
    missing = [f"x{i}" for i in range(7)]
    with pytest.raises(KeyError, match=r"7 of 8 documents are not in .*'x0', 'x1', .* skip_missing=True"):
        collection.text_loader()(results("d1", *missing))


def test_missing_documents_are_dropped_when_told_so(collection):
    with pytest.warns(UserWarning, match="1 of 3 documents"):
        loaded = collection.text_loader(skip_missing=True)(results("d1", "x", "d2"))
    assert loaded["docno"].tolist() == ["d1", "d2"]


def test_an_empty_frame_gets_the_column_without_a_corpus(tmp_path):
    loaded = open_collection(tmp_path).text_loader()(results())
    assert loaded.columns.tolist() == ["qid", "query", "docno", "score", "rank", "text"]


def test_pyterriers_own_get_text_takes_a_collection(collection):
    assert pt.text.get_text(collection)(results("d1"))["text"].tolist() == ["one"]


def test_loaders_of_one_collection_and_field_are_equal(collection):
    assert collection.text_loader() == collection.text_loader()
    assert hash(collection.text_loader()) == hash(collection.text_loader())
    assert collection.text_loader() != collection.text_loader("body")


def test_whole_numbers_are_docnos_by_their_digits(tmp_path):
    (tmp_path / "corpus.tsv").write_text("7\tseven\n10\tten\n")
    frame = pd.DataFrame({"docno": [10, 7, 10]})
    loaded = open_collection(tmp_path).text_loader()(frame)
    assert loaded["text"].tolist() == ["ten", "seven", "ten"]
    pd.testing.assert_frame_equal(loaded[["docno"]], frame)
    with pytest.raises(ValueError, match=r"'docno' has neither text nor a whole number in 3 of 3 rows.*with 10\.0"):
        open_collection(tmp_path).text_loader()(frame.astype(float))


def test_a_frame_without_docno_is_refused(collection):
    with pytest.raises(pt.validate.InputValidationError):
        collection.text_loader()(pd.DataFrame({"qid": ["q1"]}))


def test_pyterrier_remakes_it_with_other_arguments(collection):
    lenient = pt.inspect.transformer_apply_attributes(collection.text_loader("body"), skip_missing=True)
    assert lenient == collection.text_loader("body", skip_missing=True)


TestPyTerrierAcceptsIt = pt.testing.transformer_test_class(lambda: open_collection("python-docs").text_loader())
