"""Errors as answers, all in the form of text-embeddings-inference: `{"error": ..., "error_type": ...}`."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from elasticranker.encodable import encodable
from elasticranker.serving.forms import FORMS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request
    from starlette.responses import Response

ERROR_TYPES = {413: "validation", 422: "validation", 401: "unauthorized", 429: "overloaded", 503: "unhealthy"}


def error_answer(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error in the form that text-embeddings-inference uses."""
    kind = ERROR_TYPES.get(status, "backend" if status >= 500 else "request")
    # A message may quote what the client sent.
    return JSONResponse({"error": encodable(message), "error_type": kind}, status, headers)


def answer_errors(app: FastAPI) -> None:
    """Have an app answer whatever goes wrong in that form."""
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _failed)


async def _invalid(_: Request, error: Exception) -> Response:
    """What is wrong with a body: where and why, without quoting it."""
    found = error.errors()[:3] if isinstance(error, RequestValidationError) else []
    wrong = [([str(part) for part in one["loc"] if part not in FORMS], one) for one in found]
    if any(place == ["body"] and one["type"] != "value_error" for place, one in wrong):
        return error_answer(422, "send a JSON object, with the header Content-Type: application/json")
    return error_answer(422, "; ".join(f"{'.'.join(place)}: {one['msg']}" for place, one in wrong))


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return error_answer(500, str(error))
    return error_answer(error.status_code, str(error.detail), error.headers)


async def _failed(_: Request, error: Exception) -> Response:
    return error_answer(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")
