"""Energy routing evaluated on tables: each ranker scores every query once, and every routing is arithmetic on that.

A threshold is calibrated on one half of the queries and reported on the other, and the reverse, so that every query is
reported once and none by a threshold that has seen it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from elasticranker.evaluation.measures import MEASURES, TESTED, holm, paired_t
from elasticranker.routing.thresholds import best_count, count_of_share, cut

COSTS = ("gflops_mean", "gflops_max", "ms_mean", "ms_p50", "ms_p95")  # per query
TESTS = ("over_random", "p_random", "over_uniform", "p_uniform")
COLUMNS = ("system", "share", "super_share", *MEASURES, *COSTS, *TESTS)


@dataclass(frozen=True)
class Outcome:
    """What a system did to each query.

    Attributes:
        values: One row a judged query (index: qid), one column a measure of `MEASURES`.
        costs: One row a query that has candidates (index: qid), columns gflops and ms.
    """

    values: pd.DataFrame
    costs: pd.DataFrame


def routed(swift: Outcome, super: Outcome, to_super: pd.Series) -> Outcome:
    """The outcome where `to_super` says how much of each query (0 or 1, or the chance of it) Super ranks after Swift.

    Swift is paid for every query and Super on top of it, as in E-LANG's accounting.
    """
    weight = to_super.astype(float)
    weights = weight.reindex(swift.values.index, fill_value=0.0)  # a query without candidates goes nowhere
    values = swift.values + (super.values - swift.values).mul(weights, axis=0)
    return Outcome(values, swift.costs + super.costs.mul(weight, axis=0))


def split_in_halves(qids: Sequence[str], seed: int) -> tuple[pd.Index, pd.Index]:
    """Two disjoint halves of the queries, drawn at random.

    Raises:
        ValueError: There are fewer than four queries.
    """
    if len(qids) < 4:
        raise ValueError(f"only {len(qids)} queries have candidates: calibrating on a half of them needs at least 4")
    shuffled = np.random.default_rng(seed).permutation(np.asarray(qids, dtype=object))
    return pd.Index(shuffled[: len(qids) // 2]), pd.Index(shuffled[len(qids) // 2 :])


def route(energies: pd.Series, share: float, *, calibrate_on: pd.Index, report_on: pd.Index) -> pd.Series:
    """Which of the reported queries go to Super by a threshold that sends a share of the other ones there.

    Args:
        energies: Energy by qid.
        share: Share of the calibration queries that goes to Super.
        calibrate_on: Queries that set the threshold.
        report_on: Queries to decide on.

    Returns:
        Truth values by qid, for the reported queries.

    Raises:
        ValueError: A query is in both.
    """
    both = calibrate_on.intersection(report_on)
    if len(both):
        raise ValueError(
            f"{len(both)} queries, such as {both[0]!r}, would be both calibrated and reported on: a threshold must not "
            "be reported on the queries that set it"
        )
    sample = energies.loc[calibrate_on].to_numpy()
    return energies.loc[report_on] > cut(sample, count_of_share(share, len(sample)))


def route_across(energies: pd.Series, share: float, halves: tuple[pd.Index, pd.Index]) -> pd.Series:
    """Each half routed by the threshold of the other."""
    one, other = halves
    there = route(energies, share, calibrate_on=one, report_on=other)
    return pd.concat([there, route(energies, share, calibrate_on=other, report_on=one)])


def route_by_oracle(gains: pd.Series, share: float) -> pd.Series:
    """The best that a share of the queries can do: those that Super improves, by how much, up to the share."""
    values = gains.to_numpy()
    return gains > cut(values, best_count(values, values, count_of_share(share, len(values))))


def uniform_at(curve: Sequence[Outcome], gflops: float) -> pd.Series:
    """nDCG@10 by qid of giving every query the same budget, at a mean cost between those that were measured.

    Between two budgets it is interpolated query by query: what is expected of drawing one of the two by lot.

    Args:
        curve: Outcomes of uniform budgets, from cheapest to dearest.
        gflops: Mean cost per query.
    """
    means = [outcome.costs["gflops"].mean() for outcome in curve]
    position = float(np.interp(gflops, means, range(len(curve))))
    low = min(int(position), len(curve) - 2)
    cheaper, dearer = curve[low].values[TESTED], curve[low + 1].values[TESTED]
    return cheaper + (position - low) * (dearer - cheaper)


def routing_table(
    swift: Outcome,
    super: Outcome,
    uniform: Mapping[float, Outcome],
    energies: pd.DataFrame,
    *,
    shares: Sequence[float],
    halves: tuple[pd.Index, pd.Index],
) -> pd.DataFrame:
    """One row for Swift, one for Super, and for each share one for every way of spending about the same.

    Args:
        swift: Outcome of Swift alone.
        super: Outcome of Super alone.
        uniform: By share, the outcome of giving every query the same budget at about equal mean cost; may be empty.
        energies: One row a query with candidates (index: qid), one column an energy.
        shares: Shares of the queries that Super gets.
        halves: Of the queries with candidates.

    Returns:
        Columns as in `COLUMNS`: `share` is what was calibrated for, `super_share` what came of it; effectiveness is the
        mean over the judged queries, costs are per query with candidates. "random" is the expectation over all random
        choices; "oracle" knows the gain of every reported query in nDCG@10. `over_random` and `over_uniform`: what an
        energy's nDCG@10 is above these two *at its own mean GFLOPs* (uniform budgets interpolated, Swift and Super
        being the cheapest and the dearest). `p_random` and `p_uniform`: paired t-tests of that, each Holm-corrected
        over the table.
    """
    qids = energies.index
    gains = (super.values - swift.values)[TESTED].reindex(qids)
    curve = sorted([swift, *uniform.values(), super], key=lambda outcome: outcome.costs["gflops"].mean())
    rows = [_row("swift", swift), _row("super", super)]
    for share in shares:
        if share in uniform:
            rows.append(_row("uniform", uniform[share], share))
        by_chance = pd.Series(count_of_share(share, len(qids)) / len(qids), index=qids)
        rows.append(_row("random", routed(swift, super, by_chance), share, by_chance))
        for name in energies:
            to_super = route_across(energies[name], share, halves)
            outcome = routed(swift, super, to_super)
            gflops = outcome.costs["gflops"].mean()
            chance = (gflops - swift.costs["gflops"].mean()) / super.costs["gflops"].mean()
            references = {"random": routed(swift, super, pd.Series(chance, index=qids)).values[TESTED]}
            if uniform:
                references["uniform"] = uniform_at(curve, gflops)
            rows.append(_row(str(name), outcome, share, to_super) | _compared(outcome.values[TESTED], references))
        best = route_by_oracle(gains, share)
        rows.append(_row("oracle", routed(swift, super, best), share, best))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.assign(**{p: holm(table[p].astype(float).tolist()) for p in ("p_random", "p_uniform")})


def _compared(values: pd.Series, references: Mapping[str, pd.Series]) -> dict[str, float]:
    """Mean difference to each reference, and the p-value of its paired t-test."""
    differences = {f"over_{name}": float((values - reference).mean()) for name, reference in references.items()}
    return differences | {f"p_{name}": paired_t(values, reference) for name, reference in references.items()}


def _row(system: str, outcome: Outcome, share: float = np.nan, to_super: pd.Series | None = None) -> dict[str, Any]:
    gflops, ms = outcome.costs["gflops"], outcome.costs["ms"]
    row = {"system": system, "share": share, "super_share": np.nan if to_super is None else to_super.mean()}
    row |= {**outcome.values.mean(), "gflops_mean": gflops.mean(), "ms_mean": ms.mean()}
    if system != "random":  # an expectation has a mean cost, but no query costs that
        row |= {"gflops_max": gflops.max(), "ms_p50": ms.quantile(0.5), "ms_p95": ms.quantile(0.95)}
    return row
