"""How threads wait for each other, beside other work: `python -m experiments.threads > threads.md`.

One process for each way of waiting keeps a model loaded and reranks a made-up query whenever it is told to, in turn
with the others, while `--busy` other processes keep a core busy each. Prints the median milliseconds of a query, how
many times those of the first of `--busy` they are ("slower"), and those of the first way ("of the first").
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import median

from elasticranker.cli import guarded
from elasticranker.commands.arguments import positive
from elasticranker.evaluation.manifest import machine, today
from elasticranker.evaluation.report import markdown
from elasticranker.progress import bar
from elasticranker.threads import SPINS

WAYS = {  # of waiting, and the environment that makes threads wait so
    "OpenMP's own": {"GOMP_SPINCOUNT": "300000"},
    f"ours ({SPINS:,} spins)": {},
    "30,000 spins": {"GOMP_SPINCOUNT": "30000"},
    "3,000 spins": {"GOMP_SPINCOUNT": "3000"},
    "1,000 spins": {"GOMP_SPINCOUNT": "1000"},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
GIVEN = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS")  # not inherited from whoever starts this
QUERIES, CANDIDATES = 5, 100
SETTLE = 0.1  # seconds before a query: others may spin for a while after theirs


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    parser = argparse.ArgumentParser(prog="python -m experiments.threads", description=__doc__)
    parser.add_argument("--model", default="default", help="checkpoint (default: %(default)s)")
    parser.add_argument("--budgets", nargs="+", default=["full", "25%"], metavar="B", help="(default: full 25%%)")
    parser.add_argument("--busy", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="(default: 0 1 2)")
    parser.add_argument(
        "--ways", nargs="+", choices=list(WAYS), default=list(WAYS), metavar="WAY", help="(default: all)"
    )
    parser.add_argument("--rounds", type=positive, default=3, metavar="N", help="of all queries (default: %(default)s)")
    parser.add_argument("--rerank", nargs="+", metavar="B", help=argparse.SUPPRESS)  # one of the processes
    args = parser.parse_args(argv)
    if args.rerank:
        return _rerank(args.model, args.rerank)
    return guarded("experiments.threads", lambda: print(report(measure(args))))


def measure(args: argparse.Namespace) -> dict[tuple[str, str, int], float]:
    """Median milliseconds of a query by way, budget and number of other busy processes."""
    found: dict[tuple[str, str, int], list[float]] = {}
    turns = [(n, query, b) for n in range(args.rounds) for query in range(QUERIES) for b in range(len(args.budgets))]
    with ExitStack() as running:
        rankers = {way: running.enter_context(_process(args, WAYS[way])) for way in args.ways}
        for busy in args.busy:
            with _busy(busy), bar(turns, name=f"{busy} busy", unit="turns") as places:
                for turn, (_, query, budget) in enumerate(places):
                    first = turn % len(rankers)
                    for way in [*args.ways[first:], *args.ways[:first]]:
                        time.sleep(SETTLE)
                        ms = _ask(rankers[way], f"{query} {budget}")
                        found.setdefault((way, args.budgets[budget], busy), []).append(ms)
    return {key: median(values) for key, values in found.items()}


def report(found: dict[tuple[str, str, int], float]) -> str:
    """The table, as Markdown."""
    ways, budgets = list(dict.fromkeys(way for way, _, _ in found)), list(dict.fromkeys(b for _, b, _ in found))
    levels = list(dict.fromkeys(busy for _, _, busy in found))
    rows = [["waiting", "budget", *(f"{n} busy, {what}" for n in levels for what in ("ms", "slower", "of the first"))]]
    for budget in budgets:
        for way in ways:
            row = [way, budget]
            for busy in levels:
                ms, idle, usual = found[way, budget, busy], found[way, budget, levels[0]], found[ways[0], budget, busy]
                row += [f"{ms:.0f}", f"{ms / idle:.2f}", f"{ms / usual:.2f}"]
            rows.append(row)
    here = machine()
    return f"{markdown(rows)}\n\n{here['processor']}, {here['cores']} cores; {today()[:10]}."


@contextmanager
def _process(args: argparse.Namespace, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A process with a ranker that is warm at every budget."""
    command = [sys.executable, "-m", "experiments.threads", "--model", args.model, "--rerank", *args.budgets]
    clean = {name: value for name, value in os.environ.items() if name not in GIVEN}
    with subprocess.Popen(
        command, env=clean | environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            _ask(process, "0 0")
            yield process
        finally:
            process.kill()


def _ask(process: subprocess.Popen[str], what: str) -> float:
    """Milliseconds of a query and budget, by their numbers."""
    if process.stdin is None or process.stdout is None or process.poll() is not None:
        raise ChildProcessError("a process that reranks has ended; its last words are above")
    process.stdin.write(f"{what}\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise ChildProcessError("a process that reranks has ended; its last words are above")
    return float(answer)


@contextmanager
def _busy(count: int) -> Iterator[None]:
    """Keep so many cores busy, as far as the system lets them."""
    spinning = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(1.0 if spinning else 0.0)
        yield
    finally:
        for process in spinning:
            process.kill()
            process.wait()


def _rerank(model: str, budgets: Sequence[str]) -> int:
    """One of the processes: a number of a query and one of a budget a line, milliseconds back."""
    import numpy as np
    import pandas as pd

    from elasticranker.ranker import ElasticRanker

    random = np.random.default_rng(0)
    words = ["a", "how", "copy", "the", "whole", "folder", "of", "files", "another", "place", "when", "is", "there"]
    frames = [
        pd.DataFrame(
            {
                "qid": "1",
                "query": " ".join(random.choice(words, 6)),
                "docno": [str(number) for number in range(CANDIDATES)],
                "text": [" ".join(random.choice(words, length)) for length in random.integers(30, 120, CANDIDATES)],
            }
        )
        for _ in range(QUERIES)
    ]
    ranker = ElasticRanker(model)
    rankers = [ranker.with_budget(budget).warm_up() for budget in budgets]
    for line in sys.stdin:
        query, budget = map(int, line.split())
        started = time.perf_counter()
        rankers[budget].transform(frames[query])
        print(1000 * (time.perf_counter() - started), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
