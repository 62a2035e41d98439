"""Effectiveness per query, and whether two systems differ: thin layers over ir_measures and scipy."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from elasticranker.frames import for_ir_measures
from elasticranker.planning.plan import Floats

if TYPE_CHECKING:
    from ir_measures import Measure

MEASURES = ("RR@10", "nDCG@10", "AP", "R@100")
TESTED = "nDCG@10"  # where one measure stands for all: graded, and less coarse than a reciprocal rank


def parse_measures(names: Sequence[str], *, rel: int = 1) -> dict[str, Measure]:
    """Measures by the names that tables show.

    Args:
        names: expressions of ir_measures, such as "RR@10", "nDCG@20" or "P(rel=2)@5".
        rel: Lowest label that counts as relevant, for measures that want one and don't say it themselves.

    Raises:
        ValueError: A name isn't a measure, needs a package that isn't installed, or two of them are the same measure.

    Example:
        >>> parse_measures(["RR@10", "nDCG@10"], rel=2)
        {'RR@10': RR(rel=2)@10, 'nDCG@10': nDCG@10}
    """
    import ir_measures

    parsed: dict[str, Measure] = {}
    for name in names:
        try:
            measure = ir_measures.parse_measure(name)
            if "rel" in measure.SUPPORTED_PARAMS and "rel" not in measure.params:
                measure = measure(rel=rel)
            measure.validate_params()
            ir_measures.DefaultPipeline.evaluator([measure], pd.DataFrame(columns=["query_id", "doc_id", "relevance"]))
        except (ValueError, NameError, KeyError, AssertionError) as error:
            raise ValueError(
                f"measure {name!r} ({error}): write measures as ir_measures does, such as RR@10, nDCG@20 or P(rel=2)@5"
            ) from error
        if measure in parsed.values():
            raise ValueError(f"measures={list(names)}: {name} comes twice")
        parsed[name] = measure
    if not parsed:
        raise ValueError("measures=[]: name one or more, such as RR@10")
    return parsed


def effectiveness(
    run: pd.DataFrame, qrels: pd.DataFrame, *, rel: int = 1, measures: Sequence[str] = MEASURES
) -> pd.DataFrame:
    """Measure a run on every query of the qrels; a query that the run lacks counts 0.

    Args:
        run: Columns qid, docno, score.
        qrels: Columns qid, docno, label.
        rel: Lowest label that counts as relevant for RR, AP and R (nDCG uses the labels as they are).
        measures: What to measure, see `parse_measures`.

    Returns:
        One row a query (qid is the index, sorted), one column a measure.

    Example:
        >>> effectiveness(run, qrels, rel=2).mean()
    """
    import ir_measures

    names = {measure: name for name, measure in parse_measures(measures, rel=rel).items()}
    metrics = ir_measures.iter_calc(
        list(names),
        for_ir_measures(qrels, "label"),
        for_ir_measures(run, "score"),
    )
    table = pd.DataFrame(
        [(metric.query_id, names[metric.measure], metric.value) for metric in metrics],
        columns=["qid", "measure", "value"],
    )
    return table.pivot(index="qid", columns="measure", values="value")[list(measures)]


def significance(per_query: Mapping[str, pd.DataFrame], baseline: str | None) -> pd.DataFrame:
    """Do systems differ from a baseline? Paired t-tests over queries, Holm-corrected over the systems of each measure.

    Args:
        per_query: The table of `effectiveness` by system.
        baseline: One of the systems; None tests nothing.

    Returns:
        One row a system, one column a measure: p-values, NaN for the baseline itself.
    """
    names = list(next(iter(per_query.values())).columns)
    tests = {
        name: holm(
            [
                float("nan") if baseline in (None, system) else paired_t(values[name], per_query[baseline][name])
                for system, values in per_query.items()
            ]
        )
        for name in names
    }
    return pd.DataFrame(tests, index=list(per_query))


def bootstrap(values: Floats, *, level: float = 0.95, draws: int = 1000, seed: int = 0) -> tuple[Floats, Floats]:
    """Confidence intervals of columns' means, by drawing rows (queries) with replacement.

    Args:
        values: `[queries, columns]`.
        level: share of the draws inside.
        draws: how many.
        seed: of the draws; one seed draws the same queries for whatever has as many.

    Returns:
        `[columns]` lower and upper ends.

    Example:
        >>> low, high = bootstrap(np.array([[0.0], [1.0], [1.0]]))
        >>> low[0] <= 2 / 3 <= high[0]
        True
    """
    count = len(values)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws) / count
    low, high = np.quantile(weights @ values, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def paired_t(values: pd.Series, reference: pd.Series) -> float:
    """Two-sided p-value of the paired t-test over queries; 1.0 where no query differs, NaN for fewer than two."""
    from scipy.stats import ttest_rel

    values, reference = values.align(reference, join="inner")
    if len(values) < 2:
        return float("nan")
    if np.array_equal(values, reference):
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # scipy's, where all queries differ by the same amount
        return float(ttest_rel(values, reference).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for having made several tests (Holm 1979); NaN stays NaN and doesn't count as a test.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=float)
    adjusted = np.full(len(values), np.nan)
    tests = int(np.isfinite(values).sum())
    highest = 0.0
    for position, index in enumerate(np.argsort(values)[:tests]):  # argsort puts NaN last
        highest = max(highest, min(1.0, (tests - position) * values[index]))
        adjusted[index] = highest
    return [float(value) for value in adjusted]
