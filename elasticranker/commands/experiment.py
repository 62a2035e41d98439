"""Measure effectiveness and cost at several budgets, beside the first stage.

Prints one table and writes results.csv, the run files, tradeoff.png, report.md and manifest.json. A killed experiment
goes on where it was with the same command.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from elasticranker.commands.arguments import add_model_arguments, make_ranker, positive

if TYPE_CHECKING:
    import pandas as pd

RESUME = "run the same command again to go on: measured queries are kept"
EXAMPLES = """examples:
  elasticranker experiment python-docs --candidates bm25 --output results
  elasticranker experiment ./dl19 --corpus corpus.tsv.gz --candidates bm25.trec --budgets 100% 25% 5% --output out
  elasticranker experiment irds:msmarco-passage/dev/small --candidates scoreddocs --queries 200 --output out"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("collection", metavar="COLLECTION", help="irds:<id>, a folder, or python-docs")
    parser.add_argument(
        "--corpus", metavar="FILE", help="corpus.tsv[.gz] (docno, tab, text), where the folder has none"
    )
    parser.add_argument(
        "--candidates",
        default="bm25",
        metavar="bm25|RUN",
        help="search by BM25 (default), a run file, or a run of the collection (scoreddocs)",
    )
    parser.add_argument(
        "--k", type=positive, metavar="K", help="candidates a query at most (default: 100 for bm25, all of a run)"
    )
    parser.add_argument(
        "--queries", type=positive, metavar="N", help="so many judged queries, evenly spaced (default: all)"
    )
    parser.add_argument(
        "--bm25",
        choices=["pisa", "terrier"],
        default="pisa",
        help="what searches by BM25 (default: %(default)s; terrier needs Java)",
    )
    parser.add_argument(
        "--budgets",
        nargs="+",
        default=["100%", "50%", "25%", "10%", "5%"],
        metavar="B",
        help="one system each (default: 100%% 50%% 25%% 10%% 5%%)",
    )
    parser.add_argument(
        "--rel", type=positive, metavar="K", help="lowest relevant label (default: 1, or 2 where labels go to 3)"
    )
    parser.add_argument("--skip-missing", action="store_true", help="leave out candidates that the corpus lacks")
    parser.add_argument(
        "--note",
        default="",
        metavar="TEXT",
        help="a sentence for table and report, such as what a reduced corpus means",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.budget import Budget
    from elasticranker.collections import open_collection
    from elasticranker.files import writable_folder
    from experiments.candidates import load_candidates
    from experiments.tradeoff import run_tradeoff

    for budget in args.budgets:
        Budget(budget)  # an unknown one is an error now, not after minutes of indexing
    writable_folder(args.output)
    ranker = make_ranker(args, trace=True)
    collection = open_collection(args.collection, corpus=args.corpus)
    candidates = load_candidates(
        collection,
        args.candidates,
        k=args.k,
        queries=args.queries,
        engine=args.bm25,
        skip_missing=args.skip_missing,
        tuned_on=ranker.tuned_on,
    )
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

    from elasticranker.files import read_json
    from experiments.report import aligned, cells, footnotes

    folder = Path(output)
    manifest = read_json(folder / "manifest.json")
    print(aligned(cells(results)), "", *footnotes(manifest["job"], manifest["note"]), "", sep="\n")
    print(f"figure  {folder / 'tradeoff.png'}")
    print(f"runs    {folder / 'runs'}")
    print(f"report  {folder / 'report.md'} (and results.csv, manifest.json)")
