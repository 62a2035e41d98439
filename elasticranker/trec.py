"""TREC run files: read strictly, written whole.

A run has one line a candidate, `qid Q0 docno rank score tag`. As in trec_eval, the score orders the candidates and the
written rank is not trusted.
"""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from elasticranker.files import atomic_write

if TYPE_CHECKING:
    import pandas as pd


def read_run(path: str | Path) -> pd.DataFrame:
    """Read a run file, plain or gzip (known by its content).

    Args:
        path: The file.

    Returns:
        A frame with the columns qid, docno, score and rank. Queries are in the order of the file, inside a query
        candidates by falling score (equal scores in the order of the file); rank counts from 0.

    Raises:
        ValueError: A line is malformed, a score is no finite number, a candidate comes twice, or the gzip data is
            damaged. The message names file and line.
        OSError: The file cannot be opened.

    Example:
        >>> read_run("bm25.trec.gz").head(1)
           qid docno  score  rank
        0  101  d512   14.2     0
    """
    import pandas as pd

    queries: dict[str, dict[str, float]] = {}
    for number, line in _lines(Path(path)):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 6:
            raise ValueError(
                f"{path}, line {number}: expected `qid Q0 docno rank score tag`, got {len(fields)} fields: "
                f"{line.strip()[:80]!r}"
            )
        qid, _, docno, _, score, _ = fields
        candidates = queries.setdefault(qid, {})
        if docno in candidates:
            raise ValueError(f"{path}, line {number}: {docno} comes a second time for the query {qid}")
        candidates[docno] = _score(score, path, number)
    rows = [
        (qid, docno, score, rank)
        for qid, candidates in queries.items()
        for rank, (docno, score) in enumerate(sorted(candidates.items(), key=lambda item: -item[1]))
    ]
    frame = pd.DataFrame(rows, columns=["qid", "docno", "score", "rank"])
    return frame.astype({"qid": "str", "docno": "str", "score": "float64", "rank": "int64"})


def _score(text: str, path: str | Path, number: int) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not math.isfinite(score):
        raise ValueError(f"{path}, line {number}: the score {text!r} is not a finite number")
    return score


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers (from 1) and lines of a plain or gzip text file; damage becomes a ValueError with its place."""
    number = 0
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file: IO[bytes] = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
        try:
            for number, line in enumerate(file, start=1):
                yield number, line.decode("utf-8")
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(
                f"{path}, after line {number}: damaged gzip data ({error}); the file is incomplete"
            ) from error
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}, line {number}: not UTF-8 text ({error.reason})") from error


def format_run(frame: pd.DataFrame, tag: str) -> Iterator[str]:
    """The lines of a run, each with its newline: ranks count from 1, scores keep full precision.

    Args:
        frame: Columns qid, docno and score, and rank if the order of equal scores matters.
        tag: Name of the system, the last field of every line.

    Raises:
        ValueError: A name is empty or has white space in it, or a score is not finite: a run file cannot hold that.
    """
    _check_name(tag, "tag")
    keys, rising = (["score", "rank"], [False, True]) if "rank" in frame else (["score"], [False])
    for qid, candidates in frame.groupby("qid", sort=False):
        _check_name(str(qid), "qid")
        ordered = candidates.sort_values(keys, ascending=rising, kind="stable")
        for rank, (docno, score) in enumerate(zip(ordered["docno"], ordered["score"], strict=True), start=1):
            _check_name(docno, "docno")
            if not math.isfinite(score):
                raise ValueError(f"the score of {docno} for the query {qid} is {score}: a run file cannot hold it")
            yield f"{qid} Q0 {docno} {rank} {float(score)!r} {tag}\n"


def _check_name(name: str, what: str) -> None:
    if len(name.split()) != 1 or name != name.strip():
        raise ValueError(f"the {what} {name!r} is empty or has white space in it: a run file cannot hold it")


@contextmanager
def open_run(file: IO[bytes], name: str | Path) -> Iterator[IO[bytes]]:
    """Wrap a binary file so that it is compressed where `name` ends in .gz; equal input gives equal bytes."""
    if not str(name).endswith(".gz"):
        yield file
        return
    with gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=6) as packed:
        yield packed  # type: ignore[misc]


def write_run(path: str | Path, frame: pd.DataFrame, tag: str) -> None:
    """Write a run file, gzip by suffix; it appears under its name only when it is complete.

    Args:
        path: The file; an older one is replaced.
        frame: Columns qid, docno and score, and rank if the order of equal scores matters.
        tag: Name of the system, the last field of every line.

    Raises:
        ValueError: A name has white space in it.
        OSError: The file cannot be written, or the disk is full.

    Example:
        >>> write_run("out.trec.gz", ranker.transform(candidates), "elastic-25%")
    """
    with atomic_write(path) as file, open_run(file, path) as lines:
        lines.writelines(line.encode() for line in format_run(frame, tag))
