"""Arguments of `train` for the settings of a run, made from `TrainingSettings`, whose defaults they show."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from typing import Any

from elasticranker.training.settings import LAYOUTS, LOSSES, QUERY_LAYERS, SAMPLINGS, TrainingSettings

HELP = {  # in the order of --help
    "steps": "optimiser steps",
    "groups_per_step": "queries a step, over all processes",
    "group_size": "candidates a query a step (texts a step when aligning: the two multiplied)",
    "learning_rate": "peak; rises for --warmup steps, then falls linearly to a twentieth",
    "warmup": "steps until the peak",
    "readout_rate": "factor on the learning rate of readouts, which start untrained",
    "weight_decay": "of matrices",
    "clip": "most norm of the gradient",
    "average": "decay of the running average of the weights, which is what is kept",
    "max_length": "most tokens of a pair (of a text when aligning)",
    "max_query_length": "most tokens of a query",
    "layout": "query and document as one text (joint), or each as the backbone reads it as a bi-encoder (split)",
    "prefixes": "split: put before queries and documents, such as 'query: ' 'passage: '",
    "document_start": "split: first position of documents, as behind a query; 16 with --lower",
    "lower_layers": "split: layers, from the first, that --lower gives whole; 0: a third of them",
    "first_cross": "split: first layer, from 0, in which the two texts of a pair see each other",
    "fit_steps": "split: steps' worth of data by which least squares fits the exits before training (0: not at all)",
    "lone_queries": "split: queries a step that are read alone, for a dense retriever's query encoder",
    "lone_documents": "split: documents a step that are read alone, likewise",
    "align_full": "split: weight of aligning the full model's vectors to the teacher's",
    "align_exits": "split: weight of the same at the other exits",
    "cross_rate": "split: factor on the learning rate of the biases on attention between texts",
    "deep_rate": "factor on the learning rate of the last layer, changing evenly from the first, which has 1",
    "shallow": "share of the steps that run, and teach, the first --shallow-layers alone",
    "shallow_layers": "see --shallow (default: half of the layers)",
    "depths": "depths that get an exit, besides the whole model (default: all; when aligning: every quarter)",
    "widths": "widths of the checkpoint, 1 included",
    "sampling": "narrower widths a step: the smallest and a random one (sandwich), a random one, all, or none",
    "narrow_share": "share of a step that narrower widths see",
    "narrow_weight": "weight of their loss",
    "losses": f"weights of losses: {', '.join(LOSSES)}",
    "temperature": "of the teacher's scores (default: half of their usual spread within a query)",
    "bonus": "what a judged positive is worth beyond the teacher's score, in its units (default: the temperature)",
    "self_distillation": "share of imitating the full model in the loss of every smaller sub-network",
    "exit_weights": "weights of exits by depth, such as 0=0.5 1=2 (1 where not named)",
    "full_weight": "factor on the weight of the deepest exit",
    "source_weights": "factors on how often sources are drawn, such as boolq=0.5 (1 where not named)",
    "importance_steps": "steps' worth of data on which the importance of heads and neurons is measured",
    "relation_heads": "aligning: heads that relations are compared by",
    "teacher_layer": "aligning: the teacher's layer that is imitated, 0 for its last",
    "query_layers": "dense: a sub-network has the first layers, or those chosen before training that vectors need most",
    "query_rank": "dense: train corrections of such a rank of every query encoder alone; 0 for none",
    "document_share": "dense: share of a step's texts that are documents",
    "dims": "dense: leading dimensions that vectors may be cut to, such as 192 96, for smaller indexes",
    "seed": "of every draw",
}
CHOICES = {"sampling": SAMPLINGS, "layout": LAYOUTS, "query_layers": QUERY_LAYERS}


def add_training_settings(parser: argparse.ArgumentParser) -> None:
    """An argument for every setting; `training_settings` reads them."""
    group = parser.add_argument_group("settings, which stay as they are for the whole run")
    defaults = TrainingSettings()
    for name, text in HELP.items():
        default = getattr(defaults, name)
        shown = text if "(default" in text or not _text(default) else f"{text} (default: {_text(default)})"
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "help": shown.replace("%", "%%")}
        if isinstance(default, dict):
            options |= {"nargs": "+", "metavar": "NAME=WEIGHT", "type": _weight_of(int if name[:4] == "exit" else str)}
        elif isinstance(default, tuple):
            options |= {"nargs": "+", "metavar": "N", "type": int if name in ("depths", "dims") else float}
            if name == "prefixes":
                options |= {"nargs": 2, "metavar": ("QUERY", "DOCUMENT"), "type": str}
        elif name in CHOICES:
            options |= {"choices": CHOICES[name]}
        else:
            options |= {"metavar": "N", "type": type(default)}
        group.add_argument(f"--{name.replace('_', '-')}", **options)
    group.add_argument(
        "--train-tokens",
        dest="freeze_tokens",
        action="store_false",
        default=argparse.SUPPRESS,
        help="train the token embeddings too, which are left as they are otherwise",
    )


def training_settings(args: argparse.Namespace, **defaults: Any) -> TrainingSettings:
    """The settings that were given; `defaults` for some of those that weren't."""
    names = {field.name for field in dataclasses.fields(TrainingSettings)}
    given = {name: value for name, value in vars(args).items() if name in names}
    for name in ("losses", "exit_weights", "source_weights"):
        if name in given:
            given[name] = dict(given[name])
    return TrainingSettings(**(defaults | given))


def _text(default: Any) -> str:
    """A default as one would type it."""
    if isinstance(default, dict):
        return " ".join(f"{name}={weight:g}" for name, weight in default.items())
    if isinstance(default, tuple):
        return " ".join(f"{value:g}" for value in default if value != "")
    return f"{default:g}" if isinstance(default, float) else str(default)


def _weight_of(kind: Callable[[str], Any]) -> Callable[[str], tuple[Any, float]]:
    """Reads "name=0.5" as ("name", 0.5), for argparse."""

    def read(text: str) -> tuple[Any, float]:
        name, _, weight = text.rpartition("=")
        try:
            return kind(name), float(weight)
        except ValueError:
            what = "DEPTH=WEIGHT, such as 3=0.5" if kind is int else "NAME=WEIGHT, such as kl=1"
            raise argparse.ArgumentTypeError(f"{text!r}: give {what}") from None

    return read
