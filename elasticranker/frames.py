"""Result frames, as every transformer here takes them: rows that keep their identity from the first line to the last.

pandas groups rows by looking keys up, and each of its ways drops or reorders keys that it doesn't like (None, NaN,
unused categories). `Lists` puts rows together by position instead, once; from then on whatever is computed for rows is
an array with an entry a row, and nothing is looked up again.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from elasticranker.planning.plan import Floats, Integers, strictly_falling

NAMES = ("qid", "docno")
HIGHEST = 1e38  # scores are kept within float32, which evaluators read, with room to shift a tier below another


@dataclass(frozen=True, eq=False)
class Lists:
    """The candidates of some queries, a list a query; a row is known by its position.

    Attributes:
        frame: queries in the order of their first row, the rows of each together; `rank` from 0 and a plain index.
        starts: `[lists + 1]` where each list begins; the last is the number of rows.

    Example:
        >>> lists = in_incoming_order(frame)  # doctest: +SKIP
        >>> [lists.frame["docno"].iloc[rows].tolist() for rows in lists]  # doctest: +SKIP
        [['d1', 'd2'], ['d7']]
    """

    frame: pd.DataFrame
    starts: Integers

    @classmethod
    def by(cls, frame: pd.DataFrame, key: Floats) -> Lists:
        """The rows of a frame, those of each query by rising key; equal keys stay in order, NaN comes last.

        Args:
            frame: has a qid in every row, in any order and with any index.
            key: `[rows]`.
        """
        numbers: dict[Any, int] = {}  # Python's own keys: no dtype of pandas has a say
        query = np.asarray([numbers.setdefault(qid, len(numbers)) for qid in frame["qid"].tolist()], dtype=np.int64)
        starts = np.concatenate([[0], np.cumsum(np.bincount(query, minlength=len(numbers)))]).astype(np.int64)
        rank = np.arange(len(frame)) - np.repeat(starts[:-1], np.diff(starts))
        return cls(frame.iloc[np.lexsort((key, query))].reset_index(drop=True).assign(rank=rank), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __iter__(self) -> Iterator[slice]:
        """Each list's rows."""
        return (self.rows(number, number + 1) for number in range(len(self)))

    def rows(self, first: int, end: int) -> slice:
        """The rows of the lists from number `first` to the one before `end`."""
        return slice(int(self.starts[first]), int(self.starts[end]))

    def frames(self) -> Iterator[pd.DataFrame]:
        """Each list's rows as a frame of its own, with a plain index."""
        return (self.frame.iloc[rows].reset_index(drop=True) for rows in self)

    @property
    def qids(self) -> list[Any]:
        """`[lists]`."""
        return self.frame["qid"].iloc[self.starts[:-1]].tolist()

    @property
    def numbers(self) -> Integers:
        """`[rows]` the number of the list that each row is in."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def by_score(self, scores: Floats) -> Lists:
        """The lists with new scores (one a row), each from best to worst; ties keep their order."""
        return Lists.by(self.frame.assign(score=scores), -scores)

    def head(self, depth: int) -> Lists:
        """The first so many rows of each list."""
        kept = self.frame[self.frame["rank"].to_numpy() < depth]
        return Lists.by(kept, np.zeros(len(kept)))

    def untied(self) -> pd.DataFrame:
        """The frame with scores that fall from row to row of a list, even where they are read as float32.

        Scores that already do stay as they are.
        """
        scores = np.clip(floats(self.frame, "score"), -HIGHEST, HIGHEST)
        rounded = scores.astype(np.float32)
        first = self.frame["rank"].to_numpy() == 0
        if not (first[1:] | (rounded[1:] < rounded[:-1])).all():
            scores = np.concatenate([strictly_falling(scores[rows]) for rows in self])
        return self.frame.assign(score=scores)


def in_incoming_order(
    frame: pd.DataFrame, *, names: Sequence[str] = NAMES, texts: Sequence[str] = (), others: Sequence[str] = ()
) -> Lists:
    """Candidates as they came: by `rank` if there is one, else by `score`, else row by row.

    Args:
        frame: a result frame.
        names: columns of names, qid among them.
        texts: columns of texts.
        others: columns that are read by somebody else.

    Raises:
        ValueError: see `check`.
    """
    check(frame, names=names, texts=texts, others=others)
    if "rank" in frame:
        return Lists.by(frame, floats(frame, "rank"))
    return Lists.by(frame, -floats(frame, "score") if "score" in frame else np.zeros(len(frame)))


def check(
    frame: pd.DataFrame, *, names: Sequence[str] = NAMES, texts: Sequence[str] = (), others: Sequence[str] = ()
) -> None:
    """Refuse a frame with a row that could get lost, or be taken for another.

    Args:
        frame: any frame that has these columns.
        names: columns that must have a value in every row.
        texts: columns that must have a string in every row.
        others: columns that may hold anything, but must be there only once, as must the ones above, score and rank.

    Raises:
        ValueError: a column is there twice, a name is missing, or a text isn't one. The message names the column, the
            row and what to do.
    """
    for column in (*names, *texts, *others, "score", "rank"):
        times = list(frame.columns).count(column)
        if times > 1:
            raise ValueError(
                f"the frame has {times} columns named {column!r}, and nothing says which is meant: keep one, or rename "
                "the others"
            )
    for column in names:
        remedy = f"give every row a {column}, or drop such rows with frame.dropna(subset=[{column!r}]) (a join leaves "
        remedy += "them where it found no partner, and read_csv where a file says NA, unless keep_default_na=False)"
        _refuse(frame, column, _nameless(frame[column].tolist()), "no name", remedy)
    for column in texts:
        remedy = f"every {column} must be a string (an empty one is fine): fill in what is missing, or turn other "
        remedy += f"values into text with frame[{column!r}].astype(str)"
        _refuse(frame, column, [not isinstance(value, str) for value in frame[column].tolist()], "no text", remedy)


def _nameless(values: list[Any]) -> list[bool]:
    missing = pd.isna(pd.Series(values, dtype=object)).tolist()
    return [gone or not isinstance(value, Hashable) for gone, value in zip(missing, values, strict=True)]


def _refuse(frame: pd.DataFrame, column: str, wrong: list[bool], what: str, remedy: str) -> None:
    """Raise a ValueError that counts the wrong rows of a column and shows the first, if there are any."""
    if not any(wrong):
        return
    row = wrong.index(True)
    first = {name: frame[name].iloc[[row]].tolist()[0] for name in (*NAMES, column) if name in frame}
    place = "".join(f", {name} {first[name]!r}" for name in first if name != column)
    raise ValueError(
        f"the column {column!r} has {what} in {sum(wrong)} of {len(wrong)} rows, the first is row {row} "
        f"(from 0{place}) with {first[column]!r}: {remedy}"
    )


def floats(frame: pd.DataFrame, column: str) -> Floats:
    """A column as floats, whatever it holds: NaN for what is no number."""
    values = pd.to_numeric(pd.Series(frame[column].tolist(), dtype=object), errors="coerce")
    return np.array(values.to_numpy(dtype=float, na_value=np.nan), dtype=np.float64)


def as_text(frame: pd.DataFrame, column: str) -> list[str]:
    """The names in a column as files and stores know them: 7 is "7".

    Raises:
        ValueError: a name is missing, or is neither text nor a whole number (nobody knows what 7.0 is called there).
    """
    check(frame, names=[column])
    values = frame[column].tolist()
    odd = [not isinstance(value, (str, Integral)) or isinstance(value, bool) for value in values]
    remedy = f"files know a {column} as text, and whole numbers as their digits: turn other values into text first, "
    remedy += f"numbers with frame[{column!r}].astype('Int64').astype(str)"
    _refuse(frame, column, odd, "neither text nor a whole number", remedy)
    return [str(value) for value in values]


def for_ir_measures(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """A run (`value` "score") or qrels ("label") as ir_measures takes them: names as text, so that 7 is "7" in both."""
    names = {"query_id": as_text(frame, "qid"), "doc_id": as_text(frame, "docno")}
    return pd.DataFrame({**names, "relevance" if value == "label" else value: frame[value].to_numpy()})
