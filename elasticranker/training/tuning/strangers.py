"""Strangers: for every query, candidates of other queries, to learn what a passage on another subject looks like."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from elasticranker.frames import in_incoming_order


def strangers(frame: pd.DataFrame, relevant: pd.DataFrame, count: int, *, seed: int = 0) -> pd.DataFrame:
    """Candidates for the queries of a frame, drawn from those of its other queries.

    Args:
        frame: columns qid, query, docno and text.
        relevant: columns qid and docno: pairs that are judged relevant, which are left out as are a query's own.
        count: how many a query, or as many as there are.
        seed: of the draws.

    Returns:
        Columns qid, query, docno, text, score (0) and rank, queries in the frame's order.

    Raises:
        ValueError: a query has no stranger: the frame has too few queries.
    """
    random = np.random.default_rng(seed)
    documents = frame.drop_duplicates("docno")
    good: dict[Any, set[Any]] = {}
    for qid, docno in zip(relevant["qid"], relevant["docno"], strict=True):
        good.setdefault(qid, set()).add(docno)
    parts = []
    lists = in_incoming_order(frame)
    for qid, rows in zip(lists.qids, lists.frames(), strict=True):
        others = np.flatnonzero(~documents["docno"].isin(set(rows["docno"]) | good.get(qid, set())))
        if not len(others):
            raise ValueError(f"no other query has a candidate that query {qid!r} hasn't: give more queries")
        chosen = documents.iloc[random.choice(others, min(count, len(others)), replace=False)]
        made = chosen[["docno", "text"]].assign(
            qid=qid, query=rows["query"].iloc[0], score=0.0, rank=range(len(chosen))
        )
        parts.append(made)
    return pd.concat(parts, ignore_index=True)[["qid", "query", "docno", "text", "score", "rank"]]
