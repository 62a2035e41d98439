"""Documents longer than the model reads: their beginnings against their passages, at the same FLOPs a query.

`python -m experiments.long_documents COLLECTION --output DIR`. Long documents are made of a collection of passages: a
query's first candidates, shuffled, go by `--topical` into one document, beside `--others` passages of other queries, in
random order. A document is as relevant as its best passage, and has the incoming score of its best one. Compared are a
ranker that reads the first `--max-length` tokens of each, and one for which passages of `--length` words compete
(`pt.text.sliding` before it, `max_passage` behind). Writes what `elasticranker experiment` writes, and goes on where it
was killed with the same command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyterrier as pt

from elasticranker.commands.arguments import positive
from elasticranker.commands.resuming import MEASURED
from elasticranker.evaluation.candidates import Candidates
from elasticranker.ranker import ElasticRanker

PROGRAM = "python -m experiments.long_documents"
BUDGETS = ("400 GFLOPs", "100 GFLOPs", "25 GFLOPs")
EXAMPLES = """examples:
  python -m experiments.long_documents ../data/msmarco-reduced --queries 60 --output long
  python -m experiments.long_documents irds:msmarco-passage/dev/small --queries 100 --output long"""


class ByPassages(pt.Transformer):
    """Rerank documents by their best passage; `spend` is that of all passages of a document.

    Args:
        ranker: scores passages, and tells what it spends (`trace=True`).
        length: words of a passage.
        stride: words from one passage to the next.
    """

    def __init__(self, ranker: ElasticRanker, *, length: int, stride: int) -> None:
        self.ranker, self.length, self.stride = ranker, length, stride
        self._passages = pt.text.sliding(text_attr="text", prepend_attr=None, length=length, stride=stride)

    def __repr__(self) -> str:
        made = f"checkpoint {self.ranker.fingerprint[:12]}, dtype {self.ranker.dtype}"
        return f"{self.length} words each, one every {self.stride}, {made}"

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Columns qid, docno, text, score, rank and spend; one row a document."""
        scored = self.ranker.transform(self._passages.transform(frame))
        spend = scored["spend"].groupby([scored["qid"], scored["docno"].str.rpartition("%p")[0]]).sum()
        best = pt.text.max_passage().transform(scored)
        return best.assign(spend=spend.loc[list(zip(best["qid"], best["docno"], strict=True))].to_numpy())


def long_documents(found: Candidates, *, topical: int = 3, others: int = 5, seed: int = 0) -> Candidates:
    """Long documents made of a first stage's passages.

    Args:
        found: passages that a first stage found, and what is known of them.
        topical: how many of a query's own passages make a document.
        others: how many passages of other queries are between them.
        seed: of what goes where.

    Returns:
        Candidates whose documents are these, with their own labels.

    Raises:
        ValueError: one of the numbers is too small, or there is one query alone.
    """
    if topical < 1 or others < 0:
        raise ValueError(f"topical={topical}, others={others}: give 1 or more and 0 or more")
    frame, random = found.frame, np.random.default_rng(seed)
    if others and frame["qid"].nunique() < 2:
        raise ValueError("one query alone: there are no passages of other queries to put between its own")
    labels = {(qid, docno): label for qid, docno, label in found.qrels[["qid", "docno", "label"]].to_numpy()}
    made, judged = [], []
    for qid, own in frame.groupby("qid", sort=False):
        elsewhere = frame.loc[frame["qid"] != qid, "text"].to_numpy()
        order = random.permutation(len(own))
        for number, start in enumerate(range(0, len(order), topical)):
            part = own.iloc[order[start : start + topical]]
            texts = [*part["text"], *random.choice(elsewhere, others)] if others else [*part["text"]]
            docno = f"{qid}-{number}"
            text = " ".join(texts[place] for place in random.permutation(len(texts)))
            made.append((qid, own["query"].iloc[0], docno, text, part["score"].max()))
            label = max(int(labels.get((qid, passage), 0)) for passage in part["docno"])
            judged.append((qid, docno, label))
    documents = pd.DataFrame(made, columns=["qid", "query", "docno", "text", "score"])
    documents = pt.model.add_ranks(documents).sort_values(["qid", "rank"], kind="stable").reset_index(drop=True)
    qrels = pd.DataFrame(judged, columns=["qid", "docno", "label"])
    lost = found.qrels[~found.qrels["qid"].isin(qrels["qid"])]  # queries without candidates, which count 0
    return Candidates(found.system, documents, pd.concat([qrels, lost]), found.queries, found.left_out)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring."""
    from elasticranker.cli import guarded

    args = _parser().parse_args(argv)
    return guarded(PROGRAM, lambda: _run(args), resume=MEASURED)


def _run(args: argparse.Namespace) -> None:
    from elasticranker.collections import open_collection
    from elasticranker.evaluation.candidates import load_candidates
    from elasticranker.evaluation.comparing import run_tradeoff
    from elasticranker.evaluation.systems import system_name
    from elasticranker.files import public_name

    collection = open_collection(args.collection, corpus=args.corpus)
    beginnings = ElasticRanker(args.model, max_length=args.max_length, dtype=args.dtype, threads=args.threads)
    passages = ElasticRanker(args.model, dtype=args.dtype, threads=args.threads)
    found = load_candidates(collection, args.candidates, k=args.k, queries=args.queries, tuned_on=beginnings.tuned_on)
    systems: dict[str, pt.Transformer] = {}
    for budget in args.budgets:
        first, second = beginnings.with_budget(budget), passages.with_budget(budget)
        systems[system_name("beginnings", first.budget)] = first.traced()
        systems[system_name("passages", second.budget)] = ByPassages(
            second.traced(), length=args.length, stride=args.stride
        )
    shape = f"{args.topical} of a query's passages and {args.others} of other queries' make a document"
    print(
        run_tradeoff(
            long_documents(found, topical=args.topical, others=args.others, seed=args.seed),
            systems,
            measures=["RR@10", "nDCG@10"],
            rel=collection.relevance_level(),
            folder=args.output,
            title=f"long documents of {public_name(collection.name)}",
            note=f"Made documents: {shape}; beginnings: the first {args.max_length} tokens of a pair.",
            arguments={name: value for name, value in vars(args).items() if name != "output"},
        )
    )
    print(f"\nreport: {Path(args.output) / 'report.md'}")


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__, epilog=EXAMPLES, formatter_class=layout)
    parser.add_argument("collection", metavar="COLLECTION", help="irds:<id>, a folder, or python-docs")
    parser.add_argument("--corpus", metavar="FILE", help="corpus.tsv[.gz], where the folder has none")
    parser.add_argument("--candidates", default="bm25", metavar="bm25|RUN", help="of passages (default: bm25)")
    parser.add_argument("--k", type=positive, default=100, metavar="K", help="candidates a query (default: 100)")
    parser.add_argument("--queries", type=positive, metavar="N", help="so many, evenly spaced (default: all)")
    parser.add_argument("--topical", type=positive, default=3, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--others", type=int, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of what goes where (default: 0)")
    parser.add_argument("--model", default="default", help="checkpoint (default: %(default)s)")
    parser.add_argument("--budgets", nargs="+", default=list(BUDGETS), metavar="B", help=f"(default: {BUDGETS})")
    parser.add_argument("--max-length", type=positive, default=256, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--length", type=positive, default=100, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--stride", type=positive, default=50, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--threads", type=positive, metavar="N", help="that compute")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
