"""Reading `key <tab> text` files and TREC qrels, with the file and line number in every complaint."""

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from elasticranker.textfiles import read_lines


def read_pairs(path: Path, key: str, value: str) -> Iterator[tuple[int, str, str]]:
    """Line number, key and value of every `key <tab> value` line. The value may be empty, or hold more tabs.

    Args:
        key: what the first column is called in complaints, such as "docno".
        value: the same for the second column.

    Raises:
        ValueError: no tab, or a key that is empty or holds white space (TREC files could not); with file and line.
    """
    for number, line in read_lines(path):
        name, tab, text = line.partition("\t")
        if not tab:
            raise ValueError(f"{path}, line {number}: expected {key} <tab> {value}, found no tab in {line[:60]!r}")
        if name.split() != [name]:
            raise ValueError(f"{path}, line {number}: a {key} cannot be empty or hold white space: {name[:60]!r}")
        yield number, name, text


def read_corpus(path: Path) -> Iterator[dict[str, str]]:
    """Stream the documents of a corpus file as dictionaries of docno and text; 8 bytes a document are kept.

    Raises:
        ValueError: a malformed line; or, once all have been read, a docno that stands on two lines.
    """
    hashes = array("q")
    for _, docno, text in read_pairs(path, "docno", "text"):
        hashes.append(hash(docno))
        yield {"docno": docno, "text": text}
    values, counts = np.unique(np.asarray(hashes, dtype=np.int64), return_counts=True)
    suspects = set(values[counts > 1].tolist())
    if suspects:  # two docnos may share a hash: only the docnos themselves convict
        lines: dict[str, int] = {}
        for number, docno, _ in read_pairs(path, "docno", "text"):
            if hash(docno) in suspects and lines.setdefault(docno, number) != number:
                raise ValueError(f"{path}, line {number}: docno {docno!r} was already on line {lines[docno]}")


def read_queries(path: Path) -> pd.DataFrame:
    """Columns qid and query, in the order of the file.

    Raises:
        ValueError: a malformed line or a repeated qid; with file and line number.
    """
    queries: dict[str, str] = {}
    for number, qid, query in read_pairs(path, "qid", "query"):
        if qid in queries:
            raise ValueError(f"{path}, line {number}: qid {qid!r} has a query already")
        queries[qid] = query
    return pd.DataFrame({"qid": list(queries), "query": list(queries.values())}, dtype="str")


def read_qrels(path: Path) -> pd.DataFrame:
    """Columns qid, docno and label (int) of TREC qrels: `qid 0 docno label`, parted by white space.

    Raises:
        ValueError: a malformed line or a pair judged twice; with file and line number.
    """
    labels: dict[tuple[str, str], int] = {}
    for number, line in read_lines(path):
        try:
            qid, _, docno, label = line.split()
            judged = int(label)
        except ValueError:
            raise ValueError(f"{path}, line {number}: expected qid 0 docno label, found {line[:60]!r}") from None
        if (qid, docno) in labels:
            raise ValueError(f"{path}, line {number}: docno {docno!r} is judged twice for qid {qid!r}")
        labels[qid, docno] = judged
    frame = pd.DataFrame(list(labels), columns=["qid", "docno"], dtype="str")
    return frame.assign(label=np.fromiter(labels.values(), dtype=np.int64, count=len(labels)))
