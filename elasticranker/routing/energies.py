"""Energies: one number per input that says how little an answer is to be trusted.

E-LANG (Akbari, Banitalebi-Dehkordi, Zhang; ACL 2022; arXiv 2203.00748) runs a light Swift model on every input and
reads the energy of its output. A *low* energy means that Swift is sure of itself; an input of *high* energy goes to the
accurate Super model. For an `EnergyRouter` an input is a query and Swift's output is the list of its candidates'
scores; for a `JointInference` the output is a classifier's logits, or a generator's at each of its steps.

Every function takes one list of scores, shape (n,) with n >= 1, in any order, and returns a finite float of that sign:
higher means less to be trusted. `ENERGIES` names them; whatever takes an energy takes a function as well:

    >>> EnergyRouter(swift, super, energy="entropy")
    >>> EnergyRouter(swift, super, energy=functools.partial(energies.free, temperature=0.5))

The two that E-LANG itself gives rise to are `free` (the paper's: over logits) and `released` (what its authors'
published demo thresholds: over probabilities). They differ: `free` sees the level of the logits, `released` doesn't.

Which of them can work for rankings is partly decided before any measurement:

- `free` depends on the level of the scores. Rankers trained by a listwise loss may add any constant to a query's
  scores, so their level says nothing (`centred` removes it), and the scores of a two-class log-softmax such as MonoT5's
  have lost the level of the logits (`two-class` reads what is left).
- Sums over candidates (`free`, `centred`, `released`) fall with the length of the list; compare lists of one
  length, or only the head of each list (`EnergyRouter(..., top_k=10)`).
"""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from types import MappingProxyType
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Scores: TypeAlias = npt.NDArray[np.float64]
Energy: TypeAlias = Callable[[Scores], float]


def free(scores: Scores, temperature: float = 1.0) -> float:
    """Free energy of the raw scores, `-T log sum_i exp(s_i / T)`: the energy of the E-LANG paper.

    Source: Liu et al., *Energy-based out-of-distribution detection* (NeurIPS 2020), as E-LANG's router uses it over the
    logits of the classes; for a ranking with candidates in the place of classes. It lies between `-max(s) - T log(n)`
    and `-max(s)`, and has no bound of its own.

    Example:
        >>> free(np.array([0.0, 0.0]))
        -0.6931471805599453
    """
    return -temperature * _log_sum_exp(scores / temperature)


def centred(scores: Scores, temperature: float = 1.0) -> float:
    """Free energy after the list's mean is taken off: `free(s - mean(s))`.

    Unlike `free` it is the same when a constant is added to all scores, which a listwise loss leaves undetermined.
    """
    return free(scores - scores.mean(), temperature)


def released(scores: Scores, temperature: float = 1.0) -> float:
    """Negated `log sum_i exp(softmax(s)_i / T)`: what the demo that E-LANG's authors published puts a threshold on.

    The demo sends an input to Super where the sum is *below* its threshold, so its 1.31044 for SST-2 is a threshold of
    -1.31044 here. Softmax has forgotten the level of the logits, so this is not the paper's energy (`free`). It is a
    constant for one score; for two it is a monotone function of `max_softmax`. It says how peaked the softmax is, on a
    narrow scale: at T = 1 between `-log(n - 1 + e)` and `-log(n) - 1 / n`, which for two scores is -1.313 (certain) to
    -1.193 (undecided).
    """
    return -_log_sum_exp(_softmax(scores) / temperature)


def max_softmax(scores: Scores) -> float:
    """Negated probability of the best candidate, `-max_i softmax(s)_i`; -1 for one candidate.

    Source: Hendrycks and Gimpel, *A baseline for detecting misclassified and out-of-distribution examples* (ICLR 2017).
    """
    return float(-_softmax(scores).max())


def entropy(scores: Scores) -> float:
    """Entropy of the softmax of the scores in nats, `-sum_i p_i log p_i`: from 0 to `log(n)` (all scores equal)."""
    probabilities = _softmax(scores)
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log(positive)).sum())


def margin(scores: Scores) -> float:
    """Negated gap between the two best scores, `s_2 - s_1`; the lowest float for one candidate, which has no rival."""
    if len(scores) == 1:
        return float(np.finfo(np.float64).min)
    second, first = np.partition(scores, -2)[-2:]
    return float(second - first)


def std(scores: Scores) -> float:
    """Negated standard deviation of the scores.

    Source: a predictor of query performance in the manner of NQC (Shtok et al., TOIS 2012), without its division by the
    score of the whole collection, which a reranker doesn't have.
    """
    return float(-scores.std())


def pointwise(logits: npt.NDArray[np.float64], temperature: float = 1.0) -> float:
    """Mean free energy of the single pairs, for a ranker that classifies each pair into two classes.

    Each pair's energy is `-T log(exp(a / T) + exp(b / T))` with its own two logits a and b. PyTerrier's `score` keeps
    only one number per pair: from a frame of scores, use `two_class` or `two_class_logit`.

    Args:
        logits: shape (n, 2), one row a pair.
        temperature: T.
    """
    return float(np.mean(-temperature * np.logaddexp(logits[:, 0] / temperature, logits[:, 1] / temperature)))


def two_class(scores: Scores) -> float:
    """Mean energy of the pairs' two-class softmax, for scores that are log p(relevant), such as MonoT5's.

    A log-softmax forgets the level of its logits (its own free energy is always 0), so this is the form of `released`,
    `-log(exp(p) + exp(1 - p))` for each pair: a monotone function of `max(p, 1 - p)`.

    Raises:
        ValueError: if a score is above 0 and so no log-probability.
    """
    if scores.max() > 1e-6:
        raise ValueError(
            f"the energy 'two-class' reads scores as log-probabilities, but one is {scores.max():g}, above 0; "
            "for differences of two logits use energy='two-class-logit'"
        )
    probabilities = np.exp(np.minimum(scores, 0.0))
    return pointwise(np.stack([probabilities, 1.0 - probabilities], axis=1))


def two_class_logit(scores: Scores) -> float:
    """Like `two_class`, for scores that are the difference of two logits: p(relevant) is their logistic function."""
    return two_class(-np.logaddexp(0.0, -scores))


def random(scores: Scores) -> float:
    """A number in [0, 1) that looks random but belongs to the scores, a hash: what every energy must beat."""
    digest = hashlib.blake2b(np.sort(scores).tobytes(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


ENERGIES: Mapping[str, Energy] = MappingProxyType(
    {
        "free": free,
        "centred": centred,
        "released": released,
        "max-softmax": max_softmax,
        "entropy": entropy,
        "margin": margin,
        "std": std,
        "two-class": two_class,
        "two-class-logit": two_class_logit,
        "random": random,
    }
)


def get_energy(energy: str | Energy, temperature: float = 1.0) -> Energy:
    """The function behind a name of `ENERGIES`; a function is given back as it is, at T = 1.

    Args:
        energy: A name or a function.
        temperature: T of the energies that have one.

    Raises:
        ValueError: There is no such name, T is not above 0, or the energy has no T to set.

    Example:
        >>> get_energy("free", temperature=2.0)(np.array([0.0, 0.0]))
        -1.3862943611198906
    """
    if not callable(energy) and energy not in ENERGIES:
        raise ValueError(f"unknown energy {energy!r}: use one of {', '.join(ENERGIES)}, or a function of the scores")
    function: Callable[..., float] = energy if callable(energy) else ENERGIES[energy]
    if temperature == 1:
        return function
    if not 0 < temperature < np.inf:
        raise ValueError(f"temperature must be a number above 0, but is {temperature!r}")
    if "temperature" not in signature(function).parameters:
        raise ValueError(f"temperature={temperature!r}, but the energy {energy!r} has none: leave temperature out")
    return partial(function, temperature=temperature)


def _log_sum_exp(values: Scores) -> float:
    peak = values.max()  # taken out, so that no exponential overflows
    return float(peak + np.log(np.exp(values - peak).sum()))


def _softmax(scores: Scores) -> Scores:
    weights = np.exp(scores - scores.max())
    return weights / weights.sum()
