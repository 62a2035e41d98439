"""What a request must pass before it is read: the API key, the size of its body, and that the server isn't stopping."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import HTTPException
from starlette.datastructures import Headers

from elasticranker.serving.errors import error_answer

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True)
class Limits:
    """The largest request that is taken; larger ones are answered with 413 and what the limit is.

    Attributes:
        body: bytes of a request's body.
        texts: of a request.
        text_length: characters of a text, and of the query.
    """

    body: int = 8_000_000
    texts: int = 1_000
    text_length: int = 100_000

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"{name}={value!r}: give a whole number above 0")


class Guard:
    """ASGI middleware that refuses what must not reach the app. `GET /health` passes whatever the key.

    Args:
        app: what it guards.
        max_body: bytes.
        api_key: that requests must carry as `Authorization: Bearer <key>`; None: anyone may ask.
        closing: says whether the server is stopping.
    """

    def __init__(self, app: ASGIApp, *, max_body: int, api_key: str | None, closing: Callable[[], bool]) -> None:
        self.app, self.max_body, self.closing = app, max_body, closing
        self._key = None if api_key is None else f"Bearer {api_key}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with an error."""
        if scope["type"] != "http" or scope["path"] == "/health":
            return await self.app(scope, receive, send)
        refusal = self._refusal(Headers(scope=scope))
        if refusal is not None:
            return await refusal(scope, receive, send)
        received = 0

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.max_body:
                raise HTTPException(413, self._too_large)
            return message

        await self.app(scope, counting, send)

    def _refusal(self, headers: Headers) -> Response | None:
        if self._key is not None and not hmac.compare_digest(
            headers.get("authorization", "").encode("latin-1"), self._key
        ):
            return error_answer(
                401, "send the API key as 'Authorization: Bearer <key>'", {"WWW-Authenticate": "Bearer"}
            )
        if self.closing():
            return error_answer(503, "the server is shutting down", {"Retry-After": "1", "Connection": "close"})
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length) > self.max_body:
            return error_answer(413, self._too_large, {"Connection": "close"})
        return None

    @property
    def _too_large(self) -> str:
        return f"the body is larger than this server takes: send at most {self.max_body} bytes"
