"""Rerank a run file into another.

Texts come from the collection. Work can be killed at any moment and started again with the same command: finished
queries are not scored again. A different model, budget or input under the same output is refused.

Parts of the run are scored by this process, by several (--workers), by machines that share a folder (--shard) or by Ray
(--engine ray), and one way can go on where another stopped. The output is the same, byte for byte; only another kind of
processor, or another number of threads a process (OMP_NUM_THREADS; --workers divides it), may change last digits.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

from elasticranker.commands.arguments import add_first_stage_argument, add_model_arguments, make_ranker, positive, shard
from elasticranker.commands.resuming import again

if TYPE_CHECKING:
    from elasticranker.runs.scoring import Scoring

RESUME = again("finished queries are kept")
EXAMPLES = """examples:
  elasticranker rerank bm25.trec --collection ./my-collection --budget 25% --output reranked.trec.gz
  elasticranker rerank bm25.trec.gz --collection irds:beir/scifact/test --budget "20 GFLOPs" --output out.trec.gz
  elasticranker rerank dev.trec --collection ./topics --corpus corpus.tsv.gz --budget 10% --output o.trec --shard 3/8
  elasticranker rerank bm25.trec --collection ./my-collection --budget 25% --output out.trec.gz --workers 4
  elasticranker rerank bm25.trec --collection ./my-collection --budget 25% --output out.trec.gz --engine ray

eight machines, as an array job of SLURM (job.sh; the folder of --output is seen by all of them):
  #!/bin/bash
  #SBATCH --array=1-8 --cpus-per-task=16
  elasticranker rerank bm25.trec.gz --collection ./my-collection --budget 25% --output out.trec.gz \\
      --shard $SLURM_ARRAY_TASK_ID/8 --workers 4

  elasticranker rerank bm25.trec.gz --collection ./my-collection --budget 25% --output out.trec.gz --shards 8
  sbatch --wait --requeue job.sh; elasticranker merge out.trec.gz"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("run_file", metavar="RUN", help="TREC run file, plain or .gz, .bz2, .xz")
    parser.add_argument("--collection", required=True, help="irds:<id>, a folder, or python-docs")
    parser.add_argument(
        "--corpus", metavar="FILE", help="corpus.tsv[.gz] (docno, tab, text), where the folder has none"
    )
    parser.add_argument("--budget", required=True, help='what a query may cost: "25%%", "20 GFLOPs", "50 ms" or "full"')
    parser.add_argument(
        "--output", required=True, metavar="OUT", help="run file to write, compressed if it ends in .gz, .bz2 or .xz"
    )
    add_first_stage_argument(parser)
    parser.add_argument("--skip-missing", action="store_true", help="leave out candidates that the corpus lacks")
    parser.add_argument("--tag", help="last field of every line (default: ElasticRanker-<budget>)")
    group = parser.add_argument_group("more than one process")
    group.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="processes that share the weights; with --engine ray: actors (default: 1; ray: one a GPU or core)",
    )
    group.add_argument(
        "--engine", choices=["local", "ray"], default="local", help="who scores (default: %(default)s; ray is an extra)"
    )
    group.add_argument(
        "--address", help="of a running Ray cluster, such as auto or head:6379 (default: start Ray here)"
    )
    pieces = group.add_mutually_exclusive_group()
    pieces.add_argument(
        "--shards", type=positive, metavar="N", help="check everything and prepare N pieces, but score nothing yet"
    )
    pieces.add_argument(
        "--shard",
        type=shard,
        default=(1, 1),
        metavar="i/N",
        help="rerank only the i-th of N pieces; then `elasticranker merge OUT`",
    )
    group.add_argument(
        "--pairs-per-part",
        type=positive,
        metavar="N",
        help="candidates that are scored in one call, at least; raise it for GPUs (default: 1000)",
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.collections import open_collection
    from elasticranker.runs.resumable import rerank_run, split_run

    scoring = _scoring(args)
    ranker = make_ranker(args, budget=args.budget)
    collection = open_collection(args.collection, corpus=args.corpus)
    job: dict[str, Any] = {
        "skip_missing": args.skip_missing,
        "tag": args.tag,
        "pairs_per_part": args.pairs_per_part,
    }
    if args.shards:
        parts = split_run(args.run_file, collection, ranker, args.output, **job)
        print(_next_steps(args, parts))
        return
    output = rerank_run(args.run_file, collection, ranker, args.output, **job, shard=args.shard, scoring=scoring)
    if ranker.truncated:
        print(f"{ranker.truncated} pairs were longer than the model takes: their documents were cut")
    number, shards = args.shard
    print(
        f"wrote {output}"
        if shards == 1
        else f"shard {number}/{shards} is done; when all are: elasticranker merge {output}"
    )


def _scoring(args: argparse.Namespace) -> Scoring:
    """Who scores, by the arguments.

    Raises:
        ValueError: they contradict each other.
    """
    from elasticranker.runs.on_ray import score_on_ray
    from elasticranker.runs.scoring import here
    from elasticranker.runs.workers import score_in_processes

    if args.engine == "ray":
        return partial(score_on_ray, address=args.address, workers=args.workers)
    if args.address is not None:
        raise ValueError(f"--address {args.address} is for Ray: add --engine ray")
    return here if args.workers in (None, 1) else partial(score_in_processes, workers=args.workers)


def _next_steps(args: argparse.Namespace, parts: int) -> str:
    shards = args.shards
    idle = f"; shards above {parts} will have nothing to do" if shards > parts else ""
    return (
        f"{parts} parts are ready for {shards} shards{idle}\n"
        f"run the same command with --shard i/{shards} instead of --shards {shards}, for i from 1 to {shards}, in any "
        f"order (an array job of SLURM: sbatch --array=1-{shards}, and --shard $SLURM_ARRAY_TASK_ID/{shards})\n"
        f"then: elasticranker merge {args.output}"
    )
