"""Calibrate a checkpoint: what its scores mean, at every budget.

Scores judged queries once with every sub-network and learns what each one's scores say of relevance, so that the
server's `relevance_score` is a probability and a score means the same at every budget. No ranking changes, nor does the
ladder. Where the collection has queries that the ladder was tuned on, only these are taken; the checkpoint remembers
them, and an experiment leaves them out. Writes a calibrated copy, and prints by how much its probabilities are off on
queries that they were not fitted on (expected calibration error).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from elasticranker.commands.arguments import add_model_arguments, make_ranker, positive
from elasticranker.commands.card import card_of, elastic_folder, write_card

if TYPE_CHECKING:
    import pandas as pd

    from elasticranker.collections import Collection
    from elasticranker.evaluation.candidates import Candidates
    from elasticranker.planning.calibration import Calibration
    from elasticranker.planning.plan import SubNet
    from elasticranker.ranker import ElasticRanker
    from elasticranker.training.tuning.calibrating import Reliability
    from elasticranker.training.tuning.tables import Table

CALIBRATED = 20  # candidates a query: among more, next to all are not relevant, and every probability is small
EXAMPLES = """examples:
  elasticranker calibrate --data ./validation --output calibrated
  elasticranker calibrate --model ./checkpoint --data irds:msmarco-passage/dev/small --candidates scoreddocs \\
      --output calibrated"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--data", required=True, metavar="COLLECTION", help="judged queries: irds:<id> or a folder")
    parser.add_argument("--corpus", metavar="FILE", help="corpus.tsv[.gz], where the folder has none")
    parser.add_argument(
        "--candidates", default="bm25", metavar="bm25|RUN", help="what a first stage finds (default: %(default)s)"
    )
    parser.add_argument(
        "--k", type=positive, default=CALIBRATED, metavar="K", help="candidates a query (default: %(default)s)"
    )
    parser.add_argument("--queries", type=positive, default=150, metavar="N", help="queries (default: %(default)s)")
    add_calibration_arguments(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the calibrated copy, a new one")
    add_model_arguments(parser)


def add_calibration_arguments(parser: argparse.ArgumentParser) -> None:
    """How many passages on other subjects a calibration sees, and what counts as relevant."""
    parser.add_argument(
        "--strangers",
        type=positive,
        default=5,
        metavar="N",
        help="candidates of other queries beside each query's own, to calibrate (default: %(default)s)",
    )
    parser.add_argument(
        "--rel", type=positive, metavar="K", help="lowest relevant label (default: 1, or 2 where labels go to 3)"
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.collections import open_collection
    from elasticranker.evaluation.candidates import load_candidates
    from elasticranker.files import new_folder, refuse_existing
    from elasticranker.model.checkpoint import copy_checkpoint
    from elasticranker.training.tuning.tables import tabulate

    source = elastic_folder(args.model, args.revision)
    refuse_existing(args.output)
    ranker = make_ranker(args)
    collection = open_collection(args.data, corpus=args.corpus)
    level = collection.relevance_level() if args.rel is None else args.rel
    candidates = load_candidates(collection, args.candidates, k=args.k, queries=args.queries, preferred=ranker.tuned_on)
    strange = draw_strangers(candidates, level, args.strangers)
    tables = tabulate(ranker, candidates.frame, candidates.qrels)
    with new_folder(args.output) as folder:
        copy_checkpoint(source, folder)
        store(folder, ranker, collection, candidates, tables, strange, level)
        write_card(card_of(folder, name=folder.name), folder / "README.md")
    print(f"wrote {args.output}, a copy of {args.model} with this calibration")


def draw_strangers(candidates: Candidates, level: int, count: int) -> pd.DataFrame:
    """Candidates of other queries for each query; `level` is the lowest relevant label.

    Raises:
        ValueError: there are none, or nothing is judged relevant: found out before any scoring.
    """
    from elasticranker.training.tuning.strangers import strangers

    qrels, frame = candidates.qrels, candidates.frame
    relevant = qrels[qrels["label"] >= level]
    found = set(zip(frame["qid"], frame["docno"], strict=True))
    if found.isdisjoint(zip(relevant["qid"], relevant["docno"], strict=True)):
        raise ValueError(
            f"{candidates.system} finds no document that is judged relevant (label {level} or above) for "
            f"{candidates.queries} queries: nothing to calibrate on"
        )
    return strangers(frame, relevant, count)


def store(
    folder: str | Path,
    ranker: ElasticRanker,
    collection: Collection,
    candidates: Candidates,
    tables: list[Table],
    strange: pd.DataFrame,
    level: int,
) -> None:
    """Fit a calibration on score tables and on strangers, print how far it can be trusted, and store it."""
    from elasticranker.files import public_name
    from elasticranker.model.checkpoint import query_key, set_calibration
    from elasticranker.training.tuning.storing import fit_calibration
    from elasticranker.training.tuning.tables import tabulate

    fitted = fit_calibration(tables, tabulate(ranker, strange, candidates.qrels), level=level)
    print(report(fitted.calibration, fitted.errors).to_string(index=False))
    queries = sorted(query_key(query) for query in candidates.frame["query"].unique())
    seen = {"collection": public_name(collection.name), "queries": queries}
    set_calibration(folder, fitted.calibration, seen | fitted.about)


def report(calibration: Calibration, errors: dict[SubNet, Reliability]) -> pd.DataFrame:
    """One row a sub-network: its line, and the expected calibration errors of its raw scores' sigmoids, of its
    probabilities, and of those from 0.1 on, on queries that they were not fitted on.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "exit": map(str, errors),
            "slope": [f"{calibration.lines[subnet].slope:.3f}" for subnet in errors],
            "intercept": [f"{calibration.lines[subnet].intercept:.2f}" for subnet in errors],
            "ECE before": [f"{error.before:.4f}" for error in errors.values()],
            "ECE after": [f"{error.after:.4f}" for error in errors.values()],
            "ECE from 0.1": [f"{error.likely:.4f}" for error in errors.values()],
        }
    )
