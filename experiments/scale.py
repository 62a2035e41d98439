"""What reranking at the scale of MS MARCO v2 costs: the tables of experiments/SCALE.md.

    python -m experiments.scale --page experiments/SCALE.md

FLOPs come from the cost model, machine-hours from a speed profile that is measured here and now (with the threads that
torch has), GPU-hours from a published peak rate and an assumed utilisation, bytes from a made-up run. Half a minute.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.scale_report import Machine, Measured, Workload, tables

if TYPE_CHECKING:
    from elasticranker.ranker import ElasticRanker

START, END = "<!-- measured -->", "<!-- end of measured -->"


def measure(ranker: ElasticRanker, *, tokens: int, sample: int = 100) -> Measured:
    """Measure what the tables need: some ten seconds on two cores.

    Args:
        ranker: what reranks.
        tokens: of a document, on average.
        sample: candidates of the query that is timed.
    """
    from elasticranker.model.speed import measure_speed

    line, packed, reading = _bytes_of_a_run()
    profile = measure_speed(ranker.engine, ranker.checkpoint.plans(), candidates=sample, tokens=tokens, runs=2)
    return Measured(profile, sample, *_tokenising(ranker), line, packed, reading)


def _tokenising(ranker: ElasticRanker) -> tuple[float, float]:
    """Tokens a second, and bytes a token, of docstrings: the English that every Python has."""
    import logging
    import os
    import shutil
    import subprocess
    import threading

    modules = (argparse, logging, os, shutil, subprocess, threading, time)
    texts = [doc for module in modules for item in vars(module).values() if callable(item) and (doc := getdoc(item))]
    encoder = ranker.engine.pairs
    encoder.tokens(texts[:20])
    started = time.perf_counter()
    tokens = sum(map(len, encoder.tokens(texts)))
    return tokens / (time.perf_counter() - started), sum(len(text.encode()) for text in texts) / tokens


def _bytes_of_a_run(queries: int = 5, depth: int = 1_000) -> tuple[float, float, float]:
    """Bytes a line of a run with MS MARCO v2's names: plain, gzip, and the most memory while it is read."""
    import numpy as np
    import pandas as pd

    from elasticranker.runs import format_run, read_run
    from elasticranker.textfiles import compressed

    random, rows = np.random.default_rng(0), queries * depth
    frame = pd.DataFrame(
        {
            "qid": np.repeat([f"{2_000_000 + query}" for query in range(queries)], depth),
            "docno": [f"msmarco_passage_{n % 70:02}_{n}" for n in random.integers(0, 10**9, rows)],
            "score": random.normal(size=rows).astype(np.float32).astype(float),
        }
    )
    lines = "".join(format_run(frame, "ElasticRanker-25%")).encode()
    packed = io.BytesIO()
    with compressed(packed, "run.trec.gz") as file:
        file.write(lines)
    with tempfile.NamedTemporaryFile(suffix=".trec") as place:
        place.write(lines)
        place.flush()
        tracemalloc.start()
        read_run(place.name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return len(lines) / rows, len(packed.getvalue()) / rows, peak / rows


def fill(page: Path, measured: str) -> None:
    """Put the tables into a page, between the marks.

    Raises:
        ValueError: the page has no marks.
    """
    text = page.read_text(encoding="utf-8")
    head, start, rest = text.partition(START)
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise ValueError(f"--page {page}: it has no lines {START} and {END}, between which the tables go")
    page.write_text(f"{head}{START}\n\n{measured}\n\n{END}{tail}", encoding="utf-8")


def _machine(text: str) -> tuple[str, float]:
    """The argument "H100=989" as a name and FLOP/s, for argparse."""
    name, _, rate = text.partition("=")
    try:
        peak = float(rate) * 1e12
    except ValueError:
        peak = 0.0
    if not name or not 0 < peak < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: give NAME=TFLOPS, such as H100=989")
    return name, peak


def _percent(text: str) -> float:
    """A share in percent, for argparse."""
    try:
        share = float(text.removesuffix("%")) / 100
    except ValueError:
        share = 0.0
    if not 0 < share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage above 0 and up to 100")
    return share


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    from elasticranker.cli import guarded
    from elasticranker.commands.arguments import add_model_arguments, positive

    parser = argparse.ArgumentParser(
        prog="python -m experiments.scale", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=positive, nargs="+", default=[10**5, 10**6, 10**7], metavar="N")
    parser.add_argument("--candidates", type=positive, default=1000, help="of a query (default: %(default)s)")
    parser.add_argument("--tokens", type=positive, default=96, help="of a document, on average (default: %(default)s)")
    parser.add_argument("--sample", type=positive, default=100, help="candidates that are timed (default: %(default)s)")
    parser.add_argument(
        "--machine",
        type=_machine,
        nargs="+",
        default=[("H100", 989e12)],
        metavar="NAME=TFLOPS",
        help="published peak rates, dense bfloat16 (default: H100=989, the SXM form by its data sheet)",
    )
    parser.add_argument(
        "--utilisation",
        type=_percent,
        nargs="+",
        default=[0.2, 0.4],
        metavar="%",
        help="of the peak, assumed (default: 20 40)",
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables into this page as well")
    add_model_arguments(parser)
    args = parser.parse_args(argv)
    return guarded("experiments.scale", lambda: _run(args))


def _run(args: argparse.Namespace) -> None:
    from elasticranker.commands.arguments import make_ranker

    work = Workload(tuple(args.queries), args.candidates, args.tokens)
    machines = [Machine(name, peak, tuple(sorted(args.utilisation))) for name, peak in args.machine]
    ranker = make_ranker(args)
    printed = tables(ranker, measure(ranker, tokens=args.tokens, sample=args.sample), work, machines)
    print(printed)
    if args.page:
        fill(args.page, printed)


if __name__ == "__main__":
    sys.exit(main())
