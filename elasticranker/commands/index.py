"""Encode a collection's documents into an index of vectors.

Documents are encoded once, by the whole model unless --doc-budget says otherwise; `elasticranker retrieve` searches the
index with every query budget. Work can be killed at any moment and started again with the same command: what is encoded
is kept. The index is a FlexIndex of pyterrier_dr, and remembers which checkpoint made it. Needs the extra dense.
"""

from __future__ import annotations

import argparse

from elasticranker.commands.arguments import add_model_arguments, make_denser, positive
from elasticranker.commands.resuming import again

RESUME = again("documents that are encoded are kept")
EXAMPLES = """examples:
  elasticranker index python-docs --output python-docs.flex
  elasticranker index irds:msmarco-passage --model ./split-checkpoint --output msmarco.flex
  elasticranker index ./my-collection --model intfloat/e5-small-v2 --output e5.flex
  elasticranker retrieve python-docs --index python-docs.flex --budget 25% --output dense.trec.gz"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("collection", metavar="COLLECTION", help="irds:<id>, a folder, or python-docs")
    parser.add_argument(
        "--corpus", metavar="FILE", help="corpus.tsv[.gz] (docno, tab, text), where the folder has none"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the index, such as docs.flex")
    parser.add_argument(
        "--doc-budget",
        default="full",
        metavar="SHARE",
        help='what encoding a document may cost, such as "50%%" (default: %(default)s)',
    )
    parser.add_argument("--dim", type=positive, metavar="N", help="dimensions to keep, where the checkpoint allows it")
    add_model_arguments(parser, default="default-dense")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.collections import open_collection

    denser = make_denser(args, doc_budget=args.doc_budget)
    from elasticranker.runs.dense_index import build_index

    output = build_index(open_collection(args.collection, corpus=args.corpus), denser, args.output)
    if denser.truncated:
        print(f"{denser.truncated} documents were longer than the model takes: they were cut")
    print(f"wrote {output}")
