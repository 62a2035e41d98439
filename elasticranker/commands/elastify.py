"""Make any cross-encoder elastic: one command from a model and documents to a checkpoint with exits, ladder and card.

The model is its own teacher. Candidates of queries (the collection's, or ones made of its documents) are scored by the
model itself; exits after every layer and narrower widths learn from these scores, while the full model is held to what
it was; a ladder and a calibration are fitted on queries that training did not see. What it will do is printed first,
with how long it takes on this machine. It may be killed at any moment: the same command goes on where it was, with what
OUTPUT.work keeps.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from elasticranker.commands.arguments import positive
from elasticranker.commands.resuming import again
from elasticranker.progress import phase

if TYPE_CHECKING:
    from elasticranker.training.elastifying.settings import ElastifySettings

RESUME = again("every finished phase is kept, and the state of the one at hand")
EXAMPLES = """examples:
  elasticranker elastify ./my-cross-encoder --collection ./my-docs --output my-elastic
  elasticranker elastify cross-encoder/ms-marco-MiniLM-L6-v2 --collection irds:msmarco-passage/train \\
      --queries 50000 --output my-elastic

the full model left exactly as it is, in minutes:
  elasticranker elastify ./my-cross-encoder --collection ./my-docs --keep-full exact --output my-elastic

my-docs needs a corpus.tsv alone (docno, tab, text); queries.tsv and qrels.txt are used where they are there."""
SETTINGS = {  # of the training run: type, metavar and help
    "steps": (int, "N", "optimiser steps (default: 2000; exact: 500)"),
    "learning_rate": (float, "N", "peak, of the layers (default: 5e-5); readouts have 20 times as much"),
    "groups_per_step": (int, "N", "queries a step (default: 16)"),
    "group_size": (int, "N", "candidates a query a step (default: 8)"),
    "max_length": (int, "N", "most tokens of a pair in training (default: 256, or what the model reads)"),
    "align_full": (float, "W", "weight of aligning the state that the full model's head reads (default: 10)"),
    "seed": (int, "N", "of every draw in training (default: 0)"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="cross-encoder: Hugging Face id or folder")
    parser.add_argument(
        "--collection",
        required=True,
        metavar="C",
        help="documents, with or without queries: irds:<id>, a folder, or a folder of training data as `elasticranker "
        "prepare` takes it",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the elastic checkpoint, a new one")
    parser.add_argument("--corpus", metavar="FILE", help="corpus.tsv[.gz], where the folder has none")
    parser.add_argument(
        "--keep-full",
        choices=("close", "exact"),
        default="close",
        help="close: train all, hold the full model to its own scores and states; exact: train shallower readouts "
        "alone, without narrower widths (default: %(default)s)",
    )
    group = parser.add_argument_group("data")
    group.add_argument(
        "--candidates", default="bm25", metavar="bm25|RUN", help="what a first stage finds (default: %(default)s)"
    )
    group.add_argument(
        "--queries",
        type=positive,
        default=10_000,
        metavar="N",
        help="to train on; with bm25, those that the collection lacks are made of its documents (default: %(default)s)",
    )
    group.add_argument(
        "--tuning-queries",
        type=positive,
        default=150,
        metavar="N",
        help="kept from training, for ladder, calibration and card; judged ones first (default: %(default)s)",
    )
    group.add_argument(
        "--k", type=positive, default=100, metavar="K", help="candidates that the ladder is tuned for (default: 100)"
    )
    group.add_argument(
        "--trials", type=positive, default=240, metavar="N", help="plans tried a budget (default: %(default)s)"
    )
    group.add_argument("--rel", type=positive, metavar="K", help="lowest relevant label (default: the collection's)")
    group = parser.add_argument_group("training")
    for name, (kind, metavar, text) in SETTINGS.items():
        group.add_argument(
            f"--{name.replace('_', '-')}", type=kind, metavar=metavar, default=argparse.SUPPRESS, help=text
        )
    group.add_argument(
        "--widths",
        type=float,
        nargs="+",
        metavar="N",
        default=argparse.SUPPRESS,
        help="widths of the checkpoint, 1 included (default: 1 0.75 0.5 0.25; exact: 1)",
    )
    group.add_argument(
        "--save-every", type=float, default=300.0, metavar="S", help="seconds between saved states (default: 300)"
    )
    group.add_argument("--dtype", choices=("auto", "float32", "bfloat16"), default="auto", help="(default: auto)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.training.memory import keep_freed_memory

    keep_freed_memory()
    with phase("loading libraries"):
        from elasticranker.training.elastifying import elastify

    output = elastify(
        args.model,
        args.collection,
        args.output,
        corpus=args.corpus,
        settings=elastify_settings(args),
        save_every=args.save_every,
        announce=lambda text: print(text, flush=True),
    )
    print(f"wrote {output}, whose README.md says how far the full model moved. What is left in {output}.work may go.\n")
    print(f'ElasticRanker("{output}", budget="25%")')
    print(f'ElasticRanker("{output}").push_to_hub("you/{output.name}")')


def elastify_settings(args: argparse.Namespace) -> ElastifySettings:
    """The settings that were given."""
    from elasticranker.training.elastifying.settings import ElastifySettings

    given: dict[str, Any] = {name: getattr(args, name) for name in (*SETTINGS, "widths") if name in args}
    names = ("keep_full", "candidates", "queries", "tuning_queries", "k", "rel", "trials", "dtype")
    return ElastifySettings(**{name: getattr(args, name) for name in names}, training=given)
