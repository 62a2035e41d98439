"""Search an index of vectors for all queries of a collection.

What encoding a query costs is chosen by --budget; every budget searches the same index, which `elasticranker index`
builds. Work can be killed at any moment and started again with the same command: finished queries are kept. Another
model than the index's, or another budget under the same output, is refused. Needs the extra dense.
"""

from __future__ import annotations

import argparse

from elasticranker.commands.arguments import add_model_arguments, make_denser, positive
from elasticranker.commands.resuming import again

RESUME = again("finished queries are kept")
EXAMPLES = """examples:
  elasticranker retrieve python-docs --index python-docs.flex --budget 25% --output dense.trec.gz
  elasticranker retrieve irds:msmarco-passage/dev/small --index msmarco.flex --budget "2 ms" --k 1000 --output run.gz
  elasticranker rerank dense.trec.gz --collection python-docs --budget 10% --output reranked.trec.gz"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("collection", metavar="COLLECTION", help="whose queries: irds:<id>, a folder, or python-docs")
    parser.add_argument("--index", required=True, metavar="DIR", help="folder of the index")
    parser.add_argument(
        "--budget", required=True, help='what encoding a query may cost: "25%%", "50 MFLOPs", "2 ms" or "full"'
    )
    parser.add_argument(
        "--output", required=True, metavar="OUT", help="run file to write, compressed if it ends in .gz, .bz2 or .xz"
    )
    parser.add_argument("--k", type=positive, default=100, metavar="K", help="documents a query (default: %(default)s)")
    parser.add_argument(
        "--search",
        choices=["numpy", "torch", "faiss", "hnsw"],
        default="numpy",
        help="how: exactly, or approximately by hnsw; the last two need faiss (default: %(default)s)",
    )
    parser.add_argument("--dim", type=positive, metavar="N", help="dimensions of the index, where they aren't all")
    parser.add_argument("--tag", help="last field of every line (default: ElasticDenser-<budget>)")
    add_model_arguments(parser, default="default-dense")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.collections import open_collection

    denser = make_denser(args, budget=args.budget)
    from elasticranker.runs.retrieving import retrieve_run

    collection = open_collection(args.collection)
    output = retrieve_run(collection, denser, args.index, args.output, k=args.k, search=args.search, tag=args.tag)
    if denser.truncated:
        print(f"{denser.truncated} queries were longer than the model takes: they were cut")
    print(f"wrote {output}")
