"""`RemoteRanker`, the PyTerrier transformer whose model runs in a server."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
import pyterrier as pt

from elasticranker.frames import Lists, floats, in_incoming_order
from elasticranker.planning.budget import Budget
from elasticranker.serving.client import RerankClient, Reranked, Secret

if TYPE_CHECKING:
    import requests

    from elasticranker.planning.plan import Floats


class _Request(NamedTuple):
    """One query with some of its texts, the rows that they stand in, and their incoming scores."""

    rows: list[int]
    query: str
    texts: list[str]
    scores: Floats | None


class RemoteRanker(pt.Transformer):
    """Reranks candidates with a server, whose load decides what a query costs, up to `budget`, unless it is `exact`.

    The server is `elasticranker serve`, or text-embeddings-inference's own. Choose it over `ElasticRanker` where
    several processes or machines share one model, or where the load should set the budget. A query is one request to a
    server of ours, with the incoming scores (rows of one qid that differ in `query` are one request for each of its
    texts); other servers get a query's texts in as many requests as their `/info` asks for. When the server is
    overloaded (429, 503) requests are sent again after the time that it names.

    Input columns: `qid`, `query`, `docno`, the text field, and `score` and `rank` where there are. Output: the same
    rows and columns, `score` (the server's raw scores) without ties, `rank` from 0.

    Example:
        >>> bm25 >> dataset.text_loader() >> RemoteRanker("http://localhost:8080")  # doctest: +SKIP

    Args:
        url: of the server.
        text_field: column with the documents' texts.
        budget: what a query may cost at most, see `Budget`; None leaves it to the server. Only servers of ours know it.
        exact: spend just that budget, a share or FLOPs, as `ElasticRanker` would, so that runs can be repeated. A busy
            server that would be too late with it refuses; the query is then sent again, as when it is overloaded.
        concurrency: requests in flight; by default 4, and with `exact` 1, so that queries don't refuse each other.
        timeout: seconds to wait for an answer.
        retries: how often a request is sent again before it is given up.
        api_key: by default the environment's `ELASTICRANKER_API_KEY`, if it is set.
        verbose: show a progress bar over requests.
        trace: add columns `served_budget` (that the server gave the query, such as `"25%"`) and `served_spend` (FLOPs
            that the whole query cost, the same in each of its rows). Only servers of ours tell.
        session: `requests.Session` that requests go through; by default one of its own.
        sleep: waits before a retry.

    Raises:
        ValueError: an argument that makes no sense; in `transform`, what the server refuses.
        ConnectionError: in `transform`, the server doesn't answer, or is overloaded after all retries.
    """

    schematic: ClassVar = {"label": "RemoteRanker", "help_url": None}

    def __init__(
        self,
        url: str,
        *,
        text_field: str = "text",
        budget: str | Budget | None = None,
        exact: bool = False,
        concurrency: int | None = None,
        timeout: float = 60.0,
        retries: int = 5,
        api_key: str | Secret | None = None,
        verbose: bool = False,
        trace: bool = False,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if concurrency is not None and concurrency < 1:
            raise ValueError(f"concurrency={concurrency!r}: give a whole number above 0")
        self.client = RerankClient(url, timeout=timeout, retries=retries, api_key=api_key, session=session, sleep=sleep)
        self.url = self.client.url
        self.text_field = text_field
        self.budget = None if budget is None else Budget(budget)
        if exact and (self.budget is None or self.budget.kind == "time"):
            raise ValueError(
                f"exact=True, budget={budget!r}: name the budget to keep, a share or FLOPs, such as budget='25%'"
            )
        self.exact = exact
        self.concurrency = concurrency
        self.timeout = timeout
        self.retries = retries
        self._api_key = None if api_key is None else Secret(api_key)
        self.verbose = verbose
        self.trace = trace
        self._session = session
        self._sleep = sleep

    @cached_property
    def info(self) -> dict[str, Any]:
        """What the server says of itself; asked for once."""
        return self.client.info()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        """Rerank the candidates of every query.

        Args:
            inp: a result frame with query and text.

        Returns:
            The same rows, reranked.

        Raises:
            ValueError: a column is there twice, or a qid, docno, query or text is missing (column and row are named).
        """
        pt.validate.columns(inp, includes=["qid", "query", "docno", self.text_field], context=self)
        lists = in_incoming_order(inp, texts=("query", self.text_field))
        if not len(inp):
            traced = {"served_budget": "object", "served_spend": "int64"} if self.trace else {}
            columns = {"score": "float64", "rank": "int64", **traced}
            return inp.assign(**{name: pd.Series(dtype=dtype) for name, dtype in columns.items()})
        if self.exact and not self.info.get("elastic", {}).get("exact"):
            raise ValueError(
                f"exact=True: the server at {self.url} keeps no budget exactly: it needs ElasticRanker 0.2"
            )
        requests = list(self._requests(lists))
        scores, budgets, spends = np.full(len(inp), np.nan), np.empty(len(inp), object), np.zeros(len(inp), np.int64)
        concurrency = self.concurrency or (1 if self.exact else 4)
        errors: list[Exception] = []

        def ask(request: _Request) -> Reranked | None:
            """Its scores; nothing once another request has failed, so that nobody is asked for what is thrown away."""
            if errors:
                return None
            try:
                return self._ask(request)
            except Exception as error:
                errors.append(error)
                raise

        with (
            ThreadPoolExecutor(min(concurrency, len(requests))) as threads,
            pt.tqdm(total=len(requests), desc="RemoteRanker", unit="request", disable=not self.verbose) as bar,
        ):
            try:
                for request, found in zip(requests, threads.map(ask, requests), strict=True):
                    if found is None:
                        raise errors[0]
                    scores[request.rows] = found.scores
                    if self.trace:
                        budgets[request.rows], spends[request.rows] = found.budget, found.spend or 0
                    bar.update()
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise
        if self.trace:
            traced_frame = lists.frame.assign(served_budget=budgets, served_spend=spends)
            lists = replace(lists, frame=traced_frame)
        return lists.by_score(scores).untied()

    def _requests(self, lists: Lists) -> Iterator[_Request]:
        """What is asked for a ranked frame: each row with its own query, though most queries have only one text."""
        frame, ours = lists.frame, "elastic" in self.info
        most = len(frame) if ours else int(self.info.get("max_client_batch_size") or len(frame))
        queries, texts = frame["query"].tolist(), frame[self.text_field].tolist()
        incoming = floats(frame, "score") if ours and "score" in frame else None
        for rows in lists:
            by_query: dict[str, list[int]] = {}
            for row in range(rows.start, rows.stop):
                by_query.setdefault(queries[row], []).append(row)
            for query, own in by_query.items():
                for start in range(0, len(own), most):
                    some = own[start : start + most]
                    scores = None if incoming is None or not np.isfinite(incoming[some]).all() else incoming[some]
                    yield _Request(some, query, [texts[row] for row in some], scores)

    def _ask(self, request: _Request) -> Reranked:
        found = self.client.ask(
            request.query,
            request.texts,
            scores=None if request.scores is None else request.scores.tolist(),
            budget=None if self.budget is None else str(self.budget),
            exact=self.exact,
        )
        if self.trace and (found.budget is None or found.spend is None):
            raise ValueError(f"trace=True: the server at {self.url} does not say what a query cost; leave it out")
        return found

    def _key(self) -> tuple[Any, ...]:
        return (self.url, self.text_field, self.budget, self.exact, self.trace)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, RemoteRanker) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        budget = "" if self.budget is None else f", budget={str(self.budget)!r}"
        return f"RemoteRanker({self.url!r}{budget}{', exact=True' if self.exact else ''})"
