"""Prepare training data: queries, their candidates, and a teacher's scores of them.

The folder that it writes is all that training needs, on this or another machine. Work can be killed and started again
with the same command: what the teacher has scored is kept.

SOURCE is a folder with <name>.queries.jsonl[.gz] ({"query", "positive": [numbers], "bm25": [numbers]} a line) and
<name>.docs.tsv[.gz] (number, tab, text); or a collection: irds:<id>, or a folder with corpus.tsv, queries.tsv and
qrels.txt, whose candidates come from BM25, from a run file or, on ir_datasets, from docpairs.
"""

from __future__ import annotations

import argparse

from elasticranker.commands.arguments import positive
from elasticranker.commands.resuming import again
from elasticranker.progress import phase

RESUME = again("what the teacher has scored is kept")
EXAMPLES = """examples:
  elasticranker prepare ./my-data --teacher intfloat/e5-small-v2 --output prepared
  elasticranker prepare irds:msmarco-passage/train/triples-small --max-queries 20000 --output prepared \\
      --teacher cross-encoder/ms-marco-MiniLM-L-6-v2
  elasticranker prepare irds:msmarco-passage/train/judged --negatives bm25 --teacher intfloat/e5-base-v2 --output p
  elasticranker prepare ./my-collection --negatives bm25.trec.gz --teacher scores.tsv --output prepared"""
NUMBERS = {
    "candidates": (32, "most candidates of a query"),
    "teacher_candidates": (12, "how many of them a bi-encoder teacher mines"),
    "random_candidates": (4, "how many of them are drawn at random"),
    "held_out": (100, "queries a source (at most a tenth) that are kept for validation"),
    "seed": (0, "of every draw"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("source", metavar="SOURCE", help="folder, or irds:<id>")
    parser.add_argument(
        "--teacher",
        required=True,
        nargs="+",
        metavar="ID|PATH|RUN",
        help="bi-encoder or cross-encoder by id or folder; or a file of scores (`qid docno score`, or a run), for "
        "several sources a folder with <name>.tsv or <name>.trec for each; several teachers' scores are "
        "standardised and summed",
    )
    parser.add_argument(
        "--teacher-weights", nargs="+", type=float, metavar="W", help="weights of several teachers (default: 1 each)"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder to write")
    group = parser.add_argument_group("candidates")
    for name, (default, text) in NUMBERS.items():
        group.add_argument(
            f"--{name.replace('_', '-')}", type=int, default=default, metavar="N", help=f"{text} (default: {default})"
        )
    group.add_argument(
        "--pseudo",
        nargs="+",
        default=[],
        metavar="NAME",
        help="sources whose documents get made queries (keywords, and a question where they explain something)",
    )
    group.add_argument(
        "--drop-false-negatives",
        action="store_true",
        help="leave out negatives that the teacher scores above the positive",
    )
    group.add_argument(
        "--vectors", action="store_true", help="keep the teacher's vectors of all texts, for `train --layout split`"
    )
    group = parser.add_argument_group("collections")
    group.add_argument("--negatives", metavar="bm25|docpairs|RUN", help="where candidates come from")
    group.add_argument("--k", type=positive, default=30, metavar="K", help="candidates a query (default: %(default)s)")
    group.add_argument(
        "--rel", type=positive, metavar="K", help="lowest label of a positive (default: the collection's)"
    )
    group.add_argument("--max-queries", type=positive, metavar="N", help="queries a source, the first ones")
    group = parser.add_argument_group("teacher")
    group.add_argument("--query-prefix", metavar="TEXT", help='put before queries (E5: "query: ")')
    group.add_argument("--document-prefix", metavar="TEXT", help='put before documents (E5: "passage: ")')
    group.add_argument("--max-length", type=positive, metavar="N", help="tokens kept of a text (of a pair)")
    group.add_argument("--device", help="torch device (default: the best there is)")
    group.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16"))


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.training.data.groups import read_info
    from elasticranker.training.memory import keep_freed_memory
    from elasticranker.training.preparing import PrepareSettings, prepare_folder
    from elasticranker.training.teachers.several import open_teachers

    keep_freed_memory()
    settings = PrepareSettings(
        **{name: getattr(args, name) for name in NUMBERS},
        pseudo=tuple(args.pseudo),
        drop_false_negatives=args.drop_false_negatives,
        vectors=args.vectors,
    )
    chosen = ("query_prefix", "document_prefix", "max_length", "device", "dtype")
    with phase("loading the teacher"):
        teacher = open_teachers(args.teacher, args.teacher_weights, **{name: getattr(args, name) for name in chosen})
    reading = {name: getattr(args, name) for name in ("negatives", "k", "max_queries", "rel")}
    folder = prepare_folder(args.source, teacher, args.output, settings, **reading)
    for name, counts in read_info(folder)["sources"].items():
        print(f"{name}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
    print(f"prepared in {folder}")
