"""E-LANG over any two models: Swift answers every input, Super those that Swift isn't to be trusted with.

After Akbari, Banitalebi-Dehkordi, Zhang: *E-LANG: Energy-Based Joint Inferencing of Super and Swift Language Models*
(ACL 2022; arXiv 2203.00748). Nothing of a model is used but what it answers and its logits, so that any two will do:
of other sizes, other families, other libraries, or behind a network.
"""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from elasticranker.planning.budget import Budget
from elasticranker.routing.costs import allowance, checked_budget
from elasticranker.routing.energies import Energy, get_energy
from elasticranker.routing.outputs import Model, Outputs, as_array, output_energy
from elasticranker.routing.thresholds import (
    above,
    best_count,
    cheapest_count,
    checked_share,
    count_of_share,
    count_within,
    cut,
)

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class JointOutputs:
    """What Swift and Super together say to a list of inputs.

    Attributes:
        predictions: One an input, Super's where it was asked and Swift's elsewhere.
        energies: Of Swift's outputs, one an input: higher is less to be trusted.
        to_super: One truth value an input.
    """

    predictions: list[Any]
    energies: Floats
    to_super: npt.NDArray[np.bool_]


Costs: TypeAlias = float | Callable[[list[Any]], Sequence[float]] | None


class JointInference:
    """Swift answers every input; Super answers again those whose energy is above a threshold.

    Choose it for classifiers and generators; `EnergyRouter` is the same mechanism for rerankers in PyTerrier pipelines.

    Two Hugging Face classifiers in ten lines:

        >>> from transformers import AutoModelForSequenceClassification, AutoTokenizer
        >>> from elasticranker.routing import JointInference, classifier
        >>> def load(name):
        ...     model = AutoModelForSequenceClassification.from_pretrained(name)
        ...     return classifier(model, AutoTokenizer.from_pretrained(name))
        >>> joint = JointInference(load("my-small-classifier"), load("my-large-classifier"))
        >>> joint.calibrate(sentences, labels, tolerance=0.002)  # within 0.2 points of the large one's accuracy
        >>> outputs = joint(["a charming and often affecting journey", "it never quite takes off"])
        >>> outputs.predictions, outputs.to_super.mean()
        ([1, 0], 0.5)

    Which inputs Super gets:

    - with a `threshold` (given, or set by `calibrate`): those of higher energy. The decision for an input then depends
      on nothing but the input (as far as a model's logits don't depend on what it is given beside it).
    - without one but with a `super_share`: the share of highest energy of each list, rounded down.

    The energy is taken of an input's logits. Where an output has many steps (a generator's), it is the mean over the
    steps of each step's energy. For `free` that is our reading of what the paper says of sequence to sequence, in
    words only: its authors released code for classifiers and none for this.

    The authors' demo (SST-2, TinyBERT and BERT-base) is `energy="released", threshold=-1.31044`: it sends to Super what
    is below its threshold, so signs are turned here.

    Args:
        swift: The light model: a callable from a list of inputs to `Outputs`. `classifier` and `generator` make one
            of a Hugging Face model.
        super: The accurate model; it is given only what goes to it, and not called if that is nothing.
        energy: A name of `elasticranker.routing.energies.ENERGIES` or a function of one list of logits. `free` is the
            paper's, `released` that of the authors' demo; `max-softmax` and `entropy` are what they must beat.
        threshold: Energy above which an input goes to Super.
        super_share: Share of inputs for Super, 0 to 1; used where there is no threshold.
        temperature: T of the energies that have one (`free`, `released`, `centred`).
        batch_size: Most inputs that a model is given at once.

    Raises:
        ValueError: An argument is out of range; when called, nothing says which inputs go to Super, a model answers too
            few or too many inputs, or logits are missing, NaN, infinite or single: the message names the input.
    """

    def __init__(
        self,
        swift: Model,
        super: Model,
        *,
        energy: str | Energy = "free",
        threshold: float | None = None,
        super_share: float | None = None,
        temperature: float = 1.0,
        batch_size: int = 32,
    ) -> None:
        for name, model in (("swift", swift), ("super", super)):
            if not callable(model):
                raise ValueError(
                    f"{name} must be a callable from a list of inputs to Outputs, but is {model!r}; classifier() and "
                    "generator() make one of a Hugging Face model"
                )
        get_energy(energy, temperature)
        if threshold is not None and math.isnan(threshold):
            raise ValueError("threshold is NaN: give a number, or leave it out and call calibrate()")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, but is {batch_size!r}")
        self.swift = swift
        self.super = super
        self.energy = energy
        self.threshold = threshold
        self.super_share = checked_share(super_share)
        self.temperature = temperature
        self.batch_size = batch_size

    def __call__(self, inputs: Sequence[Any]) -> JointOutputs:
        """Answer every input by Swift or by Super; see the class for which."""
        inputs = _listed(inputs, "inputs")
        if not inputs:
            return JointOutputs([], np.empty(0), np.empty(0, dtype=bool))
        if self.threshold is None and self.super_share is None:
            raise ValueError("nothing says which inputs go to Super: give threshold or super_share, or call calibrate")
        predictions, energies = self._ask_swift(inputs)
        to_super = above(energies, threshold=self.threshold, share=self.super_share)
        chosen = np.flatnonzero(to_super).tolist()
        for index, answer in zip(chosen, self._ask_super([inputs[index] for index in chosen]), strict=True):
            predictions[index] = answer
        return JointOutputs(predictions, energies, to_super)

    def calibrate(
        self,
        inputs: Sequence[Any],
        labels: Sequence[Any] | None = None,
        *,
        super_share: float | None = None,
        budget: Budget | str | None = None,
        swift_cost: Costs = None,
        super_cost: Costs = None,
        tolerance: float | None = None,
        quality: Callable[[Any, Any], float] = operator.eq,
    ) -> JointInference:
        """Set the threshold from a sample of inputs that is not reported on, and return this same object.

        Without labels, the largest part of the sample that `super_share` and `budget` allow is above the threshold:
        exactly that share of it (rounded down) unless energies tie, and as many as the mean cost affords. With labels,
        of all parts up to there (up to all, if neither is given) the one of the best mean quality, of equals the
        cheapest; and with a `tolerance` the cheapest whose mean quality is at most so far below Super's.

        All of these are targets for inputs like the sample's, not promises about each list.

        Args:
            inputs: The sample.
            labels: What should be answered, one an input. Super is run on the whole sample only if this is given.
            super_share: Instead of the object's own.
            budget: Mean cost of an input at most, Swift's included: a share of what Super alone would cost ("37%") or
                an amount ("8 GFLOPs").
            swift_cost: FLOPs of Swift, needed with a budget only: per input, or a function from a list of inputs to a
                number for each. With a share as the budget any unit will do, if both costs are in it.
            super_cost: The same for Super.
            tolerance: How far the sample's mean quality may stay below Super's, in the units of `quality`: 0.002 is
                0.2 points of accuracy. It may be a loss of 0.
            quality: From a prediction and a label to a number, higher is better; the default is 1 where they are equal
                and so makes the mean the accuracy.

        Raises:
            ValueError: The sample is empty, there is nothing to calibrate for, labels are too few or too many, a cost
                is missing, or no part that is allowed comes within the tolerance.

        Example:
            >>> JointInference(swift, super).calibrate(sentences, super_share=0.3).threshold
            -2.07
        """
        share, limit = self.super_share if super_share is None else checked_share(super_share), checked_budget(budget)
        inputs = _listed(inputs, "inputs")
        wanted = None if labels is None else _plain(labels, "labels")
        _check_sample(inputs, wanted, tolerance)
        if share is None and limit is None and wanted is None:
            raise ValueError("nothing to calibrate for: give super_share, budget or labels")
        costs = None if limit is None else (_costs(swift_cost, inputs, "swift"), _costs(super_cost, inputs, "super"))
        left = None if limit is None or costs is None else allowance(limit, *costs)
        by_swift, energies = self._ask_swift(inputs)
        count = len(inputs) if share is None else count_of_share(share, len(inputs))
        if left is not None and costs is not None:
            count = min(count, count_within(energies, costs[1], float(left)))
        if wanted is not None:
            ours, theirs = (_qualities(answers, wanted, quality) for answers in (by_swift, self._ask_super(inputs)))
            count = _chosen_count(energies, theirs - ours, tolerance, count)
        self.threshold, self.super_share = cut(energies, count), share
        return self

    def __repr__(self) -> str:
        defaults = {"energy": "free", "threshold": None, "super_share": None, "temperature": 1.0, "batch_size": 32}
        changed = [
            f"{name}={getattr(self, name)!r}" for name, value in defaults.items() if getattr(self, name) != value
        ]
        return f"JointInference({', '.join([repr(self.swift), repr(self.super), *changed])})"

    def _ask_swift(self, inputs: list[Any]) -> tuple[list[Any], Floats]:
        """Swift's predictions and their energies; logits are let go batch by batch, since a generator's are large."""
        predictions, energies = [], np.empty(len(inputs))
        for start, answers, logits in self._asked("swift", inputs):
            predictions += answers
            if logits is None:
                raise ValueError("swift returned no logits, and there is no energy without: give Outputs its logits")
            for index, row in enumerate(logits, start=start):
                named = f"input {index} ({reprlib.repr(inputs[index])})"
                energies[index] = output_energy(row, self.energy, temperature=self.temperature, named=named)
        return predictions, energies

    def _ask_super(self, inputs: list[Any]) -> list[Any]:
        predictions = []
        for start, answers, logits in self._asked("super", inputs):
            for index, row in enumerate([] if logits is None else logits, start=start):
                if np.isnan(as_array(row)).any():
                    raise ValueError(f"super gave NaN among the logits of the input {reprlib.repr(inputs[index])}")
            predictions += answers
        return predictions

    def _asked(self, role: str, inputs: list[Any]) -> Iterator[tuple[int, list[Any], Any]]:
        """Batch by batch: the position of its first input, and a model's predictions and logits."""
        model: Model = getattr(self, role)
        for start in range(0, len(inputs), self.batch_size):
            batch = inputs[start : start + self.batch_size]
            outputs = model(list(batch))
            if not isinstance(outputs, Outputs):
                raise ValueError(f"{role} returned a {type(outputs).__name__}: it must return Outputs")
            answers = _plain(outputs.predictions, f"{role}'s predictions")
            for what, values in (("predictions", answers), ("logits", outputs.logits)):
                if values is not None and len(values) != len(batch):
                    raise ValueError(
                        f"{role} returned {len(values)} {what} for {len(batch)} inputs: it must be one each"
                    )
            yield start, answers, outputs.logits


def _listed(values: Any, what: str) -> list[Any]:
    """As a list, entries as they are; refuses a single text or a mapping."""
    if isinstance(values, (str, bytes, Mapping)):
        raise ValueError(f"{what} must be a list with one entry an input, but is {reprlib.repr(values)}")
    return list(values)


def _plain(values: Any, what: str) -> list[Any]:
    """As a list of plain Python values where they are numpy's or torch's."""
    return values.tolist() if hasattr(values, "tolist") else _listed(values, what)


def _check_sample(inputs: list[Any], labels: list[Any] | None, tolerance: float | None) -> None:
    if not inputs:
        raise ValueError("the sample holds no inputs: give a list like those that will be answered")
    if labels is not None and len(labels) != len(inputs):
        raise ValueError(f"{len(labels)} labels for {len(inputs)} inputs: give one for each")
    if tolerance is not None and (labels is None or not 0 <= tolerance < math.inf):
        raise ValueError(f"tolerance={tolerance!r}: it must be 0 or more, and needs labels to measure quality with")


def _costs(cost: Costs, inputs: list[Any], role: str) -> Floats:
    if cost is None:
        raise ValueError(
            f"a mean budget needs to know what {role} costs: give {role}_cost, as FLOPs per input or as a function from"
            " a list of inputs to the FLOPs of each"
        )
    costs = np.asarray(cost(inputs), dtype=np.float64) if callable(cost) else np.full(len(inputs), float(cost))
    if costs.shape != (len(inputs),) or not (costs >= 0).all():
        raise ValueError(f"{role}_cost must give one number of 0 or more for each of {len(inputs)} inputs: {costs}")
    return costs


def _qualities(answers: list[Any], labels: list[Any], quality: Callable[[Any, Any], float]) -> Floats:
    return np.array([float(quality(answer, label)) for answer, label in zip(answers, labels, strict=True)])


def _chosen_count(energies: Floats, gains: Floats, tolerance: float | None, at_most: int) -> int:
    if tolerance is None:
        return best_count(energies, gains, at_most)
    count = cheapest_count(energies, gains, tolerance, at_most)
    if count is None:
        raise ValueError(
            f"sending {at_most} of {len(energies)} inputs to Super, all that super_share and budget allow, stays more "
            f"than tolerance={tolerance!r} below its quality: allow more"
        )
    return count
