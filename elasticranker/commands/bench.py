"""Moved: `python -m experiments.peers`, from a clone."""

from __future__ import annotations

import argparse

EXAMPLES = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Take whatever the command took."""
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> None:
    """Say where it went."""
    raise ValueError(
        "`elasticranker bench` compares with other libraries, which is a study, not a part of the package: run "
        "`python -m experiments.peers` with the same arguments, from a clone of the project"
    )
