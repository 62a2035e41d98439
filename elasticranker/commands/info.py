"""Show what a checkpoint holds and what this machine gives.

Sub-networks, readouts, parameters, ladder and provenance of the checkpoint; processor, threads, device and the dtype
that `auto` chooses here.
"""

from __future__ import annotations

import argparse
import textwrap
from typing import Any

WIDTH = 120  # of a line
EXAMPLES = """examples:
  elasticranker info
  elasticranker info default-dense
  elasticranker info ./my-checkpoint
  elasticranker info cross-encoder/ms-marco-MiniLM-L-6-v2"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "model",
        nargs="?",
        default="default",
        help="shipped checkpoint, folder or Hugging Face id (default: %(default)s)",
    )
    parser.add_argument("--revision", metavar="NAME", help="branch, tag or commit of a Hugging Face id (default: main)")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from elasticranker.model.card import contents
    from elasticranker.model.checkpoint import fingerprint, is_elastic, load
    from elasticranker.model.hub import resolve
    from elasticranker.planning.reach import TYPICAL, reach_in_words
    from elasticranker.planning.words import percent

    place = resolve(args.model, args.revision)
    checkpoint = load(place)
    kind = "elastic" if is_elastic(place) else "ordinary Hugging Face cross-encoder"
    if checkpoint.dense.order:
        kind = "elastic bi-encoder, for ElasticDenser"
    lines = {"model": f"{args.model} ({kind})", "place": place, "fingerprint": fingerprint(place)}
    _print(lines | contents(checkpoint) | machine())
    ladders = ({"bm25": checkpoint.ladder} if checkpoint.ladder else {}) | checkpoint.ladders
    if not ladders and not checkpoint.dense.order:  # a checkpoint of chosen layers scores no pairs
        ladders = {"any first stage (untuned)": checkpoint.plans()}
    for name, ladder in ladders.items():
        print(f"\nladder for candidates of {name}, plans as depth[@width]:share of the budget")
        print(ladder)
        print(f"\nin words, {TYPICAL}")
        rungs = ladder.rungs
        _print({f"  {percent(r.share)}": reach_in_words(r.plan, checkpoint.cost, r.share) for r in rungs})
    if checkpoint.provenance:
        print("\nprovenance")
        _print({f"  {name}": _short(value) for name, value in checkpoint.provenance.items()})


def machine() -> dict[str, Any]:
    """What this machine gives, and what `device` and `dtype` will be if they aren't named."""
    from elasticranker.evaluation.manifest import machine as measured
    from elasticranker.model.loaded import choose_device, choose_dtype, dtype_name

    here = measured()
    device = choose_device(None)
    return {
        "processor": f"{here['processor']}, {here['cores']} cores, {here['threads']} threads",
        "device": str(device),
        "dtype": f"auto is {dtype_name(choose_dtype('auto', device))} here",
    }


def _short(value: Any) -> Any:
    """Long lists by their length: the keys of hundreds of queries help nobody who reads."""
    if isinstance(value, dict):
        return {name: _short(entry) for name, entry in value.items()}
    return f"{len(value)} of them" if isinstance(value, list) and len(value) > 20 else value


def _print(values: dict[str, Any]) -> None:
    """A line a value; what is long is folded under its own beginning."""
    width = max(map(len, values)) + 2
    fold = textwrap.TextWrapper(WIDTH - width, break_long_words=False, break_on_hyphens=False)
    for name, value in values.items():
        print(f"{name:{width}}" + f"\n{'':{width}}".join(fold.wrap(str(value))))
