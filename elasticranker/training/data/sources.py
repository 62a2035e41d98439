"""Training data as people have it: queries, their positives, BM25 candidates and texts, read from a folder.

A folder holds one or more sources. `<source>.docs.tsv[.gz]` has `number <tab> text`, `<source>.queries.jsonl[.gz]` one
`{"query", "positive": [numbers], "bm25": [numbers]}` a line. `<source>.jsonl[.gz]` (the form of MS MARCO QA) has
`{"query", "passages": [texts], "is_selected": [0/1] or null}`: null means candidates without judgements. A line may
have a `"qid"`; its query is otherwise known by its position (from 0), as a passage of the second form is by its own.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from elasticranker.textfiles import find, read_lines


@dataclass
class TrainingQuery:
    """A query with the numbers of its known positives and of candidates, hardest first.

    `judged` is False where nobody looked: such a query teaches by its teacher's scores alone. `qid` is what files of
    scores know it by.
    """

    text: str
    positives: list[int]
    candidates: list[int]
    judged: bool = True
    qid: str = ""


@dataclass
class Source:
    """One source: its name, its documents (a number is a position) and its queries.

    `docnos` are what files of scores know the documents by; their positions where it is empty.
    """

    name: str
    documents: list[str] = field(default_factory=list)
    queries: list[TrainingQuery] = field(default_factory=list)
    docnos: list[str] = field(default_factory=list)

    def docno(self, number: int) -> str:
        """What files of scores know a document by."""
        return self.docnos[number] if self.docnos else str(number)


def read_sources(folder: str | Path) -> list[Source]:
    """Every source of a folder, by name.

    Raises:
        ValueError: nothing to read, or a malformed line (file and line number are named).
    """
    folder = Path(folder)
    sources = []
    for path in sorted(folder.glob("*.jsonl*")):
        name = path.name.split(".jsonl")[0]
        if name.endswith(".queries"):
            sources.append(_read_pair(folder, name.removesuffix(".queries"), path))
        else:
            sources.append(_read_passages(name, path))
    if not sources:
        raise ValueError(
            f"{folder}: no *.queries.jsonl[.gz] or *.jsonl[.gz] in this folder "
            " (see elasticranker.training.data.sources)"
        )
    return sources


def _read_pair(folder: Path, name: str, queries: Path) -> Source:
    documents = find(folder / f"{name}.docs.tsv")
    if documents is None:
        raise ValueError(f"{queries} has no {name}.docs.tsv[.gz] beside it")
    source = Source(name)
    numbers: dict[str, int] = {}
    for line, text in read_lines(documents):
        number, tab, document = text.partition("\t")
        if not tab:
            raise ValueError(f"{documents}:{line}: expected 'number <tab> text'")
        numbers[number] = len(source.documents)
        source.documents.append(document)
        source.docnos.append(number)
    for line, text in read_lines(queries):
        try:
            row = json.loads(text)
            positives = [numbers[str(number)] for number in row["positive"]]
            candidates = [numbers[str(number)] for number in row["bm25"]]
            qid = str(row.get("qid", len(source.queries)))
            source.queries.append(TrainingQuery(str(row["query"]), positives, candidates, qid=qid))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{queries}:{line}: {type(error).__name__} {error}: expected query, positive, bm25"
            ) from error
    return source


def _read_passages(name: str, path: Path) -> Source:
    source = Source(name)
    numbers: dict[str, int] = {}
    for line, text in read_lines(path):
        try:
            row = json.loads(text)
            passages, selected = [str(passage) for passage in row["passages"]], row["is_selected"]
            query, qid = str(row["query"]), str(row.get("qid", len(source.queries)))
            positive = [passage for passage, label in zip(passages, selected or (), strict=bool(selected)) if label]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{path}:{line}: {type(error).__name__} {error}: expected query, passages, is_selected"
            ) from error
        for passage in passages:
            if passage not in numbers:
                numbers[passage] = len(source.documents)
                source.documents.append(passage)
        positives = [numbers[passage] for passage in positive]
        candidates = [numbers[passage] for passage in dict.fromkeys(passages) if numbers[passage] not in positives]
        source.queries.append(TrainingQuery(query, positives, candidates, judged=bool(positives), qid=qid))
    return source
