"""The start: a cross-encoder as it is, with untrained readouts after every layer but the last, which keeps its head."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from elasticranker.model.checkpoint import Checkpoint, is_elastic, load
from elasticranker.model.readout import ClsReadout, InteractionReadout
from elasticranker.training.origin import place_name


def with_exits(model: str | Path, widths: tuple[float, ...]) -> Checkpoint:
    """An elastic checkpoint whose full model is a cross-encoder, tensor by tensor.

    Args:
        model: Hugging Face id or folder of a cross-encoder.
        widths: that it will be trained at.

    Raises:
        ValueError: it is elastic already, has no head, or isn't supported.
    """
    if is_elastic(model):
        raise ValueError(
            f"{model} is elastic already: name an ordinary cross-encoder, or go on training it with `elasticranker "
            "train --backbone`"
        )
    loaded = load(model)
    encoder, shape = loaded.encoder, loaded.encoder.shape
    head = encoder.exits[str(shape.layers)]
    if not isinstance(head, ClsReadout):
        raise ValueError(
            f"{model} has a {head.kind} head, and only a head on one state can be kept: name another model"
        )
    exits: dict[str, nn.Module] = {str(depth): InteractionReadout(shape.hidden) for depth in range(shape.layers)}
    encoder.exits = nn.ModuleDict(exits | {str(shape.layers): head})
    return Checkpoint(
        encoder,
        loaded.tokenizer,
        loaded.config,
        widths,
        provenance={"backbone": place_name(model)},
        max_length=loaded.max_length,
        prompt=loaded.prompt,
    )
