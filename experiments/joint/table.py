"""Joint inference evaluated on stored answers: every routing is arithmetic on what both models said.

Thresholds are set on one sample and reported on another (`joint_table`), or on either half of one sample and reported
on the other half (`crossed_table`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from elasticranker.evaluation.measures import holm, paired_t
from elasticranker.routing.thresholds import best_count, cheapest_count, count_of_share, cut

COSTS = ("gflops_mean", "gflops_max", "ms_mean", "ms_p50", "ms_p95")  # per input
DRAWS = 20  # of random routing

Floats = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Answers:
    """What one model said to the inputs of a sample.

    Attributes:
        predictions: one an input.
        quality: of each prediction, higher is better, such that the mean makes sense.
        gflops: of each.
        ms: of each.
    """

    predictions: list[Any]
    quality: Floats
    gflops: Floats
    ms: Floats


@dataclass(frozen=True, eq=False)
class Sample:
    """What both models said to the same inputs.

    Attributes:
        swift: Swift's answers.
        super: Super's answers.
        energies: of Swift's outputs, an array by name.
        measure: from predictions, one an input, to the measures of the whole sample (BLEU, accuracy, ...).
    """

    swift: Answers
    super: Answers
    energies: Mapping[str, Floats]
    measure: Callable[[list[Any]], dict[str, float]]

    def __len__(self) -> int:
        return len(self.swift.predictions)


def joint_table(
    calibration: Sample, reported: Sample, *, shares: Sequence[float], tolerance: float, seed: int = 0
) -> pd.DataFrame:
    """One row for Swift, one for Super, and one for every way of routing at every target.

    Args:
        calibration: Sets the thresholds.
        reported: Other inputs.
        shares: Shares of the calibration inputs that go to Super: one target each.
        tolerance: How far the calibration inputs' mean quality may stay below Super's, at the least cost: one target.
        seed: Of random routing.

    Returns:
        Columns system, share or within (the target), super_share (of the reported inputs), the measures, `COSTS` per
        reported input (Swift is paid for every input and Super on top of it), and `over_random` with `p_random`: mean
        quality above what random routing is expected to reach at the same mean GFLOPs, and the paired t-test of that,
        Holm-corrected over the table. "random" is the mean of some draws; "oracle" knows each reported input's gain.
    """
    seen = _Seen.of(calibration)

    def decide(name: str, target: _Target) -> Chosen:
        return reported.energies[name] > seen.threshold(name, target)

    return _table(reported, decide, shares=shares, tolerance=tolerance, seed=seed)


def crossed_table(sample: Sample, *, shares: Sequence[float], tolerance: float, seed: int = 0) -> pd.DataFrame:
    """The table of one sample in two halves, drawn at random: each is routed by the thresholds of the other.

    So every input is reported once, and none by a threshold that has seen it.

    Args:
        sample: All inputs.
        shares: As in `joint_table`.
        tolerance: As in `joint_table`.
        seed: Of the halves and of random routing.

    Raises:
        ValueError: The sample has fewer than four inputs.
    """
    if len(sample) < 4:
        raise ValueError(f"only {len(sample)} inputs: setting thresholds on a half of them needs at least 4")
    halves = np.array_split(np.random.default_rng(seed).permutation(len(sample)), 2)
    seen = _Seen.of(sample)

    def decide(name: str, target: _Target) -> Chosen:
        chosen = np.zeros(len(sample), dtype=bool)
        for ours, others in (halves, halves[::-1]):
            chosen[ours] = sample.energies[name][ours] > seen.part(others).threshold(name, target)
        return chosen

    return _table(sample, decide, shares=shares, tolerance=tolerance, seed=seed)


_Target = tuple[str, float]  # "share" or "within", and how much


@dataclass(frozen=True)
class _Seen:
    """What sets a threshold: energies, and what Super gains on each input."""

    energies: Mapping[str, Floats]
    gains: Floats

    @classmethod
    def of(cls, sample: Sample) -> _Seen:
        return cls(sample.energies, sample.super.quality - sample.swift.quality)

    def part(self, rows: npt.NDArray[np.int64]) -> _Seen:
        return _Seen({name: energies[rows] for name, energies in self.energies.items()}, self.gains[rows])

    def threshold(self, name: str, target: _Target) -> float:
        energies, (kind, value) = self.energies[name], target
        if kind == "share":
            return cut(energies, count_of_share(value, len(energies)))
        count = cheapest_count(energies, self.gains, value, at_most=len(energies)) or 0  # all are always enough
        return cut(energies, count)


def _table(
    reported: Sample,
    decide: Callable[[str, _Target], Chosen],
    *,
    shares: Sequence[float],
    tolerance: float,
    seed: int,
) -> pd.DataFrame:
    rows = [_row("swift", reported.swift, reported), _row("super", reported.super, reported)]
    generator, gains = np.random.default_rng(seed), _Seen.of(reported).gains
    for share in shares:
        count = count_of_share(share, len(reported))
        draws = [generator.permutation(len(reported)) < count for _ in range(DRAWS)]
        best = gains > cut(gains, best_count(gains, gains, count))
        rows.append(_mean_row([_routed("random", reported, chosen, share=share) for chosen in draws]))
        for name in reported.energies:
            rows.append(_by_energy(name, reported, decide(name, ("share", share)), share=share))
        rows.append(_routed("oracle", reported, best, share=share))
    for name in reported.energies:
        rows.append(_by_energy(name, reported, decide(name, ("within", tolerance)), within=tolerance))
    measures = list(reported.measure(reported.swift.predictions))
    order = ["system", "share", "within", "super_share", *measures, *COSTS, "over_random", "p_random"]
    table = pd.DataFrame(rows, columns=order)
    return table.assign(p_random=holm(table["p_random"].astype(float).tolist()))


def routed(sample: Sample, chosen: Chosen) -> Answers:
    """The answers where Super takes the chosen inputs after Swift."""
    swift, super = sample.swift, sample.super
    pairs = zip(chosen, swift.predictions, super.predictions, strict=True)
    return Answers(
        [theirs if there else ours for there, ours, theirs in pairs],
        np.where(chosen, super.quality, swift.quality),
        swift.gflops + chosen * super.gflops,
        swift.ms + chosen * super.ms,
    )


def _by_energy(name: str, sample: Sample, chosen: Chosen, **target: float) -> dict[str, Any]:
    return _routed(name, sample, chosen, **target) | _over_random(sample, chosen)


def _over_random(sample: Sample, chosen: Chosen) -> dict[str, float]:
    swift, super, ours = sample.swift, sample.super, routed(sample, chosen)
    chance = (ours.gflops.mean() - swift.gflops.mean()) / super.gflops.mean()
    by_chance = swift.quality + chance * (super.quality - swift.quality)
    difference = float((ours.quality - by_chance).mean())
    return {"over_random": difference, "p_random": paired_t(pd.Series(ours.quality), pd.Series(by_chance))}


def _routed(system: str, sample: Sample, chosen: Chosen, **target: float) -> dict[str, Any]:
    return _row(system, routed(sample, chosen), sample) | {"super_share": chosen.mean(), **target}


def _row(system: str, answers: Answers, sample: Sample) -> dict[str, Any]:
    gflops, ms = answers.gflops, answers.ms
    costs = (gflops.mean(), gflops.max(), ms.mean(), np.quantile(ms, 0.5), np.quantile(ms, 0.95))
    return {"system": system, **sample.measure(answers.predictions), **dict(zip(COSTS, costs, strict=True))}


def _mean_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean of some rows of one system."""
    return {"system": rows[0]["system"], **pd.DataFrame(rows).drop(columns="system").mean()}
