"""The HTTP server: text-embeddings-inference's, Cohere's, Jina's and vLLM's reranking over one worker."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

from fastapi import Body, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from elasticranker.planning.budget import Budget
from elasticranker.serving.docs_page import docs_page
from elasticranker.serving.errors import answer_errors, error_answer
from elasticranker.serving.forms import (
    CohereAnswer,
    CohereRequest,
    EitherRequest,
    ErrorAnswer,
    Model,
    ModelList,
    Rank,
    RerankRequest,
    ranks,
    results,
)
from elasticranker.serving.guard import Guard, Limits
from elasticranker.serving.metrics import Metrics, Observed
from elasticranker.serving.schedule import ElasticSchedule, Overloaded
from elasticranker.serving.scoring import Prepared, Scorer
from elasticranker.serving.worker import Answer, Closed, ScoringFailed, Worker
from elasticranker.version import __version__

T = TypeVar("T")
GONE = 499  # the client left before its answer; nobody sees this status but the metrics
LEAST_SHARE = 1e-9  # of what a client may ask for: pays for nothing
BUDGET_HEADER, SPEND_HEADER = "X-Elastic-Budget", "X-Elastic-Spend"
_SPENT = {
    BUDGET_HEADER: {"description": "The budget that the request was given.", "schema": {"type": "string"}},
    SPEND_HEADER: {"description": "FLOPs that it cost.", "schema": {"type": "integer"}},
}
_RETRY = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The body cannot be read."},
    401: {"model": ErrorAnswer, "description": "The API key is missing or wrong."},
    413: {"model": ErrorAnswer, "description": "Too much: the body, the number of texts, or a text's length."},
    422: {"model": ErrorAnswer, "description": "Not of the form described here."},
    429: {
        "model": ErrorAnswer,
        "description": "Overloaded: even the cheapest budget, or an exact one, would be late.",
        "headers": _RETRY,
    },
    500: {"model": ErrorAnswer, "description": "The model failed at this request."},
    503: {"model": ErrorAnswer, "description": "The server is shutting down.", "headers": _RETRY},
}


def create_app(
    scorer: Scorer,
    schedule: ElasticSchedule,
    *,
    group_seconds: float | None = None,
    limits: Limits | None = None,
    api_key: str | None = None,
) -> FastAPI:
    """The ASGI app; its lifespan starts the model thread and, at the end, finishes what was accepted.

    Example:
        >>> scorer = RankerScorer(ElasticRanker())  # doctest: +SKIP
        >>> app = create_app(scorer, ElasticSchedule(scorer.shares, scorer.profile, slo=0.2))  # doctest: +SKIP
        >>> uvicorn.run(app)  # doctest: +SKIP

    Args:
        scorer: the model.
        schedule: gives each request its budget.
        group_seconds: see `Worker`.
        limits: of a request.
        api_key: that requests must carry; None: anyone may ask.

    Returns:
        The app. `app.state.worker` is its `Worker` while it runs; set `app.state.worker.closing` to have new requests
        refused with 503.
    """
    limits = limits or Limits()
    app = FastAPI(
        title="ElasticRanker",
        version=__version__,
        description="Reranks texts for a query. What a request may cost follows the load.",
        lifespan=_lifespan,
        docs_url=None,  # FastAPI's own pages load their scripts from a network
        redoc_url=None,
        # For the documents alone: `Guard` checks the key, before a body is read.
        dependencies=[] if api_key is None else [Depends(HTTPBearer(auto_error=False))],
    )
    app.state.worker = Worker(scorer, schedule, group_seconds=group_seconds)
    metrics = Metrics(schedule)
    _add_reranking(app, scorer, limits, metrics)
    _add_information(app, scorer, schedule, limits, metrics)
    app.add_middleware(Guard, max_body=limits.body, api_key=api_key, closing=lambda: app.state.worker.closing)
    app.add_middleware(Observed, metrics=metrics)
    answer_errors(app)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with app.state.worker:
        yield


def _add_reranking(app: FastAPI, scorer: Scorer, limits: Limits, metrics: Metrics) -> None:
    model = scorer.describe()["model_id"]

    async def rank(http: Request, request: RerankRequest | CohereRequest, cut: bool) -> tuple[Prepared, Answer] | None:
        """Rank a request's texts; None where its client left meanwhile."""
        arrived = scorer.clock()
        texts = request.candidates
        _check_size(request.query, texts, limits)
        worker: Worker = app.state.worker

        async def work() -> tuple[Prepared, Answer]:
            prepared = await worker.prepare(request.query, texts)
            if prepared.cut and not cut:
                raise HTTPException(
                    413, f"{prepared.cut} texts are too long for the model: shorten them, or send truncate=true"
                )
            ceiling, deadline, exact = 1.0, None, bool(request.exact)
            if request.budget is not None:
                ceiling, deadline = _wanted(Budget(request.budget), prepared.cost, scorer, arrived)
            if exact:
                _check_static(ceiling, worker.schedule)
            answer = await worker.rank(prepared, scores=request.scores, ceiling=ceiling, exact=exact, deadline=deadline)
            metrics.answered(prepared, answer)
            return prepared, answer

        try:
            outcome = await _unless_gone(http, work())
        except Overloaded as error:
            metrics.rejects.inc()
            raise HTTPException(429, str(error), {"Retry-After": str(max(1, math.ceil(error.retry_after)))}) from error
        except ScoringFailed as error:
            raise HTTPException(500, str(error)) from error
        except Closed as error:
            raise HTTPException(503, str(error), {"Retry-After": "1"}) from error
        if outcome is None:
            metrics.gone.inc()
        return outcome

    async def rerank_texts(http: Request, request: RerankRequest) -> Response:
        outcome = await rank(http, request, cut=request.truncate is not False)
        if outcome is None:
            return Response(status_code=GONE)
        _, answer = outcome
        return JSONResponse(ranks(request, answer.scored), headers=_spent(answer))

    async def rerank_documents(http: Request, request: CohereRequest, documents: bool) -> Response:
        outcome = await rank(http, request, cut=True)
        if outcome is None:
            return Response(status_code=GONE)
        prepared, answer = outcome
        body = {
            "id": str(uuid.uuid4()),
            "model": request.model or model,
            "results": results(request, answer.scored, documents=documents),
            "usage": {"total_tokens": prepared.tokens},
            "meta": {
                "api_version": {"version": "1"},
                "billed_units": {"search_units": 1},
                "tokens": {"input_tokens": prepared.tokens, "output_tokens": 0},
            },
        }
        return JSONResponse(body, headers=_spent(answer))

    async def rerank(http: Request, request: Annotated[EitherRequest, Body()]) -> Response:
        """Rank texts for a query, best first: text-embeddings-inference's form, or Cohere's as vLLM answers it."""
        if isinstance(request, CohereRequest):
            return await rerank_documents(http, request, documents=request.return_documents is not False)
        return await rerank_texts(http, request)

    async def rerank_cohere(http: Request, request: CohereRequest) -> Response:
        """Rank documents for a query, best first: the form of Cohere and Jina."""
        return await rerank_documents(http, request, documents=bool(request.return_documents))

    done: dict[int | str, dict[str, Any]] = {200: {"headers": _SPENT}, **_ERRORS}
    app.post("/rerank", response_model=list[Rank] | CohereAnswer, responses=done)(rerank)
    app.post("/v1/rerank", response_model=CohereAnswer, responses=done)(rerank_cohere)
    app.post("/v2/rerank", response_model=CohereAnswer, responses=done)(rerank_cohere)


def _add_information(app: FastAPI, scorer: Scorer, schedule: ElasticSchedule, limits: Limits, metrics: Metrics) -> None:
    open_errors: dict[int | str, dict[str, Any]] = {503: _ERRORS[503]}
    errors = {401: _ERRORS[401], **open_errors}
    models = ModelList(data=[Model(id=scorer.describe()["model_id"], created=int(time.time()))])

    @app.get("/health", response_model=dict[str, str], responses=open_errors)
    async def health() -> Response:
        """200 while requests are taken. Needs no key."""
        if app.state.worker.closing:
            return error_answer(503, "the server is shutting down", {"Retry-After": "1"})
        return JSONResponse({"status": "ok"})

    @app.get("/info", responses=errors)
    async def info() -> dict[str, Any]:
        """The model, its ladder of budgets, the latency objective and the limits."""
        described = scorer.describe()
        return {
            **{name: value for name, value in described.items() if name != "rungs"},
            "model_type": {"reranker": {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}},
            "max_client_batch_size": limits.texts,
            "auto_truncate": True,
            "version": __version__,
            "elastic": {
                "slo_seconds": schedule.slo,
                "static": schedule.static,
                "exact": True,  # budgets can be asked for exactly
                "shares": list(schedule.shares),
                "rungs": described.get("rungs", []),
                "max_body": limits.body,
                "max_text_length": limits.text_length,
            },
        }

    @app.get("/v1/models", responses=errors)
    async def list_models() -> ModelList:
        """The model, as clients of OpenAI's API ask for it."""
        return models

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> str:
        return docs_page(app.openapi())

    @app.get("/metrics", response_class=PlainTextResponse, responses=errors)
    async def show_metrics() -> Response:
        """Counters and gauges for Prometheus."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)


def _check_size(query: str, texts: Any, limits: Limits) -> None:
    if len(texts) > limits.texts:
        raise HTTPException(413, f"{len(texts)} texts: this server takes at most {limits.texts} in a request")
    longest = max(len(query), *map(len, texts))
    if longest > limits.text_length:
        raise HTTPException(
            413, f"a text of {longest} characters: this server takes at most {limits.text_length} characters a text"
        )


def _wanted(budget: Budget, cost: int, scorer: Scorer, arrived: float) -> tuple[float, float | None]:
    """The largest share that a client wants spent, and the scorer's time when its ranking has to be done."""
    if budget.kind == "share":
        return budget.value, None
    flops = budget.value if budget.kind == "flops" else scorer.flops_in(budget.value)
    share = math.nextafter(flops / cost, math.inf)  # so that just so many FLOPs come back when multiplied by the cost
    share = min(1.0, max(share, LEAST_SHARE))
    return share, None if budget.kind == "flops" else arrived + budget.value


def _check_static(share: float, schedule: ElasticSchedule) -> None:
    if schedule.static is not None and share > schedule.static:
        raise HTTPException(
            422,
            f"exact: this server gives every request {_percent(schedule.static)} of its full cost, and this one asks "
            f"for {_percent(share)}: ask for less, or start the server without --static",
        )


async def _unless_gone(http: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """The outcome of `work`; where the client disconnects first, `work` is cancelled and None is the outcome."""
    task = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_disconnected(http))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        leaving.cancel()
        task.cancel()
        await asyncio.wait({task, leaving})


async def _disconnected(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _spent(answer: Answer) -> dict[str, str]:
    return {BUDGET_HEADER: _percent(answer.ticket.share), SPEND_HEADER: str(answer.scored.spend)}


def _percent(share: float) -> str:
    return f"{100 * share:.4g}%"
