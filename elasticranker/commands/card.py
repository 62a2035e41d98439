"""Write a checkpoint's model card, with the tables of experiments.

The card says what the checkpoint holds, how it was trained and on what, what its ladder is, and what the experiments
named with --measured found. It is the README.md of the checkpoint's folder.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

EXAMPLES = """examples:
  elasticranker card ./checkpoint --measured results/dl19 results/dev"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("model", help="folder of an elastic checkpoint, or default")
    parser.add_argument(
        "--measured", nargs="*", default=[], metavar="DIR", help="output folders of `elasticranker experiment`"
    )


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    print(f"written: {write_card(elastic_folder(args.model), args.measured)}")


def elastic_folder(model: str) -> str:
    """The folder of an elastic checkpoint that may be written in, which a snapshot in the hub's cache may not.

    Raises:
        ValueError: it is something else.
    """
    from elasticranker.model.checkpoint import is_elastic
    from elasticranker.model.hub import resolve

    if model != "default" and not Path(model).is_dir():
        raise ValueError(
            f"{model}: there is no such folder; get one with ElasticRanker({model!r}).save_pretrained(...)"
        )
    if not is_elastic(model):
        raise ValueError(f"{model}: only an elastic checkpoint has a ladder and a card of ours")
    return resolve(model)


def write_card(folder: str, measured: Sequence[str] = ()) -> Path:
    """Write the card of the checkpoint in `folder` and return its path."""
    from elasticranker.evaluation.measurement import Measurement
    from elasticranker.files import atomic_write
    from elasticranker.model.card import model_card
    from elasticranker.model.checkpoint import load

    place = Path(folder)
    card = model_card(load(folder), name=place.name, measured=[Measurement.read(path).section() for path in measured])
    with atomic_write(place / "README.md") as file:
        file.write(card.encode())
    return place / "README.md"
