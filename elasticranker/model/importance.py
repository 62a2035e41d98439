"""Reordering heads and neurons by importance, so that a narrow sub-network keeps what matters.

First-order importance: the mean over a sample of `|dLoss/dgate|`, with a gate of 1 on every head's and neuron's output
(Michel et al. 2019; Molchanov et al. 2017; the way DynaBERT, Hou et al. 2020, makes width adaptive). Reordering
permutes heads and neurons inside a layer, so the whole model computes the same function as before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from elasticranker.model.encoder import Encoder, Group, padding_mask
from elasticranker.model.pairs import Batch


class Importance:
    """Accumulated importance: `heads` `[layers, h]` and `neurons` `[layers, f]`."""

    def __init__(self, encoder: Encoder) -> None:
        shape, device = encoder.shape, next(encoder.parameters()).device
        self.heads = torch.zeros(shape.layers, shape.heads, device=device)
        self.neurons = torch.zeros(shape.layers, shape.neurons, device=device)


def measure_importance(
    encoder: Encoder,
    samples: Iterable[tuple[list[Batch], Callable[[list[dict[int, Tensor]]], Tensor]]],
    dtype: torch.dtype = torch.float32,
) -> Importance:
    """Importance of every head and neuron.

    Args:
        encoder: the encoder at full width.
        samples: each some batches and a function from their exits' scores (a dict depth -> `[B]` a batch) to the loss.
        dtype: of the computation.
    """
    importance = Importance(encoder)
    weights = [layer.map(Tensor.detach) for layer in encoder.weights(1.0, dtype)]
    for batches, loss in samples:
        head_gates = torch.ones_like(importance.heads, dtype=dtype).requires_grad_()
        neuron_gates = torch.ones_like(importance.neurons, dtype=dtype).requires_grad_()
        scores = []
        for batch in batches:
            hidden = encoder.embeddings(batch.ids, batch.types, dtype, batch.first).detach()
            padding = padding_mask(batch.blank, dtype)
            read = {0: encoder.read(hidden, 0, batch.segments)} if 0 in encoder.depths else {}
            for index, layer in enumerate(weights):
                after = layer.run(
                    hidden.flatten(0, 1),
                    [Group(hidden.shape[0], hidden.shape[1], padding, batch.first)],
                    encoder.shape,
                    head_gate=head_gates[index],
                    neuron_gate=neuron_gates[index],
                )
                hidden = after.view_as(hidden)
                if index + 1 in encoder.depths:
                    read[index + 1] = encoder.read(hidden, index + 1, batch.segments)
            scores.append(read)
        gradients = torch.autograd.grad(loss(scores), [head_gates, neuron_gates])
        importance.heads += gradients[0].abs().float()
        importance.neurons += gradients[1].abs().float()
    return importance


@torch.no_grad()
def reorder(encoder: Encoder, importance: Importance) -> None:
    """Put the most important heads and neurons of every layer first (in place; the function stays the same)."""
    shape = encoder.shape
    for which in range(shape.distinct):
        places = [index for index in range(shape.layers) if shape.own(index) == which]
        heads, neurons = importance.heads[places].sum(0), importance.neurons[places].sum(0)
        encoder.layer(places[0]).reorder(*(x.argsort(descending=True, stable=True) for x in (heads, neurons)))
