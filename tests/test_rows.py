"""Rows keep their identity: whatever keys, dtypes and index a frame has, a row gets what it would get alone.

Every pandas from 2.0 on has to pass; 2.0.3, 2.2.3 and 3.1.1 did. To repeat it with an older one, on Python 3.11:
`pip install "pandas==2.0.3" "numpy<2" "pyarrow<16" && pytest tests/test_rows.py tests/test_frames.py`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elasticranker import ElasticRanker, RemoteRanker
from elasticranker.collections.text_loader import TextLoader
from elasticranker.retrieval.searching import BM25
from elasticranker.routing import EnergyRouter
from tests.backbones import save_backbone
from tests.oddframes import OddFrame, column, odd_frames
from tests.planning.test_cost import elastic
from tests.serving.doubles import session_into
from tests.serving.test_remote import URL, Script, plain

Score = Callable[[str, str], float]
many = settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])


@cache
def vanilla() -> str:
    return save_backbone(Path(tempfile.mkdtemp()))


@cache
def local() -> ElasticRanker:
    return ElasticRanker(vanilla(), dtype="float32")


@cache
def tuned() -> ElasticRanker:
    folder = Path(tempfile.mkdtemp())
    return ElasticRanker(str(elastic(folder / "source").save(folder / "elastic")), dtype="float32")


@cache
def alone(query: str, text: str) -> float:
    """What the local ranker gives a pair that is a frame of its own."""
    row = pd.DataFrame({"qid": ["1"], "query": [query], "docno": ["d"], "text": [text]})
    return float(local()(row)["score"].iloc[0])


def letters(query: str, text: str) -> float:
    return float(len(set(query) & set(text)) - len(text) / 100)


def length(query: str, text: str) -> float:
    return float(len(text) - len(query))


def unasked(query: str, text: str) -> float:
    raise AssertionError(f"asked about {query!r} and {text!r}")


class Scores(pt.Transformer):
    """A black box that scores pairs and shuffles them; without `keeps`, it drops its input's other columns."""

    def __init__(self, score: Score, keeps: bool = True) -> None:
        self.score, self.keeps = score, keeps

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        scores = [self.score(query, text) for query, text in zip(inp["query"], inp["text"], strict=True)]
        kept = inp if self.keeps else inp[["qid", "docno"]]
        return kept.assign(score=np.asarray(scores, dtype=float)).sample(frac=1, random_state=1)


def server(score: Score, most: int) -> Script:
    """A server of text-embeddings-inference that takes `most` texts a request."""

    def answer(request: Any, number: int) -> Any:
        if request.path_url == "/info":
            return 200, {"max_client_batch_size": most}
        body = script.sent[-1][1]
        assert len(body["texts"]) <= most
        return 200, [{"index": i, "score": score(body["query"], text)} for i, text in enumerate(body["texts"])]

    script = Script(answer)
    return script


def remote(score: Score, most: int) -> RemoteRanker:
    return RemoteRanker(URL, session=session_into(server(score, most)), concurrency=2)


def assert_each_row_is_scored_as_if_alone(result: pd.DataFrame, odd: OddFrame, score: Score) -> None:
    """Same cells and dtypes, each row its own score, queries in order of their first row, no ties, ranks from 0."""
    assert sorted(result["row"]) == list(range(len(odd.rows)))
    assert result.index.tolist() == list(range(len(result)))
    names = ["qid", "query", "docno", "text"]
    assert [result[name].dtype for name in names] == [odd.frame[name].dtype for name in names]
    rows = [odd.rows[place] for place in result["row"]]
    for name in names:
        assert result[name].tolist() == [row[name] for row in rows]
    expected = np.asarray([score(row["query"], row["text"]) for row in rows])
    np.testing.assert_allclose(result["score"].to_numpy(dtype=float), expected, atol=1e-4)
    assert list(dict.fromkeys(result["qid"].tolist())) == list(dict.fromkeys(row["qid"] for row in odd.rows))
    single = result["score"].to_numpy(dtype=np.float32)
    for place in range(1, len(rows)):
        before, here = rows[place - 1], rows[place]
        if before["qid"] != here["qid"]:
            assert result["rank"].iloc[place] == 0
            assert here["qid"] not in [row["qid"] for row in rows[:place]]
            continue
        assert result["rank"].iloc[place] == result["rank"].iloc[place - 1] + 1
        assert single[place] < single[place - 1]
        assert expected[place] < expected[place - 1] + 1e-4
        if (before["query"], before["text"]) == (here["query"], here["text"]):
            assert before["arrival"] < here["arrival"]


@many
@given(odd_frames())
def test_the_local_ranker_scores_each_row_as_if_alone(odd: OddFrame) -> None:
    assert_each_row_is_scored_as_if_alone(local()(odd.frame), odd, alone)


@many
@given(odd_frames(), st.sampled_from(["60%", "25%", "5%"]))
def test_a_reduced_budget_sees_the_same_candidates_whatever_their_types(odd: OddFrame, budget: str) -> None:
    ranker = tuned().with_budget(budget)
    result, expected = ranker(odd.frame), ranker(odd.plain)
    assert result["row"].tolist() == expected["row"].tolist()
    assert result["score"].tolist() == expected["score"].tolist()
    assert ranker.full_cost(odd.frame).tolist() == ranker.full_cost(odd.plain).tolist()


@many
@given(odd_frames(), st.integers(1, 5))
def test_the_remote_ranker_scores_each_row_as_if_alone(odd: OddFrame, most: int) -> None:
    assert_each_row_is_scored_as_if_alone(remote(letters, most)(odd.frame), odd, letters)


@many
@given(odd_frames(), st.integers(1, 5))
def test_the_remote_ranker_gives_what_the_local_one_gives(odd: OddFrame, most: int) -> None:
    assert_each_row_is_scored_as_if_alone(remote(alone, most)(odd.frame), odd, alone)


@many
@given(odd_frames(), st.sampled_from([(-np.inf, letters), (np.inf, length)]))
def test_the_router_scores_each_row_as_if_alone(odd: OddFrame, routed: tuple[float, Score]) -> None:
    threshold, expected = routed
    router = EnergyRouter(Scores(length), Scores(letters), energy="std", threshold=threshold)
    assert_each_row_is_scored_as_if_alone(router(odd.frame), odd, expected)


@many
@given(odd_frames(), st.floats(0, 1), st.sampled_from([None, "60%"]), st.none() | st.integers(1, 3))
def test_the_router_routes_the_same_whatever_the_types(
    odd: OddFrame, share: float, budget: str | None, depth: int | None
) -> None:
    costs: dict[str, Any] = {"swift_cost": 1.0, "super_cost": 3.0}
    router = EnergyRouter(
        Scores(length), Scores(letters), energy="std", super_share=share, budget=budget, super_depth=depth, **costs
    )
    router.trace = True
    result, expected = router(odd.frame), router(odd.plain)
    for name in ("row", "score", "rank", "energy", "routed_to"):
        assert result[name].tolist() == expected[name].tolist()


class Library:
    """A collection of one text a docno."""

    name = "library"

    def texts(self, docnos: Any) -> dict[str, str]:
        return {docno: f"text of {docno}" for docno in docnos}


@many
@given(odd_frames(only_names=True))
def test_the_text_loader_gives_each_row_its_own_text(odd: OddFrame) -> None:
    loaded = TextLoader(Library(), field="body")(odd.frame)
    assert loaded["body"].tolist() == [f"text of {row['docno']}" for row in odd.rows]
    pd.testing.assert_frame_equal(loaded.drop(columns="body"), odd.frame)


# Rows that cannot be told apart, or have no name.


class Untouched(Library):
    """A collection that must not be asked."""

    def texts(self, docnos: Any) -> dict[str, str]:
        raise AssertionError(f"asked for {list(docnos)}")


def transformers() -> Iterator[pt.Transformer]:
    """Everything that takes candidates; none of them can do any work."""
    yield ElasticRanker(vanilla())
    yield RemoteRanker(URL, session=session_into(Script(lambda request, number: AssertionError("asked"))))
    yield EnergyRouter(Scores(unasked), Scores(unasked), super_share=0.5)
    yield TextLoader(Untouched())


def refusals(frame: pd.DataFrame) -> set[str]:
    """What they all say."""
    said = set()
    for transformer in transformers():
        with pytest.raises(ValueError) as error:
            transformer(frame)
        said.add(str(error.value))
        if isinstance(transformer, ElasticRanker):
            assert "checkpoint" not in vars(transformer._loaded)
    return said


@many
@given(odd_frames(), st.sampled_from(["qid", "docno"]), st.sampled_from([None, float("nan"), pd.NA, pd.NaT]), st.data())
def test_a_row_without_a_name_is_refused_by_all_alike_before_any_work(
    odd: OddFrame, name: str, missing: Any, data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(odd.rows) - 1))
    values = odd.frame[name].tolist()
    values[row] = missing
    frame = odd.frame.assign(**{name: pd.Series(values, index=odd.frame.index, dtype=object)})
    (said,) = refusals(frame)
    assert f"the column {name!r} has no name in 1 of {len(odd.rows)} rows, the first is row {row} " in said
    assert f"frame.dropna(subset=[{name!r}])" in said


@pytest.mark.parametrize("dtype", ["string[python]", "category", "float64", "Int64"])
@pytest.mark.parametrize("name", ["qid", "docno"])
def test_missing_names_are_found_in_columns_of_any_type(name: str, dtype: str) -> None:
    numeric = dtype in ("float64", "Int64")
    frame = pd.DataFrame({"qid": [1, 1, 2], "docno": [1, 2, 3]}, dtype=object).astype(object if numeric else str)
    frame = frame.assign(query="a cat", text="a cat")
    frame[name] = pd.Series([None if row == 1 else frame[name][row] for row in range(3)], dtype=object).astype(dtype)
    (said,) = refusals(frame)
    assert f"the column {name!r} has no name in 1 of 3 rows, the first is row 1 " in said


def test_the_smallest_frame_that_once_lost_a_row() -> None:
    rows = [("1", "copy a folder", "d1", "copytree copies"), (None, "copy a folder", "d2", "rivers flow")]
    (said,) = refusals(pd.DataFrame(rows, columns=["qid", "query", "docno", "text"]))
    assert "the column 'qid' has no name in 1 of 2 rows, the first is row 1 (from 0, docno 'd2') with" in said


def test_a_search_refuses_queries_without_a_qid() -> None:
    with pytest.raises(ValueError, match="the column 'qid' has no name in 1 of 2 rows, the first is row 0 "):
        BM25(Path("nowhere"))(pd.DataFrame({"qid": [None, "1"], "query": ["a", "b"]}))
    with pytest.raises(
        ValueError, match=r"the column 'query' has no text in 2 of 2 rows, the first is row 0 .*with 5: every query"
    ):
        BM25(Path("nowhere"))(pd.DataFrame({"qid": ["1", "2"], "query": [5, 6]}))


@pytest.mark.parametrize("name", ["qid", "query", "docno", "text", "score", "rank"])
def test_two_columns_of_one_name_are_refused_by_name(name: str) -> None:
    row = pd.DataFrame(
        [("1", "a cat", "d1", "a cat", 1.0, 0)], columns=["qid", "query", "docno", "text", "score", "rank"]
    )
    twice = pd.concat([row, row[[name]]], axis=1)
    for ranker in (
        ElasticRanker(vanilla()),
        remote(letters, 5),
        EnergyRouter(Scores(unasked), Scores(unasked), super_share=0.5),
    ):
        if name in ("query", "text") and isinstance(ranker, EnergyRouter):
            continue  # a black box reads what it likes
        with pytest.raises(ValueError, match=f"the frame has 2 columns named '{name}'"):
            ranker(twice)


@pytest.mark.parametrize("values", [[5, 6], [5.0, None], [b"a", "b"]])
@pytest.mark.parametrize("name", ["query", "text"])
def test_what_is_no_text_is_refused_by_the_name_of_its_column(name: str, values: list[Any]) -> None:
    frame = pd.DataFrame({"qid": "1", "query": "a cat", "docno": ["d1", "d2"], "text": "a cat"}).assign(
        **{name: values}
    )
    for ranker in (ElasticRanker(vanilla()), remote(letters, 5)):
        with pytest.raises(ValueError, match=rf"the column '{name}' has no text in . of 2 rows, the first is row 0 "):
            ranker(frame)


def test_a_categorical_qid_with_unused_categories_is_a_qid() -> None:
    frame = pd.DataFrame({"qid": column(["b", "a", "b"], "category"), "query": "a cat", "docno": ["1", "2", "3"]})
    frame["text"] = ["a cat", "the river bank", "the river bank"]
    result = local()(frame)
    assert result["qid"].tolist() == ["b", "b", "a"]
    assert sorted(result["docno"][:2]) == ["1", "3"]


def test_rows_of_one_qid_are_asked_for_with_their_own_query() -> None:
    rows = [("1", "a cat", "d1", "a cat"), ("1", "the river", "d2", "a cat"), ("1", "a cat", "d3", "river")]
    script = plain()
    RemoteRanker(URL, session=session_into(script))(pd.DataFrame(rows, columns=["qid", "query", "docno", "text"]))
    asked = {body["query"]: body["texts"] for path, body in script.sent if path == "/rerank"}
    assert asked == {"a cat": ["a cat", "river"], "the river": ["a cat"]}


# Black boxes that drop columns.


@many
@given(odd_frames())
def test_a_ranker_that_drops_columns_is_understood_or_refused(odd: OddFrame) -> None:
    router = EnergyRouter(Scores(length), Scores(letters, keeps=False), energy="std", threshold=-np.inf)
    frame = odd.frame.drop(columns="row")  # which would tell all rows apart
    content: dict[Any, set[Any]] = {}
    for row in odd.rows:
        content.setdefault((row["qid"], row["docno"]), set()).add((row["query"], row["text"]))
    if max(map(len, content.values())) > 1:
        with pytest.raises(ValueError, match="nothing says which score is whose"):
            router(frame)
        return
    result = router(frame)
    found = zip(result["query"].tolist(), result["text"].tolist(), result["score"].tolist(), strict=True)
    assert all(score == pytest.approx(letters(query, text), abs=1e-4) for query, text, score in found)


def test_documents_that_come_twice_with_other_texts_keep_their_own_scores() -> None:
    frame = pd.DataFrame({"qid": "1", "query": "a cat", "docno": "d", "text": ["a cat", "zzz", "tac"]})
    ranked = EnergyRouter(Scores(length), Scores(letters), threshold=-np.inf)(frame)
    scores = dict(zip(ranked["text"], ranked["score"], strict=True))
    assert scores == pytest.approx({text: letters("a cat", text) for text in frame["text"]}, abs=1e-4)
