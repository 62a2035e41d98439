"""A cross-encoder that isn't ours, under a budget: as it is, and made elastic.

`train` makes a cross-encoder with sentence-transformers' own trainer, from a bi-encoder and a folder of training data:
judged queries, or what `elasticranker prepare` made of such with a teacher's scores. `elasticranker elastify` then
makes it elastic. `report` compares, on a collection: the original under SEE's filter and with fixed top-k, and the
elastic one, at several budgets. Both go on where they were when killed, with the same command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from elasticranker.cli import guarded
from elasticranker.commands.arguments import (
    add_candidate_arguments,
    add_result_arguments,
    positive,
    read_candidates,
)
from elasticranker.commands.resuming import MEASURED

EXAMPLES = """examples:
  python -m experiments.elastify train ./train --output my-cross-encoder
  python -m experiments.elastify train ./prepared --negatives 7 --batch-size 128 --output my-cross-encoder
  elasticranker elastify my-cross-encoder --collection ./train --output my-elastic
  python -m experiments.elastify report ./dl19 --corpus ./corpus.tsv.gz --candidates bm25.trec --output dl19 \\
      --original my-cross-encoder --elastic my-elastic"""


def parser() -> argparse.ArgumentParser:
    """The command line; see the module's docstring."""
    layout = argparse.RawDescriptionHelpFormatter
    made = argparse.ArgumentParser(
        prog="python -m experiments.elastify", description=__doc__, epilog=EXAMPLES, formatter_class=layout
    )
    parts = made.add_subparsers(dest="part", required=True, metavar="train|report")
    train = parts.add_parser("train", help="a cross-encoder, with sentence-transformers' trainer")
    train.add_argument(
        "data", metavar="DATA", help="folder of training data, as `elasticranker prepare` takes or makes it"
    )
    train.add_argument("--output", required=True, metavar="DIR", help="folder for the cross-encoder")
    train.add_argument(
        "--start", metavar="ID|PATH", help="encoder to start from (default: all-MiniLM-L6-v2, as the package has it)"
    )
    train.add_argument("--epochs", type=float, default=1.0, metavar="N", help="(default: %(default)s)")
    train.add_argument("--negatives", type=positive, default=4, metavar="N", help="a positive (default: %(default)s)")
    train.add_argument("--batch-size", type=positive, default=32, metavar="N", help="pairs (default: %(default)s)")
    train.add_argument("--learning-rate", type=float, default=5e-5, metavar="N", help="peak (default: %(default)s)")
    train.add_argument("--max-length", type=positive, default=256, metavar="N", help="tokens (default: %(default)s)")
    train.add_argument("--max-steps", type=positive, metavar="N", help="stop there, to try things out")
    train.add_argument("--save-steps", type=positive, default=500, metavar="N", help="between saves (default: 500)")
    train.add_argument(
        "--dtype", default="auto", choices=["auto", "float32", "bfloat16"], help="(default: %(default)s)"
    )
    report = parts.add_parser("report", help="original and elastic at several budgets")
    add_candidate_arguments(report)
    report.add_argument("--original", required=True, metavar="ID|PATH", help="the cross-encoder")
    report.add_argument("--elastic", required=True, metavar="PATH", help="what was made of it")
    report.add_argument(
        "--budgets",
        nargs="+",
        default=["50%", "25%", "10%", "5%"],
        metavar="B",
        help="below full, which is measured in any case (default: 50%% 25%% 10%% 5%%)",
    )
    report.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16 (default: %(default)s)")
    add_result_arguments(report)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line."""
    args = parser().parse_args(argv)
    work = {"train": run_train, "report": run_report}[args.part]
    return guarded("experiments.elastify", lambda: work(args), resume=MEASURED if args.part == "report" else "")


def run_train(args: argparse.Namespace) -> None:
    """Train as the arguments say."""
    from experiments.elastify.stranger import Settings, train_cross_encoder

    names = ("epochs", "negatives", "batch_size", "learning_rate", "max_length", "max_steps", "save_steps", "dtype")
    settings = Settings(**{name: getattr(args, name) for name in names})
    print(f"wrote {train_cross_encoder(args.data, args.output, start=args.start, settings=settings)}")


def run_report(args: argparse.Namespace) -> None:
    """Compare as the arguments say."""
    from elasticranker.ranker import ElasticRanker
    from experiments.elastify.comparing import compare

    elastic = ElasticRanker(args.elastic, budget="full", dtype=args.dtype, trace=True)
    collection, candidates = read_candidates(args, elastic)
    arguments = dict(vars(args))
    found = compare(
        collection,
        elastic,
        args.original,
        candidates,
        output=args.output,
        budgets=args.budgets,
        rel=args.rel,
        note=args.note,
        arguments=arguments,
    )
    print("\n".join(found))
    print(f"\nreport  {args.output}/report.md and verdicts.md")


if __name__ == "__main__":
    sys.exit(main())
