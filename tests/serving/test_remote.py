"""`RemoteRanker`: a PyTerrier citizen whose model is elsewhere."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyterrier as pt
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from requests.adapters import BaseAdapter
from starlette.testclient import TestClient

from elasticranker import RemoteRanker
from elasticranker.serving.app import create_app
from elasticranker.serving.client import RerankClient
from tests.serving.doubles import AppAdapter, FakeScorer, make_schedule, served, session_into

URL = "http://server"


class Script(BaseAdapter):
    """A server that answers as a function of the request says: a status, a body and headers, or an error to raise."""

    def __init__(self, answer: Callable[[requests.PreparedRequest, int], Any]) -> None:
        super().__init__()
        self.answer = answer
        self.sent: list[tuple[str, Any]] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        body = json.loads(request.body) if request.body else None
        self.sent.append((str(request.path_url), body))
        outcome = self.answer(request, len(self.sent))
        if isinstance(outcome, Exception):
            raise outcome
        status, content, *headers = outcome
        response = requests.Response()
        response.status_code, response.url = status, str(request.url)
        response.headers.update(headers[0] if headers else {})
        response.raw = io.BytesIO(content if isinstance(content, bytes) else json.dumps(content).encode())
        return response

    def close(self) -> None:
        pass


def plain(limit: int | None = None) -> Script:
    """text-embeddings-inference: a text's score is its length, and `limit` texts a request at most."""

    def answer(request: requests.PreparedRequest, _: int) -> Any:
        if request.path_url == "/info":
            return 200, {"model_id": "m", "max_client_batch_size": limit}
        texts = json.loads(str(request.body, "utf-8") if isinstance(request.body, bytes) else str(request.body))[
            "texts"
        ]
        if limit is not None and len(texts) > limit:
            return 413, {"error": f"batch size {len(texts)} > {limit}", "error_type": "validation"}
        return 200, sorted(({"index": i, "score": len(t)} for i, t in enumerate(texts)), key=lambda r: -r["score"])

    return Script(answer)


def remote(adapter: BaseAdapter, **settings: Any) -> RemoteRanker:
    return RemoteRanker(URL, session=session_into(adapter), **settings)


def frame(queries: int = 3, candidates: int = 5) -> pd.DataFrame:
    rows = [
        (f"q{q}", f"query {q}", f"d{c}", "x" * ((q + 3 * c) % 7), float(candidates - c), c)
        for q in range(queries)
        for c in range(candidates)
    ]
    return pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score", "rank"])


@pytest.fixture
def app() -> Iterator[AppAdapter]:
    with TestClient(create_app(FakeScorer(), make_schedule(static=0.5))) as client:
        yield AppAdapter(client)


class TestCitizenship(pt.testing.transformer_test_class(lambda: RemoteRanker(URL))):  # type: ignore[misc]
    """PyTerrier's own checks, which need no server."""


def test_pyterrier_remakes_it_with_another_budget() -> None:
    half = pt.inspect.transformer_apply_attributes(RemoteRanker(URL, budget="5%", api_key="secret"), budget="50%")
    assert half == RemoteRanker(URL, budget="50%")
    assert half.client._headers == RemoteRanker(URL, api_key="secret").client._headers


def test_every_row_comes_back_ranked_with_its_columns() -> None:
    given_frame = frame().assign(extra=range(15)).sample(frac=1, random_state=0)
    result = remote(plain())(given_frame)
    key = ["qid", "docno", "text", "extra"]
    pd.testing.assert_frame_equal(
        result[key].sort_values("extra", ignore_index=True), given_frame[key].sort_values("extra", ignore_index=True)
    )
    for _, rows in result.groupby("qid"):
        assert rows["rank"].tolist() == list(range(5))
        assert (np.diff(rows["text"].str.len()) <= 0).all()


def test_ties_are_broken_by_incoming_rank() -> None:
    result = remote(plain())(frame(1, 8).assign(text="same"))
    assert result["docno"].tolist() == [f"d{c}" for c in range(8)]
    assert (np.diff(result["score"].astype(np.float32)) < 0).all()


def test_an_empty_frame_asks_nobody() -> None:
    script = Script(lambda request, number: AssertionError("asked"))
    empty = remote(script)(frame().iloc[:0])
    assert list(empty.columns) == ["qid", "query", "docno", "text", "score", "rank"]
    assert script.sent == []
    bare = remote(script)(frame()[["qid", "query", "docno", "text"]].iloc[:0])
    assert {"score", "rank"} <= set(bare.columns)


def test_a_plain_server_gets_nothing_that_it_does_not_know_and_no_more_texts_than_it_takes() -> None:
    script = plain(limit=3)
    result = remote(script, concurrency=1)(frame(2, 7))
    bodies = [body for path, body in script.sent if path == "/rerank"]
    assert [len(body["texts"]) for body in bodies] == [3, 3, 1, 3, 3, 1]
    assert all(set(body) == {"query", "texts", "raw_scores", "truncate"} for body in bodies)
    assert [path for path, _ in script.sent].count("/info") == 1
    pd.testing.assert_frame_equal(result, remote(plain())(frame(2, 7)))


def test_a_server_without_information_is_taken_as_plain() -> None:
    served_by = plain()
    answer = served_by.answer
    script = Script(lambda request, n: (404, b"not here") if request.path_url == "/info" else answer(request, n))
    pd.testing.assert_frame_equal(remote(script)(frame()), remote(plain())(frame()))


def test_a_server_of_ours_gets_incoming_scores_and_the_budget(app: AppAdapter) -> None:
    rows = frame(1)
    remote(app, budget="25%")(rows)
    body = json.loads(str(app.sent[-1].body, "utf-8"))
    assert body["scores"] == rows["score"].tolist()
    assert body["budget"] == "25%"
    remote(app)(rows.drop(columns=["score", "rank"]))
    remote(app)(rows.assign(score=np.nan))
    for request in (app.sent[-1], app.sent[-3]):
        assert not {"scores", "budget"} & set(json.loads(str(request.body, "utf-8")))


def test_ours_ranks_as_it_says(app: AppAdapter) -> None:
    rows = frame(1, 3).assign(query="copy a folder", text=["a river", "copy a folder", "copy folder"])
    assert remote(app)(rows)["docno"].tolist() == ["d1", "d2", "d0"]


def test_a_budget_for_a_server_that_knows_none_is_refused() -> None:
    with pytest.raises(ValueError, match="knows no budgets; leave it out"):
        remote(plain(), budget="25%")(frame())


def test_an_exact_budget_is_asked_for_one_query_at_a_time() -> None:
    running, most = [0], [0]
    ready = plain().answer

    def answer(request: requests.PreparedRequest, number: int) -> Any:
        running[0] += 1
        most[0] = max(most[0], running[0])
        status, content = ready(request, number)
        running[0] -= 1
        if request.path_url == "/info":
            return status, {"elastic": {"exact": True}}
        assert json.loads(str(request.body, "utf-8"))["exact"] is True
        return status, content, {"X-Elastic-Budget": "25%", "X-Elastic-Spend": "7"}

    remote(Script(answer), budget="25%", exact=True)(frame(20))
    assert most == [1]


@pytest.mark.parametrize("info", [{}, {"elastic": {"slo_seconds": 0.2}}])
def test_an_exact_budget_is_not_left_to_servers_that_would_lower_it(info: dict[str, Any]) -> None:
    script = Script(lambda request, number: (200, info))
    with pytest.raises(ValueError, match="exact=True: the server at http://server keeps no budget exactly"):
        remote(script, budget="25%", exact=True)(frame())
    assert [path for path, _ in script.sent] == ["/info"]


def test_exactly_what_was_asked_for_is_spent() -> None:
    with TestClient(create_app(FakeScorer(), make_schedule(slo=1.0, max_wait=1e9))) as client:  # which gives 10%
        adapter = AppAdapter(client)
        rows = frame(3).assign(text=[f"copy {'word ' * (row % 4)}" for row in range(15)])
        decided = remote(adapter, budget="50%", trace=True)(rows)
        exact = remote(adapter, budget="50%", exact=True, trace=True)(rows)
    assert set(decided["served_budget"]) == {"10%"}
    assert set(exact["served_budget"]) == {"50%"}
    costs = rows.assign(cost=10 * rows["text"].str.split().str.len()).groupby("qid")["cost"].sum()
    assert (exact["served_spend"] == exact["qid"].map(costs) // 2).all()


def test_a_trace_is_in_empty_frames_too_and_adds_nothing_unasked(app: AppAdapter) -> None:
    traced = remote(app, trace=True)(frame())
    empty = remote(app, trace=True)(frame().iloc[:0])
    assert list(empty.columns) == list(traced.columns)
    assert empty["served_spend"].dtype == traced["served_spend"].dtype
    pd.testing.assert_frame_equal(remote(app)(frame()), traced.drop(columns=["served_budget", "served_spend"]))


def test_a_trace_of_a_server_that_does_not_tell_is_refused() -> None:
    with pytest.raises(ValueError, match="trace=True: the server at http://server does not say what a query cost"):
        remote(plain(), trace=True)(frame())


def test_an_overloaded_server_is_asked_again_after_the_time_that_it_names() -> None:
    waits: list[float] = []
    ready = plain().answer
    busy: list[Any] = [
        (429, {"error": "overloaded"}, {"Retry-After": "7"}),
        (503, {"error": "shutting down"}, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
        requests.ConnectionError("refused"),
        (429, b"", {"Retry-After": "9999999"}),
    ]

    def answer(request: requests.PreparedRequest, number: int) -> Any:
        return ready(request, number) if request.path_url == "/info" or not busy else busy.pop(0)

    result = remote(Script(answer), sleep=waits.append)(frame(1))
    assert len(result) == 5
    assert waits == [7.0, 0.5, 1.0, 60.0]


def test_retries_end() -> None:
    waits: list[float] = []
    script = Script(lambda request, number: (429, {"error": "overloaded: come back"}, {"Retry-After": "1"}))
    with pytest.raises(ConnectionError, match="status 429: overloaded: come back; given up after 2 retries"):
        remote(script, retries=2, sleep=waits.append)(frame())
    assert (len(script.sent), waits) == (3, [1.0, 1.0])


def test_a_server_that_is_too_slow_is_not_asked_again() -> None:
    script = Script(lambda request, number: requests.Timeout("slow"))
    with pytest.raises(ConnectionError, match="no answer from http://server/info within 60 s"):
        remote(script)(frame())
    assert len(script.sent) == 1


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        ((413, {"error": "5 texts: at most 4"}), "status 413: 5 texts: at most 4"),
        ((401, {"error": "send the API key"}), "status 401: send the API key"),
        ((200, b"<html>"), "not JSON: '<html>'; is this a reranking server"),
        ((200, {"results": []}), "in another form"),
        ((200, [{"index": "x", "score": 1}]), "in another form"),
        ((200, [{"index": 0, "score": None}]), "in another form"),
        ((200, [{"index": 0, "score": 1.0}]), "one score for each of 5 texts"),
        ((200, [{"index": i, "score": 1.0} for i in range(6)]), "one score for each of 5 texts"),
        ((200, [{"index": -1, "score": 1.0}]), "one score for each of 5 texts"),
        ((200, b'[{"index": 0, "score": NaN}]'), "one score for each of 5 texts"),
    ],
)
def test_an_answer_that_is_none_is_an_error(outcome: Any, message: str) -> None:
    script = Script(lambda request, number: (200, {}) if request.path_url == "/info" else outcome)
    with pytest.raises(ValueError, match=message):
        remote(script)(frame())


def test_an_error_ends_the_others() -> None:
    script = Script(lambda request, number: (200, {}) if request.path_url == "/info" else (422, {"error": "no"}))
    with pytest.raises(ValueError, match="status 422: no"):
        remote(script, concurrency=2)(frame(500, 1))
    assert len(script.sent) <= 3  # what the server is, and what both threads had sent before one of them heard


def test_the_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(create_app(FakeScorer(), make_schedule(), api_key="secret")) as client:
        with pytest.raises(ValueError, match="status 401"):
            remote(AppAdapter(client))(frame())
        ranker = remote(AppAdapter(client), api_key="secret")
        assert len(ranker(frame())) == 15
        same = pt.inspect.transformer_apply_attributes(ranker, text_field="text")
        assert len(same(frame())) == 15
        monkeypatch.setenv("ELASTICRANKER_API_KEY", "secret")
        assert len(remote(AppAdapter(client))(frame())) == 15
    shown = [repr(ranker), pt.schematic.draw(ranker), str(pt.inspect.transformer_attributes(ranker))]
    assert not any("secret" in text for text in shown)


@given(st.lists(st.text(), min_size=1, max_size=5), st.text())
def test_no_text_is_lost(texts: list[str], query: str) -> None:
    rows = pd.DataFrame({"qid": "1", "query": query, "docno": range(len(texts)), "text": texts})
    result = remote(plain())(rows)
    assert sorted(result["docno"]) == list(range(len(texts)))


def test_lone_surrogates_reach_the_server_replaced(app: AppAdapter) -> None:
    client = RerankClient(URL, session=session_into(app))
    assert len(client.rerank("a \udfff", ["\ud800", "é"])) == 2


@pytest.mark.parametrize("column", ["query", "text"])
def test_missing_texts_are_named_before_anybody_is_asked(column: str) -> None:
    script = plain()
    rows = frame()
    rows.loc[3, column] = None
    with pytest.raises(
        ValueError, match=f"'{column}' has no text in 1 of 15 rows, the first is row 3 .*'d3'.* with (None|nan)"
    ):
        remote(script)(rows)
    assert script.sent == []


def test_the_text_column_can_have_another_name() -> None:
    rows = frame().rename(columns={"text": "body"})
    assert len(remote(plain(), text_field="body")(rows)) == 15
    with pytest.raises(pt.validate.InputValidationError):
        remote(plain())(rows)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"url": "localhost:8080"}, "url='localhost:8080': give the server's address"),
        ({"budget": "fast"}, "budget='fast'"),
        ({"concurrency": 0}, "concurrency=0"),
        ({"exact": True}, "exact=True, budget=None: name the budget to keep, a share or FLOPs"),
        ({"exact": True, "budget": "50 ms"}, "exact=True, budget='50 ms': name the budget to keep"),
        ({"timeout": 0}, "timeout=0"),
        ({"retries": -1}, "retries=-1"),
    ],
)
def test_bad_arguments_are_named_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RemoteRanker(**{"url": URL, **arguments})


def test_equality_is_that_of_what_is_asked() -> None:
    ranker = RemoteRanker(f"{URL}/", budget="25%")
    assert ranker == RemoteRanker(URL, budget="25 %", concurrency=1, retries=0)
    assert hash(ranker) == hash(RemoteRanker(URL, budget="25%"))
    assert ranker != RemoteRanker(URL) != RemoteRanker("http://other")
    assert repr(ranker) == "RemoteRanker('http://server', budget='25%')"
    exact = RemoteRanker(URL, budget="25%", exact=True)
    assert exact != ranker != RemoteRanker(URL, budget="25%", trace=True)
    assert repr(exact) == "RemoteRanker('http://server', budget='25%', exact=True)"
    assert eval(repr(exact)) == exact


def test_it_works_in_pipelines_and_other_processes() -> None:
    rows = frame(2)
    first = pt.Transformer.from_df(rows)
    ranker = remote(plain())
    assert len((first >> ranker % 3)(rows[["qid", "query"]].drop_duplicates())) == 6
    assert "RemoteRanker" in pt.schematic.draw(ranker)
    assert pickle.loads(pickle.dumps(RemoteRanker(URL, budget="25%"))) == RemoteRanker(URL, budget="25%")


def test_over_a_real_connection() -> None:
    with served(create_app(FakeScorer(), make_schedule(slo=1e9))) as url:
        rows = frame(20, 10)
        many = RemoteRanker(url, concurrency=8)(rows)
        pd.testing.assert_frame_equal(many, RemoteRanker(url, concurrency=1)(rows))
        assert RerankClient(url).rerank("copy it", ["river", "copy"]) == [0.0, pytest.approx(0.999)]
