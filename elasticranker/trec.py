"""TREC run files: read strictly, written whole.

A run has one line a candidate, `qid Q0 docno rank score tag`. As in trec_eval, the score orders the candidates and the
written rank is not trusted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from elasticranker.encodable import encodable
from elasticranker.files import atomic_write
from elasticranker.progress import bar
from elasticranker.textfiles import compressed, read_lines

if TYPE_CHECKING:
    import pandas as pd


def read_run(path: str | Path) -> pd.DataFrame:
    """Read a run file, plain or compressed (see `elasticranker.textfiles`).

    Args:
        path: The file.

    Returns:
        A frame with the columns qid, docno, score and rank. Queries are in the order of the file, inside a query
        candidates by falling score (equal scores in the order of the file); rank counts from 0.

    Raises:
        ValueError: A line is malformed, a score is no finite number, a candidate comes twice, or the file is damaged
            or of an unknown compressed form. The message names file and line.
        OSError: The file cannot be opened.

    Example:
        >>> read_run("bm25.trec.gz").head(1)
           qid docno  score  rank
        0  101  d512   14.2     0
    """
    import pandas as pd

    queries: dict[str, dict[str, float]] = {}
    for number, line in bar(read_lines(path), name=f"reading {Path(path).name}", unit="lines", delay=1.0):
        fields = line.split()
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


def format_run(frame: pd.DataFrame, tag: str) -> Iterator[str]:
    """The lines of a run, each with its newline: ranks count from 1, scores keep full precision.

    Args:
        frame: Columns qid, docno and score, and rank if the order of equal scores matters. Names may be whole numbers.
        tag: Name of the system, the last field of every line.

    Raises:
        ValueError: A name is missing, empty or has white space in it, a candidate comes twice, or a score is not
            finite: a run file cannot hold that.
    """
    import numpy as np
    import pandas as pd

    from elasticranker.frames import Lists, as_text, floats

    check_name(tag, "tag")
    scores = floats(frame, "score")
    ties = floats(frame, "rank") if "rank" in frame else np.zeros(len(frame))
    place = np.empty(len(frame))
    place[np.lexsort((ties, -scores))] = np.arange(len(frame))
    qids, docnos = as_text(frame, "qid"), as_text(frame, "docno")
    for what, names in (("qid", qids), ("docno", docnos)):
        for name in dict.fromkeys(names):
            check_name(name, what)
    lists = Lists.by(pd.DataFrame({"qid": qids, "docno": docnos, "score": scores}), place)
    for qid, candidates in zip(lists.qids, lists.frames(), strict=True):
        written = set()
        for rank, (docno, score) in enumerate(zip(candidates["docno"], candidates["score"], strict=True), start=1):
            if not math.isfinite(score):
                raise ValueError(f"the score of {docno} for the query {qid} is {score}: a run file cannot hold it")
            if docno in written:
                raise ValueError(f"{docno} comes a second time for the query {qid}: a run file cannot hold that")
            written.add(docno)
            yield f"{qid} Q0 {docno} {rank} {float(score)!r} {tag}\n"


def check_name(name: str, what: str) -> None:
    """Refuse a name that a run file cannot hold.

    Args:
        name: A qid, a docno or a tag.
        what: Which of them.

    Raises:
        ValueError: It is empty, has white space in it, begins with a byte order mark, or is no UTF-8.
    """
    if name.split() != [name] or name.startswith("\ufeff") or encodable(name) != name:
        raise ValueError(
            f"the {what} {name!r} is empty, has white space in it, or is no UTF-8: a run file cannot hold it"
        )


def write_run(path: str | Path, frame: pd.DataFrame, tag: str) -> None:
    """Write a run file, compressed if its name ends in .gz, .bz2 or .xz; it appears only when it is complete.

    Args:
        path: The file; an older one is replaced.
        frame: Columns qid, docno and score, and rank if the order of equal scores matters.
        tag: Name of the system, the last field of every line.

    Raises:
        ValueError: A run file cannot hold the frame, see `format_run`, or the name is one of another compressed form.
        OSError: The file cannot be written, or the disk is full.

    Example:
        >>> write_run("out.trec.gz", ranker.transform(candidates), "elastic-25%")
    """
    with atomic_write(path) as file, compressed(file, path) as lines:
        lines.writelines(line.encode() for line in format_run(frame, tag))
