"""What a black-box model says to its inputs, and the energy of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from elasticranker.routing.energies import Energy, get_energy


@dataclass(frozen=True, eq=False)
class Outputs:
    """What a model says to a list of inputs. Arrays may be numpy's, torch's (on any device) or lists.

    Attributes:
        predictions: One an input, of any kind: class numbers, texts, ...
        logits: One an input: shape (classes,), or (steps, vocabulary) for an output that was generated step by step,
            where steps may differ from input to input. Super may leave them out.
    """

    predictions: Any
    logits: Any = None


Model: TypeAlias = Callable[[list[Any]], Outputs]


def output_energy(
    logits: Any, energy: str | Energy = "free", *, temperature: float = 1.0, named: str = "the input"
) -> float:
    """The energy of one output: of its logits, or the mean over its steps where there are many.

    Args:
        logits: Shape (classes,), or (steps, vocabulary).
        energy: A name of `elasticranker.routing.energies.ENERGIES` or a function of one list of logits.
        temperature: T of the energies that have one.
        named: What an error calls the input.

    Raises:
        ValueError: The logits have another shape, are NaN or infinite, or there is only one a step; or the energy isn't
            finite.

    Example:
        >>> output_energy([[0.0, 0.0], [0.0, math.log(3)]])  # the mean of -log 2 and -log 4
        -1.0397207708399179
    """
    values = as_array(logits)
    if values.ndim not in (1, 2) or 0 in values.shape[:-1]:
        shapes = "(classes,) or (steps, vocabulary), with at least one step"
        raise ValueError(f"swift gave {named} logits of shape {values.shape}: it must be {shapes}")
    if values.shape[-1] < 2:
        raise ValueError(
            f"swift gave {named} a single logit, as a regression head does: there is no energy without two classes"
        )
    if not np.isfinite(values.max(axis=-1)).all():  # minus infinity is fine for a class, if not for all of them
        raise ValueError(f"swift gave {named} NaN or infinite logits: mend the model, or leave the input out")
    energy_of = get_energy(energy, temperature)
    mean = float(np.mean([energy_of(step) for step in np.atleast_2d(values)]))
    if not math.isfinite(mean):
        raise ValueError(f"the energy {energy!r} of {named} is {mean}: an energy must be finite")
    return mean


def as_array(values: Any) -> npt.NDArray[np.float64]:
    """Numbers of numpy, torch or lists in double precision."""
    if hasattr(values, "detach"):  # a torch tensor, on whichever device and of whichever dtype
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)
