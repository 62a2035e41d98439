"""Serve reranking over HTTP, with budgets that follow the load.

POST /rerank takes text-embeddings-inference's form and vLLM's, POST /v1/rerank and /v2/rerank Cohere's and Jina's; GET
/docs describes them, and /health, /info, /v1/models and /metrics say how things stand. An idle server spends the whole
model on a request; the longer its queue, the less each request gets, so that answers come within the objective (--slo).
When even the cheapest budget would be much too late, or the one that a request wants exactly, it gets 429. SIGTERM and
Ctrl-C finish what was accepted. With ELASTICRANKER_API_KEY in the environment, requests must carry that key.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from elasticranker.commands.arguments import add_first_stage_argument, add_model_arguments, make_ranker, positive
from elasticranker.extras import missing
from elasticranker.planning.budget import Budget

if TYPE_CHECKING:
    from fastapi import FastAPI

KEY = "ELASTICRANKER_API_KEY"
EXAMPLES = """examples:
  elasticranker serve --port 8080 --slo "200 ms"
  curl localhost:8080/rerank -H 'Content-Type: application/json' \\
      -d '{"query": "copy a folder", "texts": ["shutil.copytree", "a river"], "budget": "25%"}'
  curl localhost:8080/v1/rerank -H 'Content-Type: application/json' \\
      -d '{"query": "copy a folder", "documents": ["shutil.copytree", "a river"], "top_n": 1}'
  curl localhost:8080/rerank -H 'Content-Type: application/json' \\
      -d '{"query": "copy a folder", "texts": ["shutil.copytree", "a river"], "budget": "25%", "exact": true}'
  ELASTICRANKER_API_KEY=secret elasticranker serve --host 0.0.0.0
  curl -H 'Authorization: Bearer secret' localhost:8080/metrics"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=port, default=8080, help="port; 0: any free one (default: %(default)s)")
    group = parser.add_argument_group("schedule")
    group.add_argument(
        "--slo",
        type=seconds,
        default=0.2,
        metavar="TIME",
        help='latency objective, such as "200 ms" or "1 s" (default: 200 ms)',
    )
    group.add_argument(
        "--max-wait",
        type=seconds,
        metavar="TIME",
        help="refuse a request when the cheapest budget would miss the objective by more (default: the objective; with "
        "--static: never)",
    )
    group.add_argument(
        "--static", type=share, metavar="SHARE", help='one budget for every request, such as "25%%", whatever the load'
    )
    group = parser.add_argument_group("limits of a request")
    group.add_argument("--max-body", type=positive, default=8, metavar="MB", help="of its body (default: %(default)s)")
    group.add_argument("--max-texts", type=positive, default=1000, metavar="N", help="texts (default: %(default)s)")
    group.add_argument(
        "--max-text-length", type=positive, default=100_000, metavar="CHARS", help="of a text (default: %(default)s)"
    )
    group = parser.add_argument_group("process")
    group.add_argument(
        "--max-connections", type=positive, default=1000, metavar="N", help="answer 503 beyond (default: %(default)s)"
    )
    group.add_argument(
        "--grace", type=positive, default=60, metavar="S", help="most seconds to finish in (default: %(default)s)"
    )
    group.add_argument(
        "--log-level",
        choices=["debug", "info", "warning", "error"],
        default="warning",
        help="debug logs every request (default: %(default)s)",
    )
    add_first_stage_argument(parser)
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    _check_extra()
    with _bind(args.host, args.port) as listener:
        from elasticranker.serving.app import create_app
        from elasticranker.serving.guard import Limits
        from elasticranker.serving.schedule import ElasticSchedule
        from elasticranker.serving.scoring import RankerScorer

        limits = Limits(body=args.max_body * 1_000_000, texts=args.max_texts, text_length=args.max_text_length)
        # A thread that waits for the interpreter gets it after 5 ms otherwise, at every operation of the model.
        sys.setswitchinterval(5e-4)
        ranker = make_ranker(args)
        print(f"loading {ranker.model} and measuring its speed", file=sys.stderr, flush=True)
        scorer = RankerScorer(ranker)
        schedule = ElasticSchedule(
            scorer.shares, scorer.profile, slo=args.slo, max_wait=args.max_wait, static=args.static
        )
        app = create_app(scorer, schedule, limits=limits, api_key=os.environ.get(KEY) or None)
        _serve(app, listener, args)


def _serve(app: FastAPI, listener: socket.socket, args: argparse.Namespace) -> None:
    import uvicorn

    class Server(uvicorn.Server):
        """Says when it is ready, and ends with status 0 after a signal."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets=sockets)
            host, number = listener.getsockname()[:2]
            print(f"serving on http://{f'[{host}]' if ':' in host else host}:{number}", file=sys.stderr, flush=True)

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.worker.closing = True
            self.force_exit = self.should_exit and sig == signal.SIGINT
            self.should_exit = True

    debug = args.log_level == "debug"
    settings: dict[str, Any] = {"log_level": args.log_level, "access_log": debug, "lifespan": "on"}
    config = uvicorn.Config(
        app, limit_concurrency=args.max_connections, timeout_graceful_shutdown=args.grace, **settings
    )
    Server(config).run(sockets=[listener])
    worker = app.state.worker
    left = f"; the clients of {worker.left} left before" if worker.left else ""
    print(f"answered {worker.answered} of {worker.admitted} accepted requests{left}", file=sys.stderr)


def _bind(host: str, number: int) -> socket.socket:
    """A socket at that address: before the model is loaded, so that a port in use is found out at once."""
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, number))
    except OSError as error:
        listener.close()
        raise ValueError(
            f"cannot listen on {host}:{number} ({error.strerror}): choose others with --host and --port"
        ) from error
    return listener


def _check_extra() -> None:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise missing("serving", "serve", error) from error


def port(text: str) -> int:
    """A port number, for argparse."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number from 0 to 65535")
    return int(text)


def seconds(text: str) -> float:
    """A time such as "200 ms" in seconds, for argparse."""
    if text.strip() == "0":
        return 0.0
    return _budget(text, "time", 'give a time, such as "200 ms"')


def share(text: str) -> float:
    """A share such as "25%", for argparse."""
    return _budget(text, "share", 'give a share of the full cost, such as "25%"')


def _budget(text: str, kind: str, remedy: str) -> float:
    try:
        budget = Budget(text)
    except ValueError:
        budget = None
    if budget is None or budget.kind != kind:
        raise argparse.ArgumentTypeError(f"{text!r}: {remedy}")
    return budget.value
