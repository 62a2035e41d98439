"""Arguments that several commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elasticranker.ranker import ElasticRanker


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """`--model` and what goes with it; `make_ranker` reads them."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", default="default", help="shipped checkpoint, folder or Hugging Face id (default: %(default)s)"
    )
    group.add_argument("--max-length", type=positive, metavar="N", help="most tokens of a pair; the document is cut")
    group.add_argument("--batch-size", type=positive, metavar="N", help="tokens in a batch")
    group.add_argument("--device", help="torch device, such as cpu or cuda (default: the best there is)")
    group.add_argument("--dtype", default="auto", help="auto, float32 or bfloat16 (default: %(default)s)")


def make_ranker(args: argparse.Namespace, *, budget: str = "full", trace: bool = False) -> ElasticRanker:
    """The ranker that the arguments of `add_model_arguments` describe."""
    from elasticranker.ranker import ElasticRanker

    chosen = {name: getattr(args, name) for name in ("max_length", "batch_size", "device")}
    given = {name: value for name, value in chosen.items() if value is not None}
    return ElasticRanker(args.model, budget=budget, dtype=args.dtype, trace=trace, **given)


def positive(text: str) -> int:
    """A whole number from 1, for argparse."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def shard(text: str) -> tuple[int, int]:
    """The argument "2/8" as (2, 8), for argparse."""
    number, slash, shards = text.partition("/")
    if not slash or not 1 <= positive(number) <= positive(shards):
        raise argparse.ArgumentTypeError(f"{text!r}: give i/N, such as 2/8, with i from 1 to N")
    return int(number), int(shards)
