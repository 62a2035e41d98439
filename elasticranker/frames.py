"""Result frames, as every reranker here takes them: the order that candidates come in, and the texts they must have.

A *ranked* frame has its queries in the order of their first row, each query's rows from best to worst, a `rank` from 0
and a plain index.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from elasticranker.planning.plan import strictly_falling


def in_incoming_order(frame: pd.DataFrame) -> pd.DataFrame:
    """A ranked frame of the candidates as they came: by `rank` if there is one, else by `score`, else row by row."""
    if "rank" in frame:
        key = pd.to_numeric(frame["rank"], errors="coerce").to_numpy(dtype=float)
    elif "score" in frame:
        key = -pd.to_numeric(frame["score"], errors="coerce").to_numpy(dtype=float)
    else:
        key = np.zeros(len(frame))
    return ranked_by(frame, key)


def ranked_by(frame: pd.DataFrame, key: npt.NDArray[np.float64]) -> pd.DataFrame:
    """A ranked frame with each query's rows by rising key; equal keys stay in order, NaN comes last."""
    query = pd.factorize(frame["qid"])[0]
    frame = frame.iloc[np.lexsort((key, query))].reset_index(drop=True)
    return frame.assign(rank=frame.groupby("qid", sort=False).cumcount())


def strictly_decreasing(ranked: pd.DataFrame) -> pd.DataFrame:
    """A ranked frame whose scores fall from row to row within a query, even when they are read as float32.

    Frames whose scores already do are untouched.
    """
    rounded = ranked["score"].to_numpy(dtype=np.float32)
    first = ranked["rank"].to_numpy() == 0
    if (first[1:] | (rounded[1:] < rounded[:-1])).all():
        return ranked
    falling = [strictly_falling(scores.to_numpy(float)) for _, scores in ranked.groupby("qid", sort=False)["score"]]
    return ranked.assign(score=np.concatenate(falling))


def check_texts(frame: pd.DataFrame, text_field: str) -> None:
    """Raise a ValueError that names the first row without a query or a text."""
    for column in ("query", text_field):
        wrong = ~frame[column].map(lambda value: isinstance(value, str)).to_numpy(dtype=bool)
        if wrong.any():
            row = frame[wrong].iloc[0]
            raise ValueError(
                f"{int(wrong.sum())} rows have no {column!r}, the first: docno {row['docno']!r} of query "
                f"{row['qid']!r} has {row[column]!r}; every document needs a text (an empty one is fine)"
            )
