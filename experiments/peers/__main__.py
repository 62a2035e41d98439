"""Compare side by side with other runtimes and other methods, on the same pairs and weights.

Runtimes: ours at several budgets, sentence-transformers, ONNX Runtime, OpenVINO and FlashRank on the same exported
weights, interleaved in one process: pairs a second, milliseconds a query, peak memory, nDCG@10 and RR@10. Methods:
fixed top-k, SEE, a fixed depth and our plans on the same checkpoint. Sizes: other lengths and numbers of candidates.
What isn't installed is skipped by name. A killed comparison goes on where it was with the same command; parts may be
added to the same --output one after the other.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from elasticranker.cli import guarded
from elasticranker.commands.arguments import (
    add_candidate_arguments,
    add_model_arguments,
    add_result_arguments,
    make_ranker,
    positive,
    read_candidates,
)
from elasticranker.commands.resuming import MEASURED
from experiments.peers.shapes import SHAPES, write_shape

EXAMPLES = """examples:
  python -m experiments.peers python-docs --queries 8 --output bench
  python -m experiments.peers ./dl19 --candidates bm25.trec --queries 10 --threads 2 --output bench
  python -m experiments.peers ./dl19 --candidates bm25.trec --parts methods --output methods
  python -m experiments.peers ./dl19 --candidates bm25.trec --parts sizes --max-length 512 --output sizes
  python -m experiments.peers ./dl19 --candidates bm25.trec --parts runtimes --shape ettin-32m --output ettin"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_candidate_arguments(parser)
    parser.add_argument(
        "--parts",
        nargs="+",
        choices=["runtimes", "methods", "sizes"],
        default=["runtimes", "methods"],
        help="what to compare (default: runtimes methods)",
    )
    parser.add_argument(
        "--budgets",
        nargs="+",
        default=["50%", "25%", "10%", "5%"],
        metavar="B",
        help="ours among the runtimes, beside full (default: 50%% 25%% 10%% 5%%)",
    )
    parser.add_argument("--rounds", type=positive, default=3, help="timed rounds (default: %(default)s)")
    parser.add_argument(
        "--bench-queries",
        type=positive,
        default=3,
        metavar="N",
        help="queries that are reranked together in a round (default: %(default)s)",
    )
    parser.add_argument(
        "--without",
        nargs="+",
        default=[],
        choices=["sentence-transformers", "onnxruntime", "openvino", "flashrank"],
        metavar="LIBRARY",
        help="leave out sentence-transformers, onnxruntime, openvino or flashrank",
    )
    parser.add_argument(
        "--shape",
        choices=SHAPES,
        help="compare on a random model of this shape instead of --model: its speed is real, its ranking is not",
    )
    add_result_arguments(parser)
    add_model_arguments(parser)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m experiments.peers", description=__doc__, epilog=EXAMPLES, formatter_class=layout
    )
    add_arguments(parser)
    args = parser.parse_args(argv)
    return guarded("experiments.peers", lambda: run(args), resume=MEASURED)


def run(args: argparse.Namespace) -> None:
    """Compare as the arguments say."""

    from elasticranker.files import writable_folder
    from experiments.peers.bench import Settings, run_bench

    settings = Settings(
        parts=args.parts,
        budgets=args.budgets,
        rounds=args.rounds,
        bench_queries=args.bench_queries,
        without=args.without,
        rel=args.rel,
        note=args.note,
    )
    writable_folder(args.output)
    if args.shape is not None:
        args.model = str(write_shape(args.shape, Path(args.output) / args.shape))
    ranker = make_ranker(args)
    collection, candidates = read_candidates(args, ranker)
    arguments = dict(vars(args))
    report = run_bench(collection, ranker, candidates, output=args.output, settings=settings, arguments=arguments)
    print(report.text())
    print(f"\nreport  {args.output}/report.md (and tables, figures, manifest.json)")


if __name__ == "__main__":
    sys.exit(main())
