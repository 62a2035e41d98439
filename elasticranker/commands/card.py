"""Make a checkpoint's model card, with the tables of experiments.

The card says what the checkpoint holds, how it was trained and on what, what its ladder is, and what the experiments
named with --measured found. It is printed, or written to --output: the README.md of a checkpoint's folder is its place.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """examples:
  elasticranker card ./checkpoint
  elasticranker card ./checkpoint --measured results/dl19 results/dev --licence apache-2.0 \\
      --output ./checkpoint/README.md"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="folder of an elastic checkpoint, or default")
    parser.add_argument(
        "--measured", nargs="*", default=[], metavar="DIR", help="output folders of `elasticranker experiment`"
    )
    parser.add_argument(
        "--licence", metavar="NAME", help="of the weights, in the hub's words, such as apache-2.0; where they name none"
    )
    parser.add_argument("--output", metavar="FILE", help="where to write it (default: print it)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    folder = elastic_folder(args.model)
    name = Path(folder).name if Path(args.model).is_dir() else args.model
    card = card_of(folder, args.measured, name=name, licence=args.licence)
    if args.output is None:
        print(card, end="")
    else:
        write_card(card, args.output)
        print(f"wrote {args.output}")


def elastic_folder(model: str, revision: str | None = None) -> str:
    """The folder of an elastic checkpoint, which may be a snapshot in the hub's cache.

    Raises:
        ValueError: it is something else.
    """
    from elasticranker.model.checkpoint import is_elastic
    from elasticranker.model.hub import resolve

    if not is_elastic(model, revision):
        raise ValueError(f"{model}: only an elastic checkpoint has a ladder and a card of ours")
    return resolve(model, revision)


def card_of(folder: str | Path, measured: Sequence[str] = (), *, name: str, licence: str | None = None) -> str:
    """The card of the checkpoint in `folder`, called `name`."""
    from elasticranker.evaluation.measurement import Measurement
    from elasticranker.model.card import model_card
    from elasticranker.model.checkpoint import load

    sections = [Measurement.read(path).section() for path in measured]
    return model_card(load(folder), name=name, measured=sections, licence=licence)


def write_card(card: str, path: str | Path) -> None:
    """Write a card, whole or not at all."""
    from elasticranker.files import atomic_write

    with atomic_write(path) as file:
        file.write(card.encode())
