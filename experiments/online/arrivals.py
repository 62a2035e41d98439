"""When requests arrive: Poisson, bursty, and shaped like a day."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BURST, BURST_PART, BURSTS = (
    3.0,
    0.2,
    12,
)  # rate of a burst over the mean, share of the time, and how many a run's length
SWING = 0.8  # of the day: from a fifth of the mean rate at night to 1.8 times at noon


def poisson(rate: float, seconds: float, random: Generator) -> Floats:
    """Independent users: exponential gaps.

    Args:
        rate: requests a second, on average.
        seconds: length of the run.
        random: numpy's generator; the same one gives the same times.

    Returns:
        `[n]` rising times from 0 to below `seconds`.

    Example:
        >>> len(poisson(10, 60, np.random.default_rng(0)))
        610
    """
    return np.sort(random.uniform(0, seconds, random.poisson(rate * seconds)))


def bursty(rate: float, seconds: float, random: Generator) -> Floats:
    """Calm and bursts in turn: a Markov-modulated Poisson process of two states.

    Bursts bring three times the mean rate for a fifth of the time, calm half the mean; a burst lasts a twelfth of the
    run on average. Arguments and result as for `poisson`.
    """
    stays = {True: seconds / BURSTS, False: seconds / BURSTS * (1 - BURST_PART) / BURST_PART}
    rates = {True: BURST * rate, False: rate * (1 - BURST_PART * BURST) / (1 - BURST_PART)}
    burst = bool(random.random() < BURST_PART)
    times, start = [np.empty(0)], 0.0
    while start < seconds:
        stay = min(random.exponential(stays[burst]), seconds - start)
        times.append(start + poisson(rates[burst], stay, random))
        start, burst = start + stay, not burst
    return np.concatenate(times)


def daily(rate: float, seconds: float, random: Generator) -> Floats:
    """A day squeezed into the run: few at night, most at noon. Thinned from a Poisson process (Lewis and Shedler 1979).

    Arguments and result as for `poisson`.
    """
    times = poisson((1 + SWING) * rate, seconds, random)
    wanted = (1 - SWING * np.cos(2 * np.pi * times / seconds)) / (1 + SWING)
    return times[random.random(len(times)) < wanted]


ARRIVALS: dict[str, Callable[[float, float, Generator], Floats]] = {
    "poisson": poisson,
    "bursty": bursty,
    "day": daily,
}


def requests(kind: str, rate: float, seconds: float, *, queries: int, seed: int) -> tuple[Floats, Integers]:
    """Times and queries of a run: the same for every system that is compared on it.

    Args:
        kind: a name of `ARRIVALS`.
        rate: requests a second, on average.
        seconds: length of the run.
        queries: how many there are; they come in random order, each before any comes again, so that runs of different
            rates serve about the same mix.
        seed: of the random numbers.

    Returns:
        `[n]` rising times, and `[n]` numbers of queries.

    Raises:
        ValueError: an argument that makes no sense.
    """
    if kind not in ARRIVALS:
        raise ValueError(f"arrivals={kind!r}: choose from {', '.join(ARRIVALS)}")
    for name, value in (("rate", rate), ("seconds", seconds)):
        if not value > 0 or not np.isfinite(value):
            raise ValueError(f"{name}={value!r}: give a number above 0")
    random = np.random.default_rng(seed)
    times = ARRIVALS[kind](rate, seconds, random)
    rounds = [random.permutation(queries) for _ in range(-(-len(times) // queries))]
    return times, np.concatenate([np.empty(0, dtype=np.int64), *rounds])[: len(times)]
