"""From sources and a teacher to a prepared folder: which candidates a query gets, and their scores."""

from __future__ import annotations

import datetime
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from elasticranker.files import locked, refuse_other_job, writable_folder
from elasticranker.progress import bar
from elasticranker.training.data.array_cache import ArrayCache
from elasticranker.training.data.groups import Groups, is_prepared, read_info
from elasticranker.training.data.pseudo import KINDS
from elasticranker.training.data.sources import Source, TrainingQuery
from elasticranker.training.origin import place_name, versions
from elasticranker.training.teachers.teacher import Reading, Teacher

BLOCK = 256  # queries scored together, and between two writes to the cache


@dataclass(frozen=True)
class PrepareSettings:
    """What fixes the prepared data, besides sources and teacher.

    Attributes:
        candidates: the most candidates of a query.
        teacher_candidates: how many of them the teacher mines.
        random_candidates: how many of them are drawn at random.
        pseudo: names of sources whose documents also get queries made from them, taught by the teacher alone; each
            kind (`elasticranker.training.data.pseudo`) forms a source of its own, such as `<name>-keywords`.
        held_out: queries a source (at most a tenth of it) kept for validation.
        drop_false_negatives: leave out negatives that the teacher scores above a query's best positive. The loss `lce`
            does so anyway; without them `kl` can't learn from them either.
        vectors: keep the teacher's vectors of all texts, which a split checkpoint is aligned to; of a bi-encoder alone.
        seed: of the random draws.
    """

    candidates: int = 32
    teacher_candidates: int = 12
    random_candidates: int = 4
    pseudo: tuple[str, ...] = ()
    held_out: int = 100
    drop_false_negatives: bool = False
    vectors: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.candidates < 2 or min(self.teacher_candidates, self.random_candidates, self.held_out) < 0:
            raise ValueError(
                "candidates must be at least 2; teacher_candidates, random_candidates, held_out at least 0"
            )


class Part(NamedTuple):
    """One source, prepared: what `Groups` joins."""

    names: list[str]
    queries: list[str]
    belongs: np.ndarray  # [n] position in `names`
    candidates: np.ndarray  # [n, c] position in the source's documents, -1 for none
    scores: np.ndarray  # [n, c]
    labels: np.ndarray  # [n, c]
    held_out: np.ndarray  # [n]
    vectors: tuple[np.ndarray, np.ndarray] | None  # of the queries and of all the source's documents


def prepare(
    sources: Sequence[Source],
    teacher: Teacher,
    settings: PrepareSettings | None = None,
    *,
    cache: ArrayCache | None = None,
) -> Groups:
    """Score the candidates of every query of every source.

    A query's candidates are its positives, then BM25's best, the teacher's nearest among the source's documents (hard
    where BM25's are easy) and a few random ones (easy everywhere: they fix the low end of the scale). Queries with
    fewer than two scored candidates are left out.

    Args:
        sources: what to train on.
        teacher: scores the pairs.
        settings: how many candidates of which kind.
        cache: keeps the teacher's work, so that a killed process goes on where it was.

    Raises:
        ValueError: a source or `pseudo` that gives nothing to train on.
    """
    settings = settings or PrepareSettings()
    names = [source.name for source in sources]
    if unknown := set(settings.pseudo) - set(names):
        raise ValueError(f"pseudo names {sorted(unknown)}: the data has {', '.join(names)}")
    parts = [prepare_source(source, teacher, settings, cache or ArrayCache(None)) for source in sources]
    documents: list[str] = []
    sections: list[str] = []
    belongs, candidates = [], []
    for source, part in zip(sources, parts, strict=True):
        belongs.append(part.belongs + len(sections))
        candidates.append(np.where(part.candidates >= 0, part.candidates + len(documents), -1))
        sections += part.names
        documents += source.documents
    return Groups(
        documents,
        [query for part in parts for query in part.queries],
        sections,
        np.concatenate(belongs).astype(np.int16),
        np.concatenate(candidates).astype(np.int32),
        np.concatenate([part.scores for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.held_out for part in parts]),
        _joined([part.vectors for part in parts]),
    )


def _joined(vectors: Sequence[tuple[np.ndarray, np.ndarray] | None]) -> tuple[np.ndarray, np.ndarray] | None:
    there = [pair for pair in vectors if pair is not None]
    if not there:
        return None
    return np.concatenate([queries for queries, _ in there]), np.concatenate([documents for _, documents in there])


def prepare_source(source: Source, teacher: Teacher, settings: PrepareSettings, cache: ArrayCache) -> Part:
    """Score the candidates of every query of one source; its draws don't depend on other sources."""
    random = np.random.default_rng([settings.seed, zlib.crc32(source.name.encode())])
    asked = [query for query in source.queries if query.text.strip() and (query.positives or query.candidates)]
    held = np.zeros(len(asked), dtype=bool)
    held[random.permutation(len(asked))[: min(settings.held_out, len(asked) // 10)]] = True
    names, belongs = [source.name], np.zeros(len(asked), dtype=np.int16)
    if source.name in settings.pseudo:
        for kind, make in KINDS.items():
            if made := make(source.documents, random):
                asked = asked + made
                held = np.concatenate([held, np.zeros(len(made), dtype=bool)])
                belongs = np.concatenate([belongs, np.full(len(made), len(names), dtype=np.int16)])
                names.append(f"{source.name}-{kind}")
    if not asked:
        raise ValueError(f"the source {source.name} has no query with a positive or a candidate")
    reading = teacher.read(source, asked, cache)
    vectors = reading.vectors() if settings.vectors else None
    if settings.vectors and vectors is None:
        raise ValueError(f"vectors=True (--vectors): the teacher {teacher.name} gives scores alone; name a bi-encoder")
    blocks = []
    with bar(name=f"candidates of {source.name}", total=len(asked), unit="queries") as moving:
        for start in range(0, len(asked), BLOCK):
            rows = slice(start, start + BLOCK)
            blocks.append(_score_block(source, asked, rows, reading, settings, random))
            moving.update(len(asked[rows]))
    candidates, scores, labels = (np.concatenate(arrays) for arrays in zip(*blocks, strict=True))
    usable = (candidates >= 0).sum(1) > 1
    for number, name in enumerate(names):
        if not usable[belongs == number].any():
            raise ValueError(f"the teacher {teacher.name} scores fewer than two candidates of each query of {name}")
    texts = [query.text for query, use in zip(asked, usable, strict=True) if use]
    if vectors is not None:
        vectors = vectors[0][usable], vectors[1]
    return Part(
        names, texts, belongs[usable], candidates[usable], scores[usable], labels[usable], held[usable], vectors
    )


def _score_block(
    source: Source,
    asked: Sequence[TrainingQuery],
    rows: slice,
    reading: Reading,
    settings: PrepareSettings,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates, scores and labels `[r, c]` of some queries, what isn't scored left out."""
    queries = asked[rows]
    chosen = np.full((len(queries), settings.candidates), -1, dtype=np.int64)
    positive = np.zeros(chosen.shape, dtype=bool)
    judged = np.asarray([query.judged for query in queries])
    for row, (query, near) in enumerate(zip(queries, reading.nearest(rows, settings.teacher_candidates), strict=True)):
        easy = random.integers(0, len(source.documents), settings.random_candidates)
        room = max(0, settings.candidates - len(near) - len(easy) - len(query.positives))
        wanted = [*query.positives, *query.candidates[:room], *near.tolist(), *easy.tolist()]
        numbers = list(dict.fromkeys(wanted))[: settings.candidates]
        chosen[row, : len(numbers)] = numbers
        positive[row, : len(numbers)] = [number in query.positives for number in numbers]
    scores = reading.scores(rows, chosen)
    with np.errstate(over="ignore"):
        scores = scores.astype(np.float16)
    keep = (chosen >= 0) & np.isfinite(scores)
    if settings.drop_false_negatives:
        best = np.where(positive & keep, scores, -np.inf).max(1, keepdims=True)
        keep &= positive | ~judged[:, None] | np.isinf(best) | (scores <= best)
    order = np.argsort(~keep, axis=1, kind="stable")  # what is kept moves to the front
    keep, chosen, scores, positive = (np.take_along_axis(array, order, 1) for array in (keep, chosen, scores, positive))
    labels = np.where(keep & judged[:, None], positive, -1)
    return np.where(keep, chosen, -1), np.where(keep, scores, np.float16(0)), labels.astype(np.int8)


def prepare_folder(
    source: str, teacher: Teacher, output: str | Path, settings: PrepareSettings | None = None, **reading: Any
) -> Path:
    """Read sources and `prepare` them into a folder, once.

    What is there already is used, and where a process was killed, the next one goes on.

    Args:
        source: name of the data (see `elasticranker.training.data.open_sources`).
        teacher: scores the pairs.
        output: the folder.
        settings: how many candidates of which kind.
        reading: `negatives`, `k`, `max_queries` and `rel` of `open_sources`.

    Raises:
        ValueError: the folder holds other data, or there is nothing to prepare.
        BlockingIOError: another process is preparing it.
    """
    from elasticranker.training.data.open_sources import open_sources

    settings = settings or PrepareSettings()
    output = writable_folder(output)
    files = sorted(Path(source).iterdir()) if Path(source).is_dir() else []
    job: dict[str, Any] = {
        "data": place_name(source),
        "files": {path.name: path.stat().st_size for path in files if path.is_file()},
        "teacher": teacher.identity,
        **{name: place_name(value) if isinstance(value, str) else value for name, value in reading.items()},
        **{name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()},
    }
    with locked(output / ".lock", busy=f"{output} is being prepared by another process"):
        if is_prepared(output):
            refuse_other_job(read_info(output).get("job", {}), job, place=output, remedy="choose another --output")
            return output
        cache = ArrayCache(output / "cache")
        groups = prepare(open_sources(source, **reading), teacher, settings, cache=cache)
        info = {
            "job": job,
            "teacher": teacher.name,
            "temperature": round(groups.spread() / 2, 4) or 1.0,
            "sources": groups.counts(),
            "date": datetime.date.today().isoformat(),
            "versions": versions(),
        }
        groups.save(output, info)
        cache.clear()
    return output
