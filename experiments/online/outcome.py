"""What became of the requests of a run, simulated or real, and the row of a table that sums it up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from experiments.online.arrivals import Floats

ANSWERED, REJECTED, FAILED, UNANSWERED = range(4)
SYSTEMS = ("static full", "static middle", "static smallest", "elastic")
COLUMNS = (
    "arrivals",
    "system",
    "load",
    "rate",
    "requests",
    "p50",
    "p95",
    "p99",
    "at_least",
    "within",
    "rejects",
    "failed",
    "unanswered",
    "nDCG@10",
    "RR@10",
    "budget",
)


@dataclass(frozen=True)
class System:
    """What is compared: a share for every request, or None for the elastic schedule and its `spread`."""

    name: str
    static: float | None
    spread: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """One entry a request, in the order of their scheduled times.

    Attributes:
        status: ANSWERED, REJECTED, FAILED or UNANSWERED.
        latency: seconds from the scheduled time to the answer; of an unanswered request, how long it had waited when
            the measurement ended; NaN where it was rejected or failed.
        share: budget that it was given; NaN where it wasn't answered, like the next two.
        rr: RR@10 of what was served.
        ndcg: nDCG@10 of what was served.
    """

    status: NDArray[np.int8]
    latency: Floats
    share: Floats
    rr: Floats
    ndcg: Floats

    def __len__(self) -> int:
        return len(self.status)


GREEDY = System("elastic, greedy", None, spread=0.0)


def systems(shares: Sequence[float], middle: float = 0.25) -> list[System]:
    """The static systems (full, the rung nearest to `middle`, the smallest) and the elastic one.

    Those that coincide come once, as full or smallest.
    """
    chosen = {min(shares, key=lambda share: abs(share - middle)): "static middle"}
    chosen |= {shares[0]: "static smallest"}
    static = [System(name, share) for share, name in (chosen | {1.0: "static full"}).items()]
    return [*sorted(static, key=lambda system: -(system.static or 0)), System("elastic", None)]


def empty(count: int) -> Outcome:
    """Of `count` requests that nobody has answered; to be filled in."""
    missing = [np.full(count, np.nan) for _ in range(4)]
    return Outcome(np.full(count, UNANSWERED, dtype=np.int8), *missing)


def join(outcomes: Sequence[Outcome]) -> Outcome:
    """Several runs as one."""
    return Outcome(*(np.concatenate([getattr(o, field.name) for o in outcomes]) for field in fields(Outcome)))


def within(outcome: Outcome, slo: float) -> float:
    """Share of all requests, rejected ones included, that were answered within the objective."""
    in_time = (outcome.status == ANSWERED) & (outcome.latency <= slo)
    return float(in_time.mean()) if len(outcome) else 1.0


def percentile(outcome: Outcome, percent: float) -> float:
    """Latency of the accepted requests in seconds: a lower bound where some are unanswered. NaN if there are none."""
    accepted = outcome.latency[(outcome.status == ANSWERED) | (outcome.status == UNANSWERED)]
    return float(np.percentile(accepted, percent, method="higher")) if len(accepted) else float("nan")


def summary(outcome: Outcome, slo: float) -> dict[str, Any]:
    """The numbers of a table's row: milliseconds, share in time, counts, and means over what was answered.

    `at_least` says that the percentiles are lower bounds, since some requests were still waiting at the end.
    """
    answered = outcome.status == ANSWERED

    def mean(values: Floats) -> float:
        return float(values[answered].mean()) if answered.any() else float("nan")

    return {
        "requests": len(outcome),
        **{f"p{percent}": 1e3 * percentile(outcome, percent) for percent in (50, 95, 99)},
        "at_least": bool((outcome.status == UNANSWERED).any()),
        "within": within(outcome, slo),
        "rejects": int((outcome.status == REJECTED).sum()),
        "failed": int((outcome.status == FAILED).sum()),
        "unanswered": int((outcome.status == UNANSWERED).sum()),
        "nDCG@10": mean(outcome.ndcg),
        "RR@10": mean(outcome.rr),
        "budget": mean(outcome.share),
    }
