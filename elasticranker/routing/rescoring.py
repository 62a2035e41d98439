"""Calling a black-box reranker and trusting nothing but its scores: rows, order and ties stay under control."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyterrier as pt

from elasticranker.frames import ranked_by

HIGHEST = 1e38  # scores are kept within float32, which trec_eval uses, with room to shift a tier below another


def rescore(ranker: pt.Transformer, ranked: pd.DataFrame, role: str) -> pd.DataFrame:
    """The same rows with the scores that a ranker gives them, ranked by these; ties keep the order they came in.

    Rows are found again by qid and docno (a docno that comes twice: first with first), so the ranker may reorder them
    and add columns; its columns other than `score` are not taken over.

    Args:
        ranker: Any transformer from candidates to scored candidates.
        ranked: A ranked frame.
        role: What the ranker is called in errors.

    Raises:
        ValueError: The ranker returns no score column, or leaves a row without a score or with NaN; the message names
            the query.
    """
    if ranked.empty:
        return ranked
    output = ranker.transform(ranked)
    if "score" not in output:
        raise ValueError(f"{role} ({ranker!r}) returned no score column, only {list(output.columns)}")
    scores = _numbered(ranked).merge(_numbered(output, "score"), on=["qid", "docno", "nth"], how="left")["score"]
    scores = scores.astype(float)
    unscored = scores.isna()
    if unscored.any():
        row = ranked[unscored.to_numpy()].iloc[0]
        raise ValueError(
            f"{role} ({ranker!r}) gave NaN or no score at all to {int(unscored.sum())} candidates, the first: document "
            f"{row['docno']!r} of query {row['qid']!r}; a reranker must score every row that it is given (to have only "
            "the head of a list scored, give super_depth to the router)"
        )
    scored = ranked.assign(score=scores.clip(-HIGHEST, HIGHEST).to_numpy())
    return ranked_by(scored, -scored["score"].to_numpy())


def rescore_some(
    ranker: pt.Transformer, ranked: pd.DataFrame, chosen: npt.NDArray[np.bool_], role: str
) -> pd.DataFrame:
    """Rescore only the chosen rows and put them above the other rows of their query, which keep their order.

    Where a query has both kinds of rows, the scores of those that weren't chosen are shifted down to fit underneath.

    Args:
        ranker: Given nothing but the chosen rows, and not called if there are none.
        ranked: A ranked frame.
        chosen: One truth value a row.
        role: What the ranker is called in errors.
    """
    top = rescore(ranker, ranked[chosen].reset_index(drop=True), role)
    rest = ranked[~chosen]
    floor = rest["qid"].map(top.groupby("qid")["score"].min()).astype(float)
    best = rest.groupby("qid")["score"].transform("max")
    shifted = rest["score"].where(floor.isna(), rest["score"] - best + floor - 1.0)
    both = pd.concat([top, rest.assign(score=shifted)], ignore_index=True)
    query = pd.Index(ranked["qid"].unique()).get_indexer(both["qid"])
    return ranked_by(both.iloc[np.argsort(query, kind="stable")], np.zeros(len(both)))


def _numbered(frame: pd.DataFrame, *columns: str) -> pd.DataFrame:
    """qid, docno, how often that pair came before, and other columns."""
    keys = frame[["qid", "docno", *columns]]
    return keys.assign(nth=keys.groupby(["qid", "docno"], sort=False).cumcount())
