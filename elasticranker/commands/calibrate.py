"""Calibrate a checkpoint: what its scores mean, at every budget.

Scores judged queries once with every sub-network and learns what each one's scores say of relevance, so that the
server's `relevance_score` is a probability and a score means the same at every budget. No ranking changes, nor does the
ladder. Where the collection has queries that the ladder was tuned on, only these are taken; the checkpoint remembers
them, and an experiment leaves them out. Writes a calibrated copy, and prints by how much its probabilities are off on
queries that they were not fitted on (expected calibration error).
"""

from __future__ import annotations

import argparse
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from elasticranker.commands.arguments import add_model_arguments, make_ranker, positive
from elasticranker.commands.card import write_card

if TYPE_CHECKING:
    import pandas as pd

    from elasticranker.collections import Collection
    from elasticranker.evaluation.candidates import Candidates
    from elasticranker.planning.calibration import Calibration
    from elasticranker.planning.plan import SubNet
    from elasticranker.ranker import ElasticRanker
    from elasticranker.training.tuning.calibrating import Reliability
    from elasticranker.training.tuning.tables import Table

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
    parser.add_argument("--k", type=positive, default=20, metavar="K", help="candidates a query (default: %(default)s)")
    parser.add_argument("--queries", type=positive, default=150, metavar="N", help="queries (default: %(default)s)")
    add_stranger_argument(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the calibrated copy, a new one")
    add_model_arguments(parser)


def add_stranger_argument(parser: argparse.ArgumentParser) -> None:
    """How many passages on other subjects a calibration sees."""
    parser.add_argument(
        "--strangers",
        type=positive,
        default=5,
        metavar="N",
        help="candidates of other queries beside each query's own, to calibrate (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.collections import open_collection
    from elasticranker.evaluation.candidates import load_candidates
    from elasticranker.model.checkpoint import is_elastic, resolve
    from elasticranker.training.tuning.tables import tabulate

    if not is_elastic(args.model):
        raise ValueError(f"--model {args.model}: only an elastic checkpoint (a folder) can be calibrated")
    output = Path(args.output)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"--output {output} is there already: name a new folder")
    ranker = make_ranker(args)
    collection = open_collection(args.data, corpus=args.corpus)
    candidates = load_candidates(collection, args.candidates, k=args.k, queries=args.queries, preferred=ranker.tuned_on)
    strange = draw_strangers(collection, candidates, args.strangers)
    tables = tabulate(ranker, candidates.frame, candidates.qrels)
    shutil.copytree(resolve(args.model), output, dirs_exist_ok=True)
    store(output, ranker, collection, candidates, tables, strange)
    write_card(str(output))
    print(f"written: {output}")


def draw_strangers(collection: Collection, candidates: Candidates, count: int) -> pd.DataFrame:
    """Candidates of other queries for each query.

    Raises:
        ValueError: there are none, or nothing is judged relevant: found out before any scoring.
    """
    from elasticranker.training.tuning.strangers import strangers

    qrels = candidates.qrels
    relevant = qrels[qrels["label"] >= collection.relevance_level()]
    if relevant.merge(candidates.frame, on=["qid", "docno"]).empty:
        raise ValueError(
            f"{candidates.system} finds no document of {collection.name} that is judged relevant (label "
            f"{collection.relevance_level()} or above) for {candidates.queries} queries: nothing to calibrate on"
        )
    return strangers(candidates.frame, relevant, count)


def store(
    folder: str | Path,
    ranker: ElasticRanker,
    collection: Collection,
    candidates: Candidates,
    tables: list[Table],
    strange: pd.DataFrame,
) -> None:
    """Fit a calibration on score tables and on strangers, print how far it can be trusted, and store it."""
    from elasticranker.model.checkpoint import query_key, set_calibration
    from elasticranker.training.tuning.calibrating import calibrate, reliability
    from elasticranker.training.tuning.tables import tabulate

    level = collection.relevance_level()
    others = tabulate(ranker, strange, candidates.qrels)
    calibration = calibrate(tables, others, level=level)
    errors = reliability(tables, others, level=level)
    print(report(calibration, errors).to_string(index=False))
    about = {
        "collection": collection.name.split("/")[-1],
        "queries": sorted(query_key(query) for query in candidates.frame["query"].unique()),
        "pairs": len(candidates.frame) + len(strange),
        "strangers": len(strange),
        "level": level,
        "errors": [
            {"exit": str(subnet)}
            | {name: None if math.isnan(value) else round(value, 4) for name, value in vars(error).items()}
            for subnet, error in errors.items()
        ],
    }
    set_calibration(folder, calibration, about)


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
