"""Rerank a run file into another.

Texts come from the collection. Work can be killed at any moment and started again with the same command: finished
queries are not scored again. A different model, budget or input under the same output is refused.
"""

from __future__ import annotations

import argparse

from elasticranker.commands.arguments import add_model_arguments, make_ranker, shard

RESUME = "run the same command again to go on: finished queries are kept"
EXAMPLES = """examples:
  elasticranker rerank bm25.trec --collection ./my-collection --budget 25% --output reranked.trec.gz
  elasticranker rerank bm25.trec.gz --collection irds:beir/scifact/test --budget "20 GFLOPs" --output out.trec.gz
  elasticranker rerank dev.trec --collection ./topics --corpus corpus.tsv.gz --budget 10% --output o.trec --shard 3/8"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run_file", metavar="RUN", help="TREC run file, plain or gzip")
    parser.add_argument("--collection", required=True, help="irds:<id>, a folder, or python-docs")
    parser.add_argument(
        "--corpus", metavar="FILE", help="corpus.tsv[.gz] (docno, tab, text), where the folder has none"
    )
    parser.add_argument("--budget", required=True, help='what a query may cost: "25%%", "20 GFLOPs", "50 ms" or "full"')
    parser.add_argument("--output", required=True, metavar="OUT", help="run file to write, gzip if it ends in .gz")
    parser.add_argument("--skip-missing", action="store_true", help="leave out candidates that the corpus lacks")
    parser.add_argument("--tag", help="last field of every line (default: ElasticRanker-<budget>)")
    parser.add_argument(
        "--shard",
        type=shard,
        default=(1, 1),
        metavar="i/N",
        help="rerank only the i-th of N pieces; then `elasticranker merge OUT`",
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.collections import open_collection
    from elasticranker.runs.resumable import rerank_run

    ranker = make_ranker(args, budget=args.budget)
    collection = open_collection(args.collection, corpus=args.corpus)
    output = rerank_run(
        args.run_file,
        collection,
        ranker,
        args.output,
        skip_missing=args.skip_missing,
        tag=args.tag,
        shard=args.shard,
    )
    if ranker.truncated:
        print(f"{ranker.truncated} pairs were longer than the model takes: their documents were cut")
    number, shards = args.shard
    print(
        f"wrote {output}"
        if shards == 1
        else f"shard {number}/{shards} is done; when all are: elasticranker merge {output}"
    )
