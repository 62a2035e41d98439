"""Before training: the exits of an encoder in split layout start where least squares puts them.

What an exit's readout adds to the states that it reads is linear, or nearly so: a projection of their means into the
space of the teacher's vectors, and the weights of cosine and MaxSim. Both have a solution in closed form, which takes
one pass over a few thousand pairs; gradient steps would need many times that, and would teach the layers to serve
readouts that aren't there yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor

from elasticranker.model.encoder import Encoder, Weights, padding_mask
from elasticranker.model.readout import SplitReadout, means
from elasticranker.training.data.batches import StepData
from elasticranker.training.trainer.step import means_alone

RIDGE = 1e-3  # share of the mean variance that is added to each direction's


class _States(NamedTuple):
    """What an exit reads of one step."""

    means: Tensor  # [G * C, 2, H]
    matched: Tensor  # [G * C]


@torch.no_grad()
def fit_exits(
    encoder: Encoder, samples: Iterable[StepData], temperature: float, *, weighed: Collection[int] = ()
) -> None:
    """Set every exit's projection, and its weights of cosine and MaxSim, by least squares.

    Args:
        encoder: in split layout; changed in place.
        samples: steps' worth of data with the teacher's vectors, on the encoder's device.
        temperature: of the teacher's scores: over it, they are what the exits' scores shall be, list by list.
        weighed: depths whose exits' weights stay as they are.
    """
    steps: list[StepData] = []
    read: list[list[_States]] = []  # step, exit
    lone: list[tuple[Tensor, Tensor]] = []  # means `[exits, B, H]` and vectors `[B, H]` of texts read alone
    weights = encoder.weights(1.0, torch.float32)
    for data in samples:
        if any(batch.vectors is None for batch in data.full):
            return
        steps.append(data)
        read.append(_states(encoder, data, weights))
        for batch in data.alone:
            lone.append((torch.stack(list(means_alone(encoder, batch, weights, encoder.depths))), batch.vectors))
    vectors = [_vectors(data) for data in steps]
    for index, depth in enumerate(encoder.depths):
        readout = cast(SplitReadout, encoder.exits[str(depth)])
        if readout.projected:
            texts = [
                (part[index].means[data.mask.flatten()], there)
                for data, part, there in zip(steps, read, vectors, strict=True)
            ]
            readout.projection.copy_(
                projection_by_least_squares([*texts, *((mean[index], there) for mean, there in lone)])
            )
        if depth in weighed:
            continue
        _weigh(readout, [(data, part[index]) for data, part in zip(steps, read, strict=True)], temperature)


def _states(encoder: Encoder, data: StepData, weights: Sequence[Weights]) -> list[_States]:
    places, hidden_size = data.mask.numel(), encoder.shape.hidden
    device = data.mask.device
    result = [
        _States(torch.zeros(places, 2, hidden_size, device=device), torch.zeros(places, device=device))
        for _ in encoder.depths
    ]
    for batch, positions, _ in data.full:
        start = encoder.embeddings(batch.ids, batch.types, torch.float32, batch.first)
        padding = padding_mask(batch.blank, torch.float32)
        walk = encoder.at_depths(start, weights, encoder.depths, padding, batch.first)
        for states, (depth, hidden) in zip(result, walk, strict=True):
            states.means[positions] = means(hidden, cast(Tensor, batch.segments.texts))
            states.matched[positions] = cast(SplitReadout, encoder.exits[str(depth)]).matched(hidden, batch.segments)
    return result


def _vectors(data: StepData) -> Tensor:
    """The teacher's vectors `[P, 2, H]` of the pairs of a step, in the order of their places."""
    positions = torch.cat([batch.positions for batch in data.full])
    return torch.cat([cast(Tensor, batch.vectors) for batch in data.full])[positions.argsort()]


def projection_by_least_squares(texts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """`P` `[H, H]` that minimises the squared distance of `P x` to the vector there is of each text."""
    states = torch.cat([mean.flatten(0, -2) for mean, _ in texts]).double()
    targets = torch.cat([there.flatten(0, -2) for _, there in texts]).double()
    spread = states.T @ states
    spread += RIDGE * spread.diagonal().mean() * torch.eye(len(spread), dtype=spread.dtype, device=spread.device)
    return torch.linalg.solve(spread, states.T @ targets).T.float()


def rotation_by_variance(vectors: Sequence[Tensor]) -> Tensor:
    """The rotation `[H, H]` after which leading dimensions hold as much of some vectors as so many can.

    Cosines stay as they are, and those of the first dimensions alone come as close to them as those of any linear cut
    (principal components, without subtracting the mean, which cosines don't know of).

    Args:
        vectors: kinds of unit vectors `[N, H]`, each kind of equal weight.
    """
    spread = sum(kind.double().T @ kind.double() / len(kind) for kind in vectors)
    _, directions = torch.linalg.eigh(cast(Tensor, spread))  # from the least variance to the most
    rotation = directions.flip(1).T
    largest = rotation.gather(1, rotation.abs().argmax(1, keepdim=True))
    return (rotation * largest.sign()).float()  # eigenvectors have no sign of their own


def _weigh(readout: SplitReadout, parts: list[tuple[StepData, _States]], temperature: float) -> None:
    """Weights of MaxSim and cosine by which an exit's scores come closest to the teacher's, list by list."""
    terms, targets = [], []
    for data, states in parts:
        unit = readout.project(states.means.nan_to_num())
        cosine = readout.COSINE * (unit[:, 0] * unit[:, 1]).sum(-1)
        made = torch.stack([readout.SCALE * states.matched, cosine], -1).view(*data.mask.shape, 2)
        terms.append(_centred(made, data.mask))
        targets.append(_centred((data.teacher / temperature)[..., None], data.mask))
    both, target = torch.cat(terms), torch.cat(targets)
    best = torch.linalg.lstsq(both, target).solution[:, 0]
    if (best <= 0).any():  # one of the two tells nothing beside the other
        alone = (both * target).sum(0) / (both**2).sum(0)
        best = torch.where(best == best.max(), alone, torch.zeros_like(best))
    readout.scale.fill_(float(best[0]))
    readout.cosine.fill_(float(best[1]))


def _centred(values: Tensor, mask: Tensor) -> Tensor:
    """Values `[P, K]` of the candidates there are, less the mean over their list."""
    counted = values * mask[..., None]
    mean = counted.sum(1, keepdim=True) / mask.sum(1).clamp_min(1)[:, None, None]
    return (values - mean)[mask]
