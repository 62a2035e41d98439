"""Measure effectiveness and cost at several budgets, beside the first stage.

Prints one table and p-values, and writes results.csv, per_query.csv, the run files, tradeoff.png, report.md and
manifest.json. A killed experiment goes on where it was with the same command.

An experiment grows: with other --budgets, or another --model, the same command with the same --output measures what is
new beside what is there, on the same candidates. --measures, --baseline and --rel may change without any measuring.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from elasticranker.commands.arguments import (
    add_candidate_arguments,
    add_first_stage_argument,
    add_model_arguments,
    add_result_arguments,
    make_ranker,
    read_candidates,
)
from elasticranker.commands.resuming import MEASURED

if TYPE_CHECKING:
    from elasticranker.evaluation.tradeoff import TradeOff

RESUME = MEASURED
EXAMPLES = """examples:
  elasticranker experiment python-docs --candidates bm25 --output results
  elasticranker experiment ./dl19 --corpus corpus.tsv.gz --candidates bm25.trec --budgets 100% 25% 5% --output out
  elasticranker experiment ./dl19 --corpus corpus.tsv.gz --candidates bm25.trec --budgets 1% "50 GFLOPs" --output out \\
      --measures RR@10 nDCG@20 "P(rel=3)@5" --baseline 5%
  elasticranker experiment irds:msmarco-passage/dev/small --candidates scoreddocs --queries 200 --output out"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_candidate_arguments(parser)
    parser.add_argument(
        "--budgets",
        nargs="+",
        default=["100%", "50%", "25%", "10%", "5%"],
        metavar="B",
        help="one system each (default: 100%% 50%% 25%% 10%% 5%%)",
    )
    parser.add_argument(
        "--name",
        metavar="NAME",
        help="what the ranker is called in the results (default: elastic, or the --model's name)",
    )
    parser.add_argument(
        "--measures",
        nargs="+",
        default=["RR@10", "nDCG@10", "AP", "R@100"],
        metavar="M",
        help="as ir_measures writes them; figures show the first two (default: RR@10 nDCG@10 AP R@100)",
    )
    parser.add_argument(
        "--baseline",
        metavar="SYSTEM",
        help='what the others are tested against: bm25, a budget, or a system such as "elastic 25%%" (default: 100%%)',
    )
    add_result_arguments(parser)
    add_first_stage_argument(parser)
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.evaluation.comparing import run_tradeoff
    from elasticranker.evaluation.measures import parse_measures
    from elasticranker.evaluation.systems import model_name, named_systems
    from elasticranker.files import writable_folder
    from elasticranker.planning.budget import Budget

    for budget in args.budgets:
        Budget(budget)  # an unknown one is an error now, not after minutes of indexing
    parse_measures(args.measures)
    writable_folder(args.output)
    ranker = make_ranker(args, trace=True)
    systems = named_systems(ranker, args.budgets, args.name or model_name(args.model))
    collection, candidates = read_candidates(args, ranker)
    compared = run_tradeoff(
        candidates,
        systems,
        measures=args.measures,
        baseline=args.baseline,
        rel=collection.relevance_level() if args.rel is None else args.rel,
        folder=args.output,
        title=collection.name,
        note=args.note,
        arguments={name: value for name, value in vars(args).items() if name not in ("command", "debug")},
    )
    show(compared, args.output)


def show(compared: TradeOff, output: str) -> None:
    """Print the table of an experiment, how to read it, and where its files are."""
    from pathlib import Path

    from elasticranker.evaluation.report import aligned, footnotes, tables

    folder, manifest = Path(output), compared.manifest
    shown, tests = tables(compared.table)
    print(aligned(shown), "", sep="\n")
    if tests:
        print(f"p, against {manifest['evaluation']['baseline']}", aligned(tests), "", sep="\n")
    print(*footnotes(manifest), "", sep="\n")
    print(f"figure  {folder / 'tradeoff.png'}")
    print(f"runs    {folder / 'runs'}")
    print(f"report  {folder / 'report.md'} (and results.csv, per_query.csv, manifest.json)")
