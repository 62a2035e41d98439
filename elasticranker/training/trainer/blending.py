"""A head start for split layout: lower layers of a checkpoint that was trained in joint layout from the same backbone.

What layers learned for shallow exits they go on doing where they find what they know: documents' positions behind the
query's (`document_start`), and attention between the two texts, which is open where a layer is the checkpoint's. The
backbone's own upper layers are what makes the full model its teacher, so that a layer's weights go from the
checkpoint's, in the first layers (a third of them, where nothing else is asked), evenly to the backbone's in the last
one, and attention closes likewise. Both lie in one basin (Wortsman et al. 2022, *Model soups*): a mean of the two works
as they do, and a training joins the rest. Exits below full depth begin with the checkpoint's own readouts.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from elasticranker.model.encoder import Encoder
from elasticranker.model.families.bert import Layer
from elasticranker.model.readout import InteractionReadout, SplitReadout

SAME = 0.6  # least mean cosine of matched units: other backbones' have none


@torch.no_grad()
def blend(encoder: Encoder, trained: Encoder, whole: int = 0) -> set[int]:
    """Give an encoder the lower layers, readouts and order of heads and neurons of a trained one.

    Args:
        encoder: as its backbone is, in split layout; changed in place.
        trained: an encoder in joint layout that was trained from the same backbone; its heads and neurons may have
            another order, which is found and taken over.
        whole: layers, from the first, that are the trained one's (0: a third of them).

    Returns:
        Depths of the exits that have its readouts.

    Raises:
        ValueError: the trained one has another shape or layout, comes from another backbone, or would give all layers.
    """
    ours, theirs = encoder.shape, trained.shape
    sizes = ("family", "vocabulary", "positions", "layers", "hidden", "heads", "head_size", "neurons", "embedding")
    if other := [name for name in sizes if getattr(ours, name) != getattr(theirs, name)]:
        raise ValueError(
            f"lower: the checkpoint has other {', '.join(other)} than the backbone: name one that was trained from it"
        )
    if theirs.split:
        raise ValueError(
            "lower: the checkpoint is in split layout already: go on from it as the backbone (--backbone), or name one "
            "in joint layout"
        )
    if whole >= ours.layers:
        raise ValueError(
            f"lower_layers={whole}: the backbone has {ours.layers} layers, of which the last one at least stays its own"
        )
    for index in range(ours.distinct):  # none but BERT's can be in split layout
        share = share_of(index, ours.distinct, whole)
        _blend(cast(Layer, encoder.layers[index]), cast(Layer, trained.layers[index]), share)
    for own, found in zip(encoder.embeddings.parameters(), trained.embeddings.parameters(), strict=True):
        own.copy_(found)
    taken = set()
    for depth in set(encoder.exits) & set(trained.exits) - {str(ours.layers)}:
        readout, known = encoder.exits[depth], trained.exits[depth]
        if isinstance(readout, SplitReadout) and isinstance(known, InteractionReadout):
            readout.cosine.zero_()
            for name, value in known.named_parameters():
                getattr(readout, name).copy_(value)
            taken.add(int(depth))
    return taken


def share_of(index: int, layers: int, whole: int = 0) -> float:
    """The trained one's share of layer `index` (from 0): 1 in the first `whole`, then evenly down to 0 in the last.

    Without `whole` it is a third of the layers.

    Example:
        >>> [share_of(index, 6) for index in range(6)]
        [1.0, 1.0, 0.75, 0.5, 0.25, 0.0]
        >>> [share_of(index, 6, whole=4) for index in range(6)]
        [1.0, 1.0, 1.0, 1.0, 0.5, 0.0]
    """
    return min(1.0, (layers - 1 - index) / max(1, layers - (whole or layers // 3)))


def _blend(own: Layer, found: Layer, share: float) -> None:
    heads = _matched(own.qkv.transpose(0, 1), found.qkv.transpose(0, 1))
    neurons = _matched(torch.cat([own.up, own.down.T], 1), torch.cat([found.up, found.down.T], 1))
    order = {"qkv": (1, heads), "qkv_bias": (1, heads), "out": (1, heads)}
    order |= {"up": (0, neurons), "up_bias": (0, neurons), "down": (1, neurons)}
    if hasattr(own, "cross"):
        own.cross.copy_(own.cross[heads] * (1 - share))
    for name, parameter in own.named_parameters():
        if name == "cross":
            continue
        ordered = parameter.index_select(*order[name]) if name in order else parameter
        parameter.copy_(torch.lerp(ordered, getattr(found, name), share))


def _matched(own: Tensor, found: Tensor) -> Tensor:
    """`[n]` for each of the trained one's units, which of the backbone's it was; by the cosine of their weights."""
    cosines = F.normalize(found.flatten(1), dim=1) @ F.normalize(own.flatten(1), dim=1).T
    nearest, which = cosines.max(1)
    if len(which.unique()) < len(which) or float(nearest.mean()) < SAME:
        raise ValueError(
            "lower: heads and neurons of the checkpoint aren't those of the backbone: name one that was trained from it"
        )
    return which
