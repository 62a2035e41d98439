"""Prepared training data: groups of one query and its scored candidates, small enough to carry to another machine.

`prepare` turns sources into a folder that the trainer reads with numpy alone: `texts.json.gz` (documents and queries)
and `groups.npz` (numbers, teacher scores, labels).
"""

from __future__ import annotations

import gzip
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from elasticranker.training.sources import Source, TrainingQuery

FORMAT = 1


class Teacher(Protocol):
    """Whatever turns queries and documents into unit vectors whose dot product is a score."""

    def queries(self, texts: Sequence[str]) -> np.ndarray: ...
    def documents(self, texts: Sequence[str]) -> np.ndarray: ...


@dataclass
class Groups:
    """`n` queries with up to `c` candidates each.

    Attributes:
        documents: texts of all documents.
        queries: `n` query texts.
        sources: names of the sources.
        source: `[n]` position in `sources` of each query.
        candidates: `[n, c]` document numbers, -1 where there are fewer.
        scores: `[n, c]` the teacher's scores (float16).
        labels: `[n, c]` 1 positive, 0 negative, -1 not judged.
        held_out: `[n]` True for validation queries, never trained on.
    """

    documents: list[str]
    queries: list[str]
    sources: list[str]
    source: np.ndarray
    candidates: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    held_out: np.ndarray

    def save(self, folder: str | Path) -> None:
        """Write the folder that `Groups.load` reads."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        texts = {"format": FORMAT, "documents": self.documents, "queries": self.queries, "sources": self.sources}
        with gzip.open(folder / "texts.json.gz", "wt", encoding="utf-8") as file:
            json.dump(texts, file, ensure_ascii=False)
        arrays = {name: getattr(self, name) for name in ("source", "candidates", "scores", "labels", "held_out")}
        np.savez_compressed(folder / "groups.npz", allow_pickle=False, **arrays)

    @classmethod
    def load(cls, folder: str | Path) -> Groups:
        """Read a prepared folder.

        Raises:
            ValueError: the folder isn't a prepared one, or of another format.
        """
        folder = Path(folder)
        if not (folder / "texts.json.gz").exists() or not (folder / "groups.npz").exists():
            raise ValueError(f"{folder} is not a prepared folder: run `elasticranker prepare` first")
        with gzip.open(folder / "texts.json.gz", "rt", encoding="utf-8") as file:
            texts = json.load(file)
        if texts["format"] != FORMAT:
            raise ValueError(f"{folder}: format {texts['format']}, this version reads {FORMAT}: prepare it again")
        with np.load(folder / "groups.npz", allow_pickle=False) as arrays:
            return cls(
                texts["documents"], texts["queries"], texts["sources"], **{name: arrays[name] for name in arrays}
            )


def prepare(
    sources: Sequence[Source],
    teacher: Teacher,
    *,
    candidates: int = 32,
    teacher_candidates: int = 12,
    random_candidates: int = 4,
    pseudo: Sequence[str] = (),
    held_out: int = 100,
    seed: int = 0,
) -> Groups:
    """Score the candidates of every query of every source.

    A query's candidates are its positives, then BM25's best, the teacher's nearest among the source's documents (hard
    where BM25's are easy) and a few random ones (easy everywhere: they fix the low end of the scale).

    Args:
        sources: what to train on.
        teacher: scores the pairs.
        candidates: the most candidates of a query.
        teacher_candidates: how many of them the teacher mines.
        random_candidates: how many of them are drawn at random.
        pseudo: names of sources whose documents also get a keyword query each, taught by the teacher alone; they form
            a source of their own, `<name>-keywords`.
        held_out: queries a source (at most a tenth of it) kept for validation.
        seed: of the random draws.
    """
    random = np.random.default_rng(seed)
    documents: list[str] = []
    queries: list[str] = []
    parts: list[tuple[np.ndarray, ...]] = []
    names: list[str] = []
    for source in sources:
        asked = [query for query in source.queries if query.text.strip() and (query.positives or query.candidates)]
        kept_out = min(held_out, len(asked) // 10)
        held = np.zeros(len(asked), dtype=bool)
        held[random.permutation(len(asked))[:kept_out]] = True
        belongs = np.full(len(asked), len(names), dtype=np.int16)
        names.append(source.name)
        if source.name in pseudo:
            made = keyword_queries(source.documents, random)
            asked = asked + made
            held = np.concatenate([held, np.zeros(len(made), dtype=bool)])
            belongs = np.concatenate([belongs, np.full(len(made), len(names), dtype=np.int16)])
            names.append(f"{source.name}-keywords")
        of_documents = teacher.documents(source.documents).astype(np.float32)
        of_queries = teacher.queries([query.text for query in asked]).astype(np.float32)
        chosen = np.full((len(asked), candidates), -1, dtype=np.int32)
        scores = np.zeros((len(asked), candidates), dtype=np.float16)
        labels = np.full((len(asked), candidates), -1, dtype=np.int8)
        for row, query in enumerate(asked):
            similarity = of_documents @ of_queries[row]
            nearest = np.argpartition(-similarity, min(teacher_candidates, len(similarity) - 1))[:teacher_candidates]
            easy = random.integers(0, len(source.documents), random_candidates)
            room = candidates - len(nearest) - len(easy)
            numbers = list(
                dict.fromkeys(
                    [*query.positives, *query.candidates[: max(0, room - len(query.positives))], *nearest, *easy]
                )
            )[:candidates]
            chosen[row, : len(numbers)] = np.asarray(numbers) + len(documents)
            scores[row, : len(numbers)] = similarity[numbers]
            if query.judged:
                labels[row, : len(numbers)] = [number in query.positives for number in numbers]
        documents += source.documents
        queries += [query.text for query in asked]
        parts.append((belongs, chosen, scores, labels, held))
    joined = [np.concatenate(arrays) for arrays in zip(*parts, strict=True)]
    return Groups(documents, queries, names, *joined)


def keyword_queries(documents: Sequence[str], random: np.random.Generator) -> list[TrainingQuery]:
    """One query a document: three to six of its rarer words, in their order, as people type keywords."""
    words = [re.findall(r"[a-z][a-z0-9'-]+", document.lower()) for document in documents]
    frequency = Counter(word for document in words for word in set(document))
    made = []
    for number, document in enumerate(words):
        window_start = int(random.integers(0, max(1, len(document) - 25)))
        window = list(dict.fromkeys(document[window_start : window_start + 25]))
        known = [word for word in window if frequency[word] > 1 and len(word) > 2] or window
        rarest = set(sorted(known, key=lambda word: frequency[word])[: int(random.integers(3, 7))])
        if rarest:
            text = " ".join(word for word in window if word in rarest)
            made.append(TrainingQuery(text, [number], [], judged=False))
    return made
