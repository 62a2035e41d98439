"""Measure effectiveness and cost at several budgets, beside the first stage.

Prints one table and writes results.csv, the run files, tradeoff.png, report.md and manifest.json. A killed experiment
goes on where it was with the same command.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from elasticranker.commands.arguments import (
    add_candidate_arguments,
    add_model_arguments,
    add_result_arguments,
    make_ranker,
    read_candidates,
)
from elasticranker.commands.resuming import MEASURED

if TYPE_CHECKING:
    import pandas as pd

RESUME = MEASURED
EXAMPLES = """examples:
  elasticranker experiment python-docs --candidates bm25 --output results
  elasticranker experiment ./dl19 --corpus corpus.tsv.gz --candidates bm25.trec --budgets 100% 25% 5% --output out
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
    add_result_arguments(parser)
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.evaluation.tradeoff import run_tradeoff
    from elasticranker.files import writable_folder
    from elasticranker.planning.budget import Budget

    for budget in args.budgets:
        Budget(budget)  # an unknown one is an error now, not after minutes of indexing
    writable_folder(args.output)
    ranker = make_ranker(args, trace=True)
    collection, candidates = read_candidates(args, ranker)
    arguments = {name: value for name, value in vars(args).items() if name not in ("command", "debug")}
    results = run_tradeoff(
        collection,
        ranker,
        candidates,
        output=args.output,
        budgets=args.budgets,
        rel=args.rel,
        note=args.note,
        arguments=arguments,
    )
    show(results, args.output)


def show(results: pd.DataFrame, output: str) -> None:
    """Print the table of an experiment, how to read it, and where its files are."""
    from pathlib import Path

    from elasticranker.evaluation.report import aligned, cells, footnotes
    from elasticranker.files import read_json

    folder = Path(output)
    manifest = read_json(folder / "manifest.json")
    print(aligned(cells(results)), "", *footnotes(manifest["job"], manifest["note"]), "", sep="\n")
    print(f"figure  {folder / 'tradeoff.png'}")
    print(f"runs    {folder / 'runs'}")
    print(f"report  {folder / 'report.md'} (and results.csv, manifest.json)")
