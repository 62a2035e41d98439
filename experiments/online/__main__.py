"""The elastic schedule under load, simulated and real.

`simulate` measures every query at every rung of the ladder once, and serves Poisson, bursty and day-shaped arrivals on
a simulated clock. `load` sends the same kind of requests to the real server on loopback, in its own process. Both
compare static full, static middle, static smallest and the elastic schedule; with one --output, one figure shows both.
Both may be killed at any moment and go on where they were with the same command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from elasticranker.commands.arguments import (
    add_candidate_arguments,
    add_model_arguments,
    add_result_arguments,
    make_ranker,
    read_candidates,
)
from elasticranker.commands.resuming import MEASURED
from elasticranker.commands.serve import seconds as time_argument
from elasticranker.commands.serve import share as share_argument
from experiments.online.arrivals import ARRIVALS
from experiments.online.outcome import SYSTEMS

if TYPE_CHECKING:
    import pandas as pd

    from experiments.online.folder import Job

PROGRAM = "python -m experiments.online"
EXAMPLES = """examples:
  python -m experiments.online simulate python-docs --output out
  python -m experiments.online simulate ./dl19 --corpus corpus.tsv.gz --candidates bm25.trec --to 10000 --output out
  python -m experiments.online load ./dl19 --corpus corpus.tsv.gz --candidates bm25.trec --loads 0.1 1 4 --output out
  python -m experiments.online load python-docs --systems "static full" elastic --seconds 20 --output quick"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring.

    Returns:
        Exit status: 0, 2 for an error that the user can mend, 130 after Ctrl-C.
    """
    from elasticranker.cli import guarded

    args = _parser().parse_args(argv)
    return guarded(PROGRAM, lambda: _show(args.run(args), args.output), resume=MEASURED)


def _simulate(args: argparse.Namespace) -> pd.DataFrame:
    from experiments.online.simulated import LOADS, check_loads, run_simulation

    loads = args.loads or LOADS
    check_loads(loads, args.arrivals, args.seconds, args.slo)
    return run_simulation(
        _job(args),
        output=args.output,
        loads=loads,
        arrivals=args.arrivals,
        seconds=args.seconds,
        slo=args.slo,
        to=args.to,
        keep=args.keep,
        seed=args.seed,
    )


def _load(args: argparse.Namespace) -> pd.DataFrame:
    from experiments.online.load import LOADS, run_load
    from experiments.online.simulated import check_loads

    loads = args.loads or LOADS
    check_loads(loads, [args.arrivals], args.seconds, args.slo)
    return run_load(
        _job(args),
        output=args.output,
        loads=loads,
        compared=args.systems,
        arrivals=args.arrivals,
        seconds=args.seconds,
        drain=args.drain,
        slo=args.slo,
        threads=args.threads,
        seed=args.seed,
    )


def _job(args: argparse.Namespace) -> Job:
    from elasticranker.files import writable_folder
    from experiments.online.folder import Job, ladder_shares

    writable_folder(args.output)
    ranker = make_ranker(args, trace=True)
    collection, candidates = read_candidates(args, ranker)
    rel = collection.relevance_level() if args.rel is None else args.rel
    return Job(collection, ranker, candidates, ladder_shares(ranker), rel, args.note)


def _show(results: pd.DataFrame, output: str) -> None:
    """Print the tables, how to read them, and where the files are."""
    from pathlib import Path

    from elasticranker.evaluation.report import aligned
    from experiments.online.folder import REPLICAS, ResultsFolder
    from experiments.online.report import footnotes, table_cells

    folder = ResultsFolder(Path(output))
    print(aligned(table_cells(results)), "", sep="\n")
    plan = folder.read(REPLICAS)
    if not plan.empty:
        print(aligned(table_cells(plan)), "", sep="\n")
    print(*footnotes(folder.manifest), "", sep="\n")
    for figure in sorted(folder.path.glob("online-*.png")):
        print(f"figure  {figure}")
    print(f"report  {folder.path / 'report.md'} (and the tables as .csv, manifest.json)")


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__, epilog=EXAMPLES, formatter_class=layout)
    commands = parser.add_subparsers(required=True, metavar="simulate|load")
    summary = "serve simulated arrivals, with measured times and quality"
    simulate = commands.add_parser(
        "simulate", help=summary, description=summary, epilog=EXAMPLES, formatter_class=layout
    )
    _add_shared(simulate)
    simulate.add_argument("--arrivals", nargs="+", choices=list(ARRIVALS), default=list(ARRIVALS), help="default: all")
    simulate.add_argument(
        "--to", type=number, metavar="RATE", help="plan replicas for 1, 10, 100 ... RATE requests a second"
    )
    simulate.add_argument(
        "--keep", type=share_argument, default=0.95, metavar="SHARE", help="of nDCG@10 in a plan (default: 95%%)"
    )
    simulate.set_defaults(run=_simulate)
    summary = "send arrivals to the real server on loopback, in its own process"
    about = f"{summary}; the client shares the machine with it"
    load = commands.add_parser("load", help=summary, description=about, epilog=EXAMPLES, formatter_class=layout)
    _add_shared(load)
    load.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS), help="default: all")
    load.add_argument("--arrivals", choices=list(ARRIVALS), default="poisson", help="default: %(default)s")
    load.add_argument(
        "--drain", type=float, default=60.0, metavar="S", help="wait for answers so long (default: %(default)g)"
    )
    load.set_defaults(run=_load)
    return parser


def _add_shared(parser: argparse.ArgumentParser) -> None:
    add_candidate_arguments(parser)
    parser.add_argument(
        "--loads", nargs="+", type=number, metavar="L", help="arrival rates, multiples of what the full model sustains"
    )
    parser.add_argument(
        "--seconds", type=number, default=60.0, metavar="S", help="length of a run (default: %(default)g)"
    )
    slo_help = 'latency objective, such as "2 s" (default: 5 times an unloaded query in full)'
    parser.add_argument("--slo", type=time_argument, metavar="TIME", help=slo_help)
    parser.add_argument("--seed", type=int, default=0, help="of the arrivals (default: %(default)s)")
    add_result_arguments(parser)
    add_model_arguments(parser)


def number(text: str) -> float:
    """A number above 0, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
