"""Does a passage hold an answer? As DPR (Karpukhin et al. 2020) asks it: the answer's tokens in a row, in any case."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from elasticranker.collections.folder import Folder
from elasticranker.collections.irds import IrDataset

if TYPE_CHECKING:
    from elasticranker.collections import Collection

DEPTHS = (5, 20, 100)  # R@k: is there an answer among the first k passages?
TOKEN = re.compile(r"\w+|[^\w\s]")


def answers_of(collection: Collection) -> dict[str, list[str]]:
    """The answers of each qid: of a folder's answers.jsonl (`id`, `answers`), or of a dataset of ir_datasets.

    Returns:
        Nothing where the collection has no answers.
    """
    if isinstance(collection, Folder):
        path = collection.path / "answers.jsonl"
        if not path.exists():
            return {}
        with open(path, encoding="utf-8") as lines:
            return {str(row["id"]): list(row["answers"]) for row in map(json.loads, lines)}
    if isinstance(collection, IrDataset):
        import ir_datasets

        asked = ir_datasets.load(collection.id).queries_iter()
        return {query.query_id: list(query.answers) for query in asked if getattr(query, "answers", None)}
    return {}


def tokens(text: str) -> list[str]:
    """Words and signs, without case and with combining characters apart, as DPR takes them.

    Example:
        >>> tokens("Café, 1989")
        ['cafe', '́', ',', '1989']
    """
    return TOKEN.findall(unicodedata.normalize("NFD", text).lower())


def holds(text: Sequence[str], answers: Iterable[Sequence[str]]) -> bool:
    """Do the tokens of a text hold those of any answer, in a row?"""
    for answer in answers:
        size = len(answer)
        if size and any(text[at : at + size] == answer for at in range(len(text) - size + 1)):
            return True
    return False


def recall(run: pd.DataFrame, answers: Mapping[str, Sequence[str]], texts: Mapping[str, str]) -> pd.DataFrame:
    """For each query with answers, whether one is among the first k passages; a query that the run lacks counts 0.

    Args:
        run: columns qid, docno and score.
        answers: by qid.
        texts: by docno.

    Returns:
        One row a query (qid is the index), one column a depth, such as `R@20`.
    """
    rows = []
    ranked = {qid: rows["docno"].tolist() for qid, rows in run.sort_values("score", ascending=False).groupby("qid")}
    split: dict[str, list[str]] = {}
    for qid, wanted in answers.items():
        sought = [tokens(answer) for answer in wanted]
        first = None
        for rank, docno in enumerate(ranked.get(qid, [])[: max(DEPTHS)]):
            if docno not in split:
                split[docno] = tokens(texts[docno])
            if holds(split[docno], sought):
                first = rank
                break
        rows.append([qid, *(float(first is not None and first < depth) for depth in DEPTHS)])
    return pd.DataFrame(rows, columns=["qid", *(f"R@{depth}" for depth in DEPTHS)]).set_index("qid")
