"""Calling a black-box reranker and trusting nothing but its scores: rows, order and ties stay under control."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyterrier as pt
from pyterrier.transformer import IdentityTransformer

from elasticranker.frames import HIGHEST, Lists, floats
from elasticranker.planning.plan import Floats, Integers

SPEND = "elasticranker:spend"  # a column with what rankers spent on each row so far; NaN where one didn't tell
ROW = "elasticranker:row"  # a column that rankers are given, and give back if they keep their input's columns


def rescore(ranker: pt.Transformer, lists: Lists, role: str) -> Lists:
    """The same rows with the scores that a ranker gives them, ranked by these; ties keep the order they came in.

    Args:
        ranker: Any transformer from candidates to scored candidates.
        lists: The candidates.
        role: What the ranker is called in errors.

    Raises:
        ValueError: See `scores_of`.
    """
    scores, spend = scores_of(ranker, lists.frame, role)
    return Lists(lists.frame.assign(**{SPEND: spend}), lists.starts).by_score(scores)


def rescore_some(ranker: pt.Transformer, lists: Lists, chosen: npt.NDArray[np.bool_], role: str) -> Lists:
    """Rescore only the chosen rows and put them above the other rows of their query, which keep their order.

    Where a query has both kinds of rows, the scores of those that weren't chosen are shifted down to fit underneath.

    Args:
        ranker: Given nothing but the chosen rows, and not called if there are none.
        lists: The candidates, ranked by their scores, as `rescore` gives them.
        chosen: One truth value a row.
        role: What the ranker is called in errors.
    """
    scores = floats(lists.frame, "score")
    given = lists.frame[chosen].drop(columns=SPEND).reset_index(drop=True)
    spend = floats(lists.frame, SPEND)
    scores[chosen], more = scores_of(ranker, given, role)
    spend[chosen] += more
    for rows in lists:
        top, rest = scores[rows][chosen[rows]], ~chosen[rows]
        if len(top) and rest.any():
            scores[rows][rest] += top.min() - 1.0 - scores[rows][rest].max()
    place = np.empty(len(scores))
    place[np.lexsort((np.where(chosen, -scores, 0.0), ~chosen))] = np.arange(len(scores))
    return Lists.by(lists.frame.assign(**{"score": scores, SPEND: spend}), place)


def scores_of(ranker: pt.Transformer, frame: pd.DataFrame, role: str) -> tuple[Floats, Floats]:
    """What a ranker gives each row of a frame, kept within `HIGHEST`; it isn't called for an empty one.

    Beside it what the ranker spent on each row, by its column `spend`; NaN where it has none.

    The ranker may reorder its rows and add columns. Rows are found again by the column `ROW`, or by qid and docno if
    the ranker drops it.

    Args:
        ranker: Any transformer from candidates to scored candidates.
        frame: Candidates, with a plain index.
        role: What the ranker is called in errors.

    Raises:
        ValueError: The ranker returns no score column, leaves a row without a score or with NaN, or drops what would
            tell two rows of one docno apart; the message names the query.
    """
    scores = np.full(len(frame), np.nan)
    spend = np.full(len(frame), np.nan)
    if frame.empty:
        return scores, spend
    given = frame.drop(columns="spend", errors="ignore")  # what an earlier ranker spent isn't this one's
    output = ranker.transform(given.assign(**{ROW: np.arange(len(frame))}))
    if "score" not in output:
        raise ValueError(f"{role} ({ranker!r}) returned no score column, only {list(output.columns)}")
    rows = _by_position(frame, output) if ROW in output else _by_name(frame, output, f"{role} ({ranker!r})")
    known = np.flatnonzero(rows >= 0)[::-1]  # backwards: of a row that comes twice, the first counts
    scores[rows[known]] = floats(output, "score")[known]
    if isinstance(ranker, IdentityTransformer):
        spend[:] = 0.0
    elif "spend" in output:
        spend[rows[known]] = floats(output, "spend")[known]
    if np.isnan(scores).any():
        row = frame.iloc[int(np.isnan(scores).argmax())]
        raise ValueError(
            f"{role} ({ranker!r}) gave NaN or no score at all to {int(np.isnan(scores).sum())} candidates, the first: "
            f"document {row['docno']!r} of query {row['qid']!r}; a reranker must score every row that it is given (to "
            "have only the head of a list scored, give super_depth to the router)"
        )
    return np.clip(scores, -HIGHEST, HIGHEST), spend


def _by_position(frame: pd.DataFrame, output: pd.DataFrame) -> Integers:
    """Which row of the frame each row of a ranker's output is; -1 for one that has become another document's."""
    given, found = floats(output, ROW), _names(output)
    names = _names(frame)
    return np.asarray(
        [
            int(row) if row in range(len(names)) and names[int(row)] == name else -1
            for row, name in zip(given.tolist(), found, strict=True)
        ],
        dtype=np.int64,
    )


def _by_name(frame: pd.DataFrame, output: pd.DataFrame, ranker: str) -> Integers:
    """The same for a ranker that dropped the column `ROW`: rows of one name are equal, so any of them will do."""
    rows: dict[Any, list[int]] = defaultdict(list)
    for row, name in enumerate(_names(frame)):
        rows[name].append(row)
    content = frame.drop(columns=["score", "rank"], errors="ignore")
    for (qid, docno), own in rows.items():
        if len(own) > 1 and len({repr(row) for row in content.iloc[own].itertuples(index=False, name=None)}) > 1:
            raise ValueError(
                f"{ranker} drops its input's columns, and document {docno!r} of query {qid!r} comes {len(own)} times "
                "with other content: nothing says which score is whose; leave such rows out, or give a ranker that "
                "keeps columns"
            )
    left = {name: iter(own) for name, own in rows.items()}
    return np.asarray([next(left.get(name, iter(())), -1) for name in _names(output)], dtype=np.int64)


def _names(frame: pd.DataFrame) -> list[tuple[Any, Any]]:
    return list(zip(frame["qid"].tolist(), frame["docno"].tolist(), strict=True))
