"""Effectiveness per query, and whether two systems differ: thin layers over ir_measures and scipy."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd

from elasticranker.frames import for_ir_measures

MEASURES = ("RR@10", "nDCG@10", "AP", "R@100")
TESTED = "nDCG@10"  # the measure of the significance test: graded, and less coarse than a reciprocal rank


def effectiveness(run: pd.DataFrame, qrels: pd.DataFrame, *, rel: int = 1) -> pd.DataFrame:
    """Measure a run on every query of the qrels; a query that the run lacks counts 0.

    Args:
        run: Columns qid, docno, score.
        qrels: Columns qid, docno, label.
        rel: Lowest label that counts as relevant for RR, AP and R (nDCG uses the labels as they are).

    Returns:
        One row a query (qid is the index, sorted), one column a measure of `MEASURES`.

    Example:
        >>> effectiveness(run, qrels, rel=2).mean()
    """
    import ir_measures
    from ir_measures import AP, RR, R, nDCG

    names = {RR(rel=rel) @ 10: "RR@10", nDCG @ 10: "nDCG@10", AP(rel=rel): "AP", R(rel=rel) @ 100: "R@100"}
    metrics = ir_measures.iter_calc(
        list(names),
        for_ir_measures(qrels, "label"),
        for_ir_measures(run, "score"),
    )
    table = pd.DataFrame(
        [(metric.query_id, names[metric.measure], metric.value) for metric in metrics],
        columns=["qid", "measure", "value"],
    )
    return table.pivot(index="qid", columns="measure", values="value")[list(MEASURES)]


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
