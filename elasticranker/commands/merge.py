"""Join the shards of a rerank into its output.

Checks that every query is there. Nothing is scored. `elasticranker rerank --help` shows an array job.
"""

from __future__ import annotations

import argparse

EXAMPLES = """example, on four machines that share a folder:
  elasticranker rerank bm25.trec --collection ./my-collection --budget 25% --output out.trec.gz --shard 1/4
  (and 2/4, 3/4, 4/4)
  elasticranker merge out.trec.gz"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("output", metavar="OUT", help="the --output that the shards were given")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.runs.resumable import merge

    print(f"wrote {merge(args.output)}")
