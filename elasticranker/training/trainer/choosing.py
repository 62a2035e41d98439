"""Before the dense stage: which layers a query encoder needs most.

A text that is read alone hands its states on to nobody, so that a shallow encoder may have any layers. Which ones can
be told without training: how near the means of states come to the teacher's vectors, once least squares has projected
them, ranks sets of layers as training them does (`experiments/TRAINING.md`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from elasticranker.model.encoder import Encoder, Weights
from elasticranker.model.readout import means
from elasticranker.progress import bar
from elasticranker.training.data.dense_texts import VectorBatch
from elasticranker.training.trainer.dense_step import states_before
from elasticranker.training.trainer.fitting import projection_by_least_squares

_Made = list[tuple[Tensor, Tensor]]  # by batch: means of states `[B, H]`, and the vectors they should get


@torch.no_grad()
def choose_layers(encoder: Encoder, batches: Sequence[VectorBatch], dtype: torch.dtype) -> tuple[int, ...]:
    """All layers (from 0), the one first that a sub-network of one layer should have, then the one to add, and so on.

    From all of them that one is taken out, time and again, without which texts' vectors are nearest to the teacher's.

    Args:
        encoder: untrained, or trained for all of its layers.
        batches: two or more, on the encoder's device; projections are fitted on every other one, and rated on the rest.
        dtype: of weights and activations.

    Example:
        >>> choose_layers(encoder, sampler.step(0).full, torch.float32)  # doctest: +SKIP
        (0, 9, 10, 11, 3, 1, 8, 2, 6, 4, 7, 5)
    """
    weights = encoder.weights(1.0, dtype)
    kept, given_up = list(range(len(weights))), list[int]()
    with bar(name="choosing layers", total=len(weights) - 1, unit="layers") as moving:
        while len(kept) > 1:
            nearness = [_nearness(made) for made in _without_each(encoder, weights, kept, batches, dtype)]
            given_up.append(kept.pop(nearness.index(max(nearness))))
            moving.update()
    return (*kept, *reversed(given_up))


def _without_each(
    encoder: Encoder, weights: Sequence[Weights], kept: list[int], batches: Sequence[VectorBatch], dtype: torch.dtype
) -> list[_Made]:
    """What becomes of the texts without the first, the second, ... of the layers that are still kept."""
    made: list[_Made] = [[] for _ in kept]
    for batch in batches:
        states, padding, own = states_before(encoder, batch, dtype)
        for place, layer in enumerate(kept):
            rest = encoder.run_layers(states, [weights[index] for index in kept[place + 1 :]], padding)
            made[place].append((means(rest, own)[:, 0], batch.targets))
            states = encoder.run_layers(states, [weights[layer]], padding)
    return made


def _nearness(made: _Made) -> float:
    """Mean cosine, in every other batch, of projected means to the vectors there should be."""
    projection = projection_by_least_squares(made[::2])
    cosines = [F.cosine_similarity(F.linear(mean, projection), there) for mean, there in made[1::2]]
    return float(torch.cat(cosines).mean())
