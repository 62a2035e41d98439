"""Tune a checkpoint's ladder: which plan is best for each budget.

Scores validation queries once with every sub-network, tries thousands of plans on those tables and stores the best of
each budget in the checkpoint. Prints the ladder, and how much of its quality holds on queries that it wasn't tuned on.
On the same queries it calibrates the checkpoint: see `elasticranker calibrate`, which does that alone. The checkpoint
remembers the queries: an experiment leaves them out.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from elasticranker.commands.arguments import add_model_arguments, make_ranker, positive
from elasticranker.commands.calibrate import add_stranger_argument, draw_strangers, store
from elasticranker.commands.card import write_card

if TYPE_CHECKING:
    import pandas as pd

    from elasticranker.planning.ladder import Ladder
    from elasticranker.training.tuning.search import SplitHalf

EXAMPLES = """examples:
  elasticranker tune --model ./checkpoint --data ./validation --candidates bm25 --queries 150
  elasticranker tune --model ./checkpoint --data irds:msmarco-passage/dev/small --candidates scoreddocs --queries 200"""
HOLDS = 0.97  # share of the tuned quality that must be left on other queries


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--data", required=True, metavar="COLLECTION", help="validation queries: irds:<id> or a folder")
    parser.add_argument("--corpus", metavar="FILE", help="corpus.tsv[.gz], where the folder has none")
    parser.add_argument(
        "--candidates", default="bm25", metavar="bm25|RUN", help="what to rerank (default: %(default)s)"
    )
    parser.add_argument(
        "--k", type=positive, default=100, metavar="K", help="candidates a query (default: %(default)s)"
    )
    parser.add_argument(
        "--queries", type=positive, default=150, metavar="N", help="validation queries (default: %(default)s)"
    )
    parser.add_argument(
        "--trials", type=positive, default=240, metavar="N", help="plans tried a budget (default: %(default)s)"
    )
    add_stranger_argument(parser)
    parser.add_argument("--figure", metavar="FILE", help="draw the front into this PNG")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from tqdm.auto import tqdm

    from elasticranker.collections import open_collection
    from elasticranker.evaluation.candidates import load_candidates
    from elasticranker.model.checkpoint import is_elastic, query_key, resolve, set_ladder
    from elasticranker.training.tuning.search import SHARES, split_half, tune
    from elasticranker.training.tuning.tables import tabulate

    if not is_elastic(args.model):
        raise ValueError(f"--model {args.model}: only an elastic checkpoint (a folder) has a ladder to tune")
    ranker = make_ranker(args)
    collection = open_collection(args.data, corpus=args.corpus)
    candidates = load_candidates(collection, args.candidates, k=args.k, queries=args.queries)
    strange = draw_strangers(collection, candidates, args.strangers)
    tables = tabulate(ranker, candidates.frame, candidates.qrels)
    cost = ranker.checkpoint.cost
    with tqdm(total=3 * len(SHARES), desc="plans", unit="budget") as bar:
        ladder = tune(tables, cost, trials=args.trials, progress=lambda _: bar.update())
        split = split_half(tables, cost, trials=args.trials, progress=lambda _: bar.update())
    print(report(ladder, split).to_string(index=False))
    worst = min(other / own for own, other in zip(split.own, split.other, strict=True))
    if worst < HOLDS:
        raise ValueError(
            f"only {worst:.1%} of the tuned quality holds on the other half of the queries: the ladder fits its own "
            f"test, and is not stored; give more --queries than {len(tables)}"
        )
    if args.figure:
        from elasticranker.evaluation.plots import draw_front

        draw_front(report(ladder, split), args.figure, title=f"{collection.name}, {len(tables)} queries")
    keys = sorted(query_key(query) for query in candidates.frame["query"].unique())
    store(resolve(args.model), ranker, collection, candidates, tables, strange)
    set_ladder(resolve(args.model), ladder, {"collection": collection.name.split("/")[-1], "queries": keys})
    write_card(resolve(args.model))
    print(f"stored in {resolve(args.model)}")


def report(ladder: Ladder, split: SplitHalf) -> pd.DataFrame:
    """One row a rung: budget, quality as a share of the full model's (tuned, and on other queries), plan."""
    import pandas as pd

    return pd.DataFrame(
        {
            "budget": [f"{rung.share:.1%}" for rung in ladder.rungs],
            "share": [rung.share for rung in ladder.rungs],
            "of full": [f"{(rung.quality or 0) / split.full:.3f}" for rung in ladder.rungs],
            "held out": [f"{quality / split.full:.3f}" for quality in split.other],
            "plan": [str(rung.plan) for rung in ladder.rungs],
        }
    )
