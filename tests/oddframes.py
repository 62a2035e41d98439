"""Frames as people have them: keys of every kind and dtype, any index, candidates in any order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

try:
    import pyarrow  # noqa: F401

    ARROW = True
except ImportError:  # not there, or not for this numpy
    ARROW = False

QUERIES = ["who copies the river", "what is a cat"]
TEXTS = ["the river bank", "a cat", "", "how do i copy a whole folder", "money flows to the bank of the river"]
TEXT_KEYS = [["1", "2", "NA", "nan"], ["", " ", "\ufeff1", "🦊"], ["b", "a", "None", "07"]]
WHOLE_KEYS = [[3, 1, -2, 10**12]]
OTHER_KEYS = [[1, "1", 2.5, (1, 2)], [b"1", "1", frozenset([1]), np.str_("2")]]
TEXT_DTYPES = [None, "object", "string[python]", "category", *(["string[pyarrow]"] if ARROW else [])]
WHOLE_DTYPES = ["object", "int64", "Int64", "category", *(["int64[pyarrow]"] if ARROW else [])]
INDEXES = ["range", "reversed", "zeros", "words", "two levels"]


@dataclass(frozen=True)
class OddFrame:
    """A frame, and what its rows are in Python's own terms.

    Attributes:
        frame: columns qid, query, docno, text and row (from 0, in the order of `rows`), and perhaps score and rank.
        rows: qid, query, docno and text of each row, and a number that orders the candidates of a query as they came.
        plain: the same as `frame` with plain text and a plain index.
    """

    frame: pd.DataFrame
    rows: list[dict[str, Any]]
    plain: pd.DataFrame


def column(values: list[Any], dtype: str | None) -> pd.Series:
    """A column of a dtype; a categorical one has categories that no row uses, before and after those that are used."""
    if dtype == "category":
        kind = str if values and isinstance(values[0], str) else int
        known = list(dict.fromkeys(values))
        return pd.Series(pd.Categorical(values, categories=[kind(98765), *known[::-1], kind(98766)]))
    if dtype == "object" or dtype is None:
        return pd.Series(values, dtype=dtype)
    return pd.Series(values, dtype="object").astype(dtype)


@st.composite
def keys(draw: st.DrawFn, *, only_names: bool = False) -> tuple[list[Any], str | None]:
    """Four different keys and a dtype that holds them; only text and whole numbers where others aren't names."""
    kind = draw(st.sampled_from(["text", "whole"] if only_names else ["text", "whole", "other"]))
    if kind == "text":
        return draw(st.sampled_from(TEXT_KEYS)), draw(st.sampled_from(TEXT_DTYPES))
    if kind == "whole":
        return draw(st.sampled_from(WHOLE_KEYS)), draw(st.sampled_from(WHOLE_DTYPES))
    return draw(st.sampled_from(OTHER_KEYS)), "object"


@st.composite
def odd_frames(draw: st.DrawFn, *, only_names: bool = False) -> OddFrame:
    """Up to a dozen candidates of up to four queries, shuffled; pairs, docnos and query texts come more than once."""
    places = draw(
        st.lists(st.tuples(*(st.integers(0, most) for most in (3, 1, 3, len(TEXTS) - 1))), min_size=1, max_size=12)
    )
    (qids, qid_dtype), (docnos, docno_dtype) = draw(keys(only_names=only_names)), draw(keys(only_names=only_names))
    rows = [
        {"qid": qids[qid], "query": QUERIES[query], "docno": docnos[docno], "text": TEXTS[text]}
        for qid, query, docno, text in places
    ]
    dtypes = {"qid": qid_dtype, "docno": docno_dtype}
    dtypes |= {name: draw(st.sampled_from(TEXT_DTYPES)) for name in ("query", "text")}
    frame = pd.DataFrame({name: column([row[name] for row in rows], dtype) for name, dtype in dtypes.items()})
    frame["row"] = range(len(rows))
    plain = pd.DataFrame({name: [row[name] for row in rows] for name in ("query", "text")}, dtype="object")
    plain = plain.assign(qid=[f"q{place[0]}" for place in places], docno="d", row=frame["row"])
    values = draw(st.lists(st.integers(-3, 3) | st.none(), min_size=len(rows), max_size=len(rows)))
    arrival = [0.0] * len(rows)
    for name, sign in (("score", -1), ("rank", 1)):  # a rank goes before a score
        if draw(st.booleans()):
            frame[name] = pd.Series(values, dtype="object").astype(
                draw(st.sampled_from(["float64", "Float64", "object"]))
            )
            plain[name] = pd.Series(values, dtype="float64")
            arrival = [np.inf if value is None else sign * value for value in values]
    rows = [row | {"arrival": (key, place)} for place, (row, key) in enumerate(zip(rows, arrival, strict=True))]
    frame.index = index(draw(st.sampled_from(INDEXES)), len(rows))
    return OddFrame(frame, rows, plain)


def index(kind: str, rows: int) -> pd.Index:
    """An index that is no help."""
    if kind == "two levels":
        return pd.MultiIndex.from_arrays([["x"] * rows, [0] * rows])
    made = {"range": range(rows), "reversed": range(rows)[::-1], "zeros": [0] * rows, "words": ["again"] * rows}
    return pd.Index(made[kind])
