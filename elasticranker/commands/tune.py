"""Tune a checkpoint's ladder: which plan is best for each budget.

Scores validation queries once with every sub-network, tries thousands of plans on those tables and stores the best of
each budget in a copy of the checkpoint (--output). Prints the ladder, and how much of its quality holds on queries that
it wasn't tuned on. On the first 20 candidates of the same queries it calibrates the copy (`elasticranker calibrate`
does that alone). The copy remembers the queries: an experiment leaves them out.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from elasticranker.commands.arguments import add_model_arguments, make_ranker, positive
from elasticranker.commands.calibrate import CALIBRATED, add_calibration_arguments, draw_strangers, store
from elasticranker.commands.card import card_of, elastic_folder, write_card

if TYPE_CHECKING:
    import pandas as pd

    from elasticranker.planning.ladder import Ladder
    from elasticranker.training.tuning.search import SplitHalf

EXAMPLES = """examples:
  elasticranker tune --model ./checkpoint --data ./validation --candidates bm25 --queries 150 --output tuned
  elasticranker tune --data irds:msmarco-passage/dev/small --candidates scoreddocs --queries 200 --output tuned

a second ladder, for candidates that vectors found:
  elasticranker retrieve ./validation --index validation.flex --model ./tuned --budget full --output dense.trec.gz
  elasticranker tune --model ./tuned --data ./validation --first-stage dense --candidates dense.trec.gz --output both"""
HOLDS = 0.97  # share of the tuned quality that must be left on other queries
# Of some 300 plans tried a budget the luckiest looks about 2.5 standard errors too good; plans differ by about 0.12 a
# query, so that from a hundred queries on luck stays within HOLDS.
MIN_QUERIES = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--data", required=True, metavar="COLLECTION", help="validation queries: irds:<id> or a folder")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the tuned copy; must be new")
    parser.add_argument("--corpus", metavar="FILE", help="corpus.tsv[.gz], where the folder has none")
    parser.add_argument(
        "--candidates", default="bm25", metavar="bm25|RUN", help="what to rerank (default: %(default)s)"
    )
    parser.add_argument(
        "--first-stage",
        dest="tuned_stage",
        default="bm25",
        metavar="NAME",
        help="what made the candidates: the name that ElasticRanker(first_stage=NAME) picks the ladder by (default: "
        "%(default)s)",
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
    parser.add_argument(
        "--cuts",
        type=positive,
        nargs="*",
        default=[48],
        metavar="TOKENS",
        help="plans may also read so many tokens of each document alone, in the lower half of the layers (default: 48; "
        "none: documents are always read whole)",
    )
    parser.add_argument(
        "--min-queries",
        type=positive,
        default=MIN_QUERIES,
        metavar="N",
        help="refuse to tune on fewer (default: %(default)s); lower it to try things out",
    )
    add_calibration_arguments(parser)
    parser.add_argument("--figure", metavar="FILE", help="draw the front into this file (.png, .svg or .pdf)")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.collections import open_collection
    from elasticranker.display.style import figure_path
    from elasticranker.evaluation.candidates import judged, load_candidates
    from elasticranker.files import new_folder, public_name, refuse_existing, writable_folder
    from elasticranker.model.checkpoint import FIRST_STAGE, copy_checkpoint, query_key, set_ladder
    from elasticranker.progress import bar
    from elasticranker.training.tuning.search import SHARES, split_half, tune
    from elasticranker.training.tuning.tables import tabulate

    if args.tuned_stage != FIRST_STAGE and args.candidates == "bm25":
        raise ValueError(
            f"--first-stage {args.tuned_stage}: name its run by --candidates (`elasticranker retrieve` writes one by "
            "vectors); the default is BM25's"
        )
    source = elastic_folder(args.model, args.revision)
    refuse_existing(args.output)
    if args.figure:
        writable_folder(figure_path(args.figure).parent)
    ranker = make_ranker(args)
    collection = open_collection(args.data, corpus=args.corpus)
    level = collection.relevance_level() if args.rel is None else args.rel
    refuse_few(len(judged(collection, args.queries)[0]), args)
    candidates = load_candidates(collection, args.candidates, k=args.k, queries=args.queries)
    refuse_few(candidates.frame["qid"].nunique(), args)
    strange = draw_strangers(candidates, level, args.strangers)
    tables = tabulate(ranker, candidates.frame, candidates.qrels, cuts=args.cuts)
    cost = ranker.checkpoint.cost
    with bar(name="trying plans", total=3 * len(SHARES), unit="budgets") as moving:
        ladder = tune(tables, cost, trials=args.trials, progress=lambda _: moving.update())
        split = split_half(tables, cost, trials=args.trials, progress=lambda _: moving.update())
    print(report(ladder, split).to_string(index=False))
    worst = min(other / own for own, other in zip(split.own, split.other, strict=True))
    if worst < HOLDS:
        raise ValueError(
            f"only {worst:.1%} of the tuned quality holds on the other half of the queries: the ladder fits its own "
            f"test, and is not stored; give more --queries than {len(tables)}"
        )
    if args.figure:
        from elasticranker.evaluation.plots import draw_front

        draw_front(report(ladder, split), args.figure, title=f"{public_name(collection.name)}, {len(tables)} queries")
    keys = sorted(query_key(query) for query in candidates.frame["query"].unique())
    tuned_on = {"collection": public_name(collection.name), "queries": keys}
    with new_folder(args.output) as folder:
        copy_checkpoint(source, folder)
        # A ladder beside BM25's leaves the scale of scores as it is: that one's plans rely on it.
        if args.tuned_stage == FIRST_STAGE or not ranker.checkpoint.calibration.lines:
            best = [table.head(CALIBRATED) for table in tables]
            store(folder, ranker, collection, candidates, best, strange, level)
        set_ladder(folder, ladder, tuned_on, first_stage=args.tuned_stage)
        write_card(card_of(folder, name=folder.name), folder / "README.md")
    print(f"wrote {args.output}, a copy of {args.model} with this ladder")


def refuse_few(queries: int, args: argparse.Namespace) -> None:
    """Raise a ValueError where a ladder would fit its few queries alone."""
    if queries < args.min_queries:
        given = f"--queries {args.queries}" if queries == args.queries else f"--data {args.data}"
        raise ValueError(
            f"{given}: {queries} judged queries with candidates are too few, a ladder tuned on them fits their luck; "
            f"{args.min_queries} would do (--min-queries {queries} tunes on them all the same, to try things out)"
        )


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
