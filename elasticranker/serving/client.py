"""One server's `/rerank` over HTTP, with retries: ours, or text-embeddings-inference's."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import requests

from elasticranker.encodable import encodable

KEY = "ELASTICRANKER_API_KEY"
RETRIED = (429, 503)
LONGEST_WAIT = 60.0  # seconds


class Secret:
    """A text that isn't shown where objects are printed or drawn."""

    def __init__(self, value: str | Secret) -> None:
        self.value: str = value.value if isinstance(value, Secret) else value

    def __repr__(self) -> str:
        return "Secret('***')"


@dataclass(frozen=True)
class Reranked:
    """An answer.

    Attributes:
        scores: raw scores in the order of the texts.
        budget: that the server gave the request, a share such as `"25%"`; None from a server that knows no budgets.
        spend: FLOPs that it cost, likewise.
    """

    scores: list[float]
    budget: str | None = None
    spend: int | None = None


class RerankClient:
    """Asks one server; safe to use from several threads.

    Choose it over `RemoteRanker` where there are no frames.

    Example:
        >>> client = RerankClient("http://localhost:8080")
        >>> client.rerank("copy a folder", ["a river", "shutil.copytree"])  # doctest: +SKIP
        [-4.1, 7.3]

    Args:
        url: of the server, without `/rerank`.
        timeout: seconds to wait for a connection, and for an answer.
        retries: how often a request is sent again after 429, 503 or a lost connection, before it is given up.
        api_key: by default the environment's `ELASTICRANKER_API_KEY`, if it is set.
        session: that requests go through; by default one of its own.
        sleep: waits before a retry.

    Raises:
        ValueError: an argument that makes no sense.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 60.0,
        retries: int = 5,
        api_key: str | Secret | None = None,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"url={url!r}: give the server's address, such as 'http://localhost:8080'")
        if not timeout > 0:
            raise ValueError(f"timeout={timeout!r}: give seconds above 0")
        if retries < 0:
            raise ValueError(f"retries={retries!r}: give a whole number from 0")
        self.url = url.rstrip("/")
        self.timeout, self.retries, self.sleep = timeout, retries, sleep
        self.session = session or requests.Session()
        key = Secret(api_key or os.environ.get(KEY, "")).value
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def info(self) -> dict[str, Any]:
        """What the server says of itself at `/info`; nothing where it has no such page.

        Raises:
            ValueError: the server refuses us.
            ConnectionError: it doesn't answer.
        """
        answer = self._send("GET", "/info")
        if answer.status_code in (404, 405):
            return {}
        described = self._json(answer)
        return described if isinstance(described, dict) else {}

    def rerank(
        self,
        query: str,
        texts: Sequence[str],
        *,
        scores: Sequence[float] | None = None,
        budget: str | None = None,
        exact: bool = False,
    ) -> list[float]:
        """Raw scores of texts for a query, in the order of the texts: the `scores` of `ask`."""
        return self.ask(query, texts, scores=scores, budget=budget, exact=exact).scores

    def ask(
        self,
        query: str,
        texts: Sequence[str],
        *,
        scores: Sequence[float] | None = None,
        budget: str | None = None,
        exact: bool = False,
    ) -> Reranked:
        """Raw scores of texts for a query, and what they cost; too long texts are cut.

        Args:
            query: the query.
            texts: at least one, in incoming order.
            scores: their incoming scores; only servers of ours use them.
            budget: what it may cost at most (see `Budget`); only servers of ours know it.
            exact: spend just that budget; a server that would be too late with it answers that it is overloaded.

        Raises:
            ValueError: the server refuses the request, doesn't know budgets, or its answer is malformed.
            ConnectionError: it doesn't answer, or is overloaded after all retries.
        """
        body: dict[str, Any] = {
            "query": encodable(query),
            "texts": list(map(encodable, texts)),
            "raw_scores": True,
            "truncate": True,
        }
        if scores is not None:
            body["scores"] = list(scores)
        if budget is not None:
            body["budget"] = budget
        if exact:
            body["exact"] = True
        answer = self._send("POST", "/rerank", body)
        ranks = self._json(answer)
        if budget is not None and "X-Elastic-Budget" not in answer.headers:
            raise ValueError(f"budget={budget!r}: the server at {self.url} knows no budgets; leave it out")
        found = dict.fromkeys(range(len(texts)), math.nan)
        try:
            found.update((int(rank["index"]), float(rank["score"])) for rank in ranks)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(
                f"{self.url}/rerank answered in another form than text-embeddings-inference's: {str(ranks)[:200]}"
            ) from error
        if len(found) != len(texts) or any(map(math.isnan, found.values())):
            raise ValueError(f"the server at {self.url} did not answer with one score for each of {len(texts)} texts")
        spend = answer.headers.get("X-Elastic-Spend")
        return Reranked(
            list(found.values()), answer.headers.get("X-Elastic-Budget"), None if spend is None else int(spend)
        )

    def _send(self, method: str, path: str, body: Any = None) -> requests.Response:
        """The answer to a request, after as many retries as it takes and are allowed."""
        for attempt in range(self.retries + 1):
            trouble, wait = "", min(LONGEST_WAIT, 0.25 * 2**attempt)
            try:
                answer = self.session.request(
                    method, self.url + path, json=body, headers=self._headers, timeout=self.timeout
                )
            except requests.Timeout as error:
                raise ConnectionError(
                    f"no answer from {self.url}{path} within {self.timeout:g} s: raise timeout, or ask for less"
                ) from error
            except requests.ConnectionError as error:
                trouble = f"no connection ({error})"
            else:
                if answer.status_code not in RETRIED:
                    return answer
                trouble, wait = _reason(answer), min(LONGEST_WAIT, _retry_after(answer, wait))
            if attempt < self.retries:
                self.sleep(wait)
        raise ConnectionError(
            f"{self.url}{path}: {trouble}; given up after {self.retries} retries: see that the server is up, lower the "
            "concurrency, or raise retries"
        )

    def _json(self, answer: requests.Response) -> Any:
        if not answer.ok:
            raise ValueError(f"{answer.url}: {_reason(answer)}")
        try:
            return answer.json()
        except ValueError as error:
            raise ValueError(f"{answer.url}: not JSON: {answer.text[:200]!r}; is this a reranking server?") from error


def _reason(answer: requests.Response) -> str:
    """What an error says: the status, and the message in the body."""
    try:
        text = str(answer.json()["error"])
    except (ValueError, KeyError, TypeError):
        text = answer.text
    return f"status {answer.status_code}: {text[:500]}"


def _retry_after(answer: requests.Response, otherwise: float) -> float:
    """Seconds that the server asks us to wait."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else otherwise
