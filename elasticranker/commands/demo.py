"""Do the main job on what every machine has: Python's own documentation.

Searches the docstrings of the standard library with BM25 for 100 questions that people ask, reranks the candidates with
the default checkpoint at several budgets, and prints what each costs and is worth.
"""

from __future__ import annotations

import argparse
import textwrap
import time
from typing import TYPE_CHECKING

from elasticranker.commands.arguments import add_model_arguments, make_ranker, positive
from elasticranker.commands.experiment import show
from elasticranker.commands.resuming import MEASURED

if TYPE_CHECKING:
    import pandas as pd

    from elasticranker.evaluation.candidates import Candidates

RESUME = MEASURED
BUDGETS = ("100%", "50%", "25%", "10%", "5%")
CANDIDATES = 50  # a question: with 100 two slow cores would need more than five minutes
EXAMPLES = """examples:
  elasticranker demo
  elasticranker demo --queries 10 --output quick
  elasticranker demo --model cross-encoder/ms-marco-MiniLM-L-6-v2 --output other-model"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "--output", default="elasticranker-demo", metavar="DIR", help="folder for the results (default: ./%(default)s)"
    )
    parser.add_argument(
        "--queries", type=positive, metavar="N", help="so many of the 100 questions, evenly spaced, for a quicker look"
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.collections import open_collection
    from elasticranker.evaluation.candidates import load_candidates
    from elasticranker.evaluation.comparing import run_tradeoff
    from elasticranker.evaluation.measures import effectiveness
    from elasticranker.evaluation.systems import FULL, named_systems

    start = time.monotonic()
    ranker = make_ranker(args, trace=True)
    collection = open_collection("python-docs")
    print("Searching the docstrings of Python's standard library with BM25 ...", flush=True)
    candidates = load_candidates(collection, "bm25", k=CANDIDATES, queries=args.queries)
    print(
        f"Reranking the top {CANDIDATES} for {candidates.queries} questions at five budgets ({CANDIDATES}, not 100, to "
        "stay under five minutes on two cores) ...",
        flush=True,
    )
    note = f"The top {CANDIDATES} of BM25 are reranked, not 100, to keep the demo short."
    compared = run_tradeoff(
        candidates,
        named_systems(ranker, BUDGETS),
        rel=collection.relevance_level(),
        folder=args.output,
        title=collection.name,
        note=note,
        arguments=vars(args),
    )
    print()
    show(compared, args.output)
    before, after = compared.runs[candidates.system], compared.runs[f"elastic {FULL}"]
    gain = effectiveness(after, candidates.qrels)["RR@10"] - effectiveness(before, candidates.qrels)["RR@10"]
    print("\nThree questions, before (BM25) and after (full model); * marks what answers the question.")
    print(examples(candidates, before, after, gain))
    print(f"\nIt took {time.monotonic() - start:.0f} seconds.")


def examples(candidates: Candidates, before: pd.DataFrame, after: pd.DataFrame, gain: pd.Series) -> str:
    """The queries with the largest, the median and the smallest gain, with their top 3 before and after.

    Args:
        candidates: Queries, texts and judgements.
        before: The first stage's run.
        after: The reranked run.
        gain: What reranking changed, by qid.
    """
    ordered = gain[gain.index.isin(after["qid"])].sort_values(ascending=False, kind="stable").index
    chosen = {
        "the largest gain": ordered[0],
        "a typical one": ordered[len(ordered) // 2],
        "the smallest gain": ordered[-1],
    }
    texts = dict(zip(candidates.frame["docno"], candidates.frame["text"], strict=True))
    queries = dict(zip(candidates.frame["qid"], candidates.frame["query"], strict=True))
    relevant = set(candidates.qrels[candidates.qrels["label"] > 0][["qid", "docno"]].itertuples(index=False, name=None))
    lines = []
    for description, qid in chosen.items():
        lines.append(f"\n{queries[qid]} ({description})")
        for name, run in (("before", before), ("after", after)):
            for rank, docno in enumerate(run[run["qid"] == qid]["docno"][:3], start=1):
                mark = "*" if (qid, docno) in relevant else " "
                snippet = textwrap.shorten(texts[docno], width=max(20, 88 - len(docno)), placeholder=" ...")
                lines.append(f"  {name if rank == 1 else '':6} {rank} {mark} {docno}: {snippet}")
    return "\n".join(lines)
