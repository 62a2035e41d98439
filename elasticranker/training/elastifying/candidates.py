"""From a collection to the queries that train and the queries that tune, each with what a first stage finds for it.

Both are written in forms that other commands read too: `train/` as `elasticranker prepare` takes it, `tuning/` as a
collection with a run. Where a collection has too few queries, or none, more are made of its documents.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection as Keys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from elasticranker.collections import open_collection
from elasticranker.encodable import encodable
from elasticranker.files import atomic_write, new_folder, public_name, write_json
from elasticranker.progress import bar
from elasticranker.runs import read_run, write_run
from elasticranker.runs.inputs import queries_of
from elasticranker.textfiles import compressed, find
from elasticranker.training.data.pseudo import KINDS
from elasticranker.training.data.sources import Source, read_sources
from elasticranker.training.elastifying.settings import ElastifySettings

if TYPE_CHECKING:
    from elasticranker.collections import Collection

SOURCES, TRAIN, TUNING, RUN, ABOUT = "sources", "train", "tuning", "candidates.trec.gz", "about.json"
SEED = 0


@dataclass(frozen=True)
class Chosen:
    """Which queries of a collection do what.

    Attributes:
        train: columns qid and query.
        tuning: likewise.
        relevant: docnos of the relevant documents of every judged query.
        level: lowest relevant label.
        made_train: how many more are to be made of documents.
        made_tuning: likewise.
        run: the candidates that were given, or None.
    """

    train: pd.DataFrame
    tuning: pd.DataFrame
    relevant: dict[str, dict[str, int]]
    level: int
    made_train: int
    made_tuning: int
    run: pd.DataFrame | None


def open_documents(name: str, corpus: str | None, work: Path) -> Collection:
    """The collection of that name; a folder of training data (`elasticranker prepare`) becomes one in `work`, once."""
    folder = Path(name)
    if corpus is None and folder.is_dir() and find(folder / "corpus.tsv") is None and any(folder.glob("*.jsonl*")):
        place = work / SOURCES / folder.resolve().name
        if not place.exists():
            sources = read_sources(folder)
            with new_folder(place) as made:
                write_sources(made, sources)
        return open_collection(place)
    return open_collection(name, corpus=corpus)


def write_sources(folder: Path, sources: Iterable[Source]) -> None:
    """Write sources of training data as one collection."""
    documents: dict[str, str] = {}
    queries: dict[str, str] = {}
    judged: list[tuple[str, str, int]] = []
    for source in sources:
        name = "-".join(source.name.split())
        known = [f"{name}-{'-'.join(source.docno(number).split())}" for number in range(len(source.documents))]
        documents |= dict(zip(known, source.documents, strict=True))
        for number, query in enumerate(source.queries):
            qid = f"{name}-{number}"
            queries[qid] = query.text
            judged += [(qid, known[positive], 1) for positive in query.positives if query.judged]
    write_collection(folder, documents, queries, judged)


def write_collection(
    folder: Path, documents: Mapping[str, str], queries: Mapping[str, str], judged: Iterable[tuple[str, str, int]]
) -> None:
    """Write a collection's folder: texts on one line each."""
    _write(folder / "corpus.tsv.gz", (f"{docno}\t{_line(text)}\n" for docno, text in documents.items()))
    _write(folder / "queries.tsv", (f"{qid}\t{_line(query)}\n" for qid, query in queries.items()))
    _write(folder / "qrels.txt", (f"{qid} 0 {docno} {label}\n" for qid, docno, label in judged))


def choose(collection: Collection, settings: ElastifySettings) -> Chosen:
    """Divide a collection's queries; those kept for tuning are judged ones, evenly spaced, as far as there are any.

    Raises:
        ValueError: the labels don't say which of them are relevant, or there is no such run.
    """
    asked, qrels = _queries(collection), _qrels(collection)
    level = settings.rel or (collection.relevance_level() if len(qrels) else 1)
    run = None
    if settings.candidates != "bm25":
        given = Path(settings.candidates)
        run = read_run(given) if given.is_file() else collection.run(settings.candidates)
        asked = asked[asked["qid"].isin(run["qid"])]
        if len(asked) < 2:
            raise ValueError(
                f"candidates={settings.candidates!r} (--candidates): the run has candidates for {len(asked)} queries "
                f"of {public_name(collection.name)}; give its run for two queries or more"
            )
    relevant: dict[str, dict[str, int]] = defaultdict(dict)
    for qid, docno, label in zip(qrels["qid"], qrels["docno"], qrels["label"], strict=True):
        if label >= level:
            relevant[qid][docno] = label
    best = asked[asked["qid"].isin(relevant.keys())]
    if run is not None and best.empty:
        raise ValueError(
            f"candidates={settings.candidates!r} (--candidates): none of its queries is judged, and a calibration "
            "needs judgements; take bm25, for which queries are made of the documents"
        )
    most = settings.tuning_queries if run is None else min(settings.tuning_queries, -(-len(asked) // 2))
    tuning = _spaced(best, most)
    train = _spaced(asked[~asked["qid"].isin(tuning["qid"])], settings.queries)
    makes = run is None
    return Chosen(
        train,
        tuning,
        dict(relevant),
        level,
        settings.queries - len(train) if makes else 0,
        settings.tuning_queries - len(tuning) if makes else 0,
        run,
    )


def gather(collection: Collection, settings: ElastifySettings, folder: Path, *, by_source: bool = False) -> None:
    """Write `folder`/train and `folder`/tuning.

    Args:
        collection: of `open_documents`.
        settings: how many of what.
        folder: what is made.
        by_source: the collection is of several sources, as `write_sources` names its queries: the card will tell them.

    Raises:
        ValueError: nothing can be asked of the collection, or a first stage finds nothing relevant.
    """
    chosen = choose(collection, settings)
    made_tuning, made_train, origins = make_queries(collection, chosen.made_tuning, chosen.made_train)
    relevant = chosen.relevant | {qid: {docno: chosen.level} for qid, docno in origins.items()}
    tuning = pd.concat([chosen.tuning, made_tuning], ignore_index=True)
    train = pd.concat([chosen.train, made_train], ignore_index=True)
    if len(train) < 1 or len(tuning) < 2:
        raise ValueError(
            f"{public_name(collection.name)} gives {len(train)} queries to train on and {len(tuning)} to tune on: give "
            "a collection of more documents or queries"
        )
    run = chosen.run
    if run is None:
        from elasticranker.retrieval import bm25

        run = bm25(collection, k=max(settings.k, settings.group_candidates)).transform(pd.concat([tuning, train]))
    name = public_name(collection.name).removeprefix("irds:").replace("/", "-")
    tuned = run[run["qid"].isin(tuning["qid"]) & (run["rank"] < settings.k)]
    trained = run[run["qid"].isin(train["qid"]) & (run["rank"] < settings.group_candidates)]
    wanted = dict.fromkeys([*tuned["docno"], *trained["docno"]])
    wanted |= dict.fromkeys(docno for qid in train["qid"] for docno in relevant.get(qid, ()))
    texts = collection.texts(wanted)
    with new_folder(folder) as place:
        (place / TRAIN).mkdir()
        asked = {name: chosen.train}
        if by_source:
            asked = dict(iter(chosen.train.groupby(chosen.train["qid"].str.rsplit("-", n=1).str[0])))
        for source, queries in (asked | {f"{name}-made": made_train}).items():
            if len(queries):
                write_source(place / TRAIN, source, queries, trained, relevant, texts)
        (place / TUNING).mkdir()
        tuned = tuned[tuned["docno"].isin(texts.keys())]
        if not any(docno in relevant.get(qid, ()) for qid, docno in zip(tuned["qid"], tuned["docno"], strict=True)):
            raise ValueError(
                f"no relevant document is among the candidates of the {len(tuning)} queries to tune on: give better "
                "candidates (--candidates), more of them (--k), or another level of relevance (--rel)"
            )
        documents = {docno: texts[docno] for docno in dict.fromkeys(tuned["docno"])}
        judged = [(qid, docno, label) for qid in tuning["qid"] for docno, label in relevant.get(qid, {}).items()]
        write_collection(place / TUNING, documents, dict(zip(tuning["qid"], tuning["query"], strict=True)), judged)
        write_run(place / TUNING / RUN, tuned, "candidates")
        about = {"collection": public_name(collection.name), "level": chosen.level, "made": len(made_tuning)}
        write_json(place / TUNING / ABOUT, about)


def make_queries(collection: Collection, tuning: int, train: int) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, str]]:
    """Queries made of documents that are drawn at random, to tune and to train on, and the document of each."""
    frames = pd.DataFrame({"qid": [], "query": []}, dtype="str")
    if not tuning + train:
        return frames, frames, {}
    random = np.random.default_rng(SEED)
    docnos, documents = drawn(collection.corpus(), tuning + train, random)
    made = [query for make in KINDS.values() for query in make(documents, random)]
    taken: dict[str, str] = {}  # text to document: the same text twice is one query
    for number in random.permutation(len(made)):
        taken.setdefault(made[number].text, docnos[made[number].positives[0]])
    rows = [(f"elastify-made-{number}", text) for number, text in enumerate(taken)][: tuning + train]
    # Of few documents, half of the queries at most are kept from training.
    cut = min(tuning, len(rows) // 2 if train else len(rows))
    frame = pd.DataFrame(rows, columns=["qid", "query"], dtype="str")
    origins = dict(zip(frame["qid"], taken.values(), strict=False))
    return frame[:cut], frame[cut:], origins


def drawn(corpus: Iterable[Mapping[str, str]], count: int, random: np.random.Generator) -> tuple[list[str], list[str]]:
    """Docnos and texts of `count` documents that are drawn as they pass by (reservoir sampling, Vitter 1985)."""
    kept: list[tuple[str, str]] = []
    for number, document in enumerate(bar(corpus, name="drawing documents", unit="documents", delay=1.0)):
        place = number if number < count else int(random.integers(number + 1))
        if place < count:
            item = document["docno"], document["text"]
            if place < len(kept):
                kept[place] = item
            else:
                kept.append(item)
    return [docno for docno, _ in kept], [text for _, text in kept]


def write_source(
    folder: Path,
    name: str,
    queries: pd.DataFrame,
    run: pd.DataFrame,
    relevant: Mapping[str, Keys[str]],
    texts: Mapping[str, str],
) -> None:
    """Write a source of training data (`elasticranker.training.data.sources`), its documents those of its queries."""
    found: dict[str, list[str]] = defaultdict(list)
    for qid, docno in zip(run["qid"], run["docno"], strict=True):
        found[qid].append(docno)
    documents: dict[str, None] = {}
    rows = []
    for qid, query in zip(queries["qid"], queries["query"], strict=True):
        good = [docno for docno in relevant.get(qid, ()) if docno in texts]
        others = [docno for docno in found[qid] if docno in texts and docno not in good]
        documents |= dict.fromkeys([*good, *others])
        rows.append({"query": _line(query), "positive": good, "bm25": others, "qid": qid})
    _write(folder / f"{name}.docs.tsv.gz", (f"{docno}\t{_line(texts[docno])}\n" for docno in documents))
    _write(folder / f"{name}.queries.jsonl.gz", (json.dumps(row) + "\n" for row in rows))


def _queries(collection: Collection) -> pd.DataFrame:
    """The collection's queries; none where it has no file of them."""
    try:
        queries = queries_of(collection)
    except FileNotFoundError:
        return pd.DataFrame({"qid": [], "query": []}, dtype="str")
    return queries[queries["query"].str.strip() != ""]


def _qrels(collection: Collection) -> pd.DataFrame:
    try:
        return collection.qrels()
    except FileNotFoundError:
        return pd.DataFrame({"qid": [], "docno": [], "label": []})


def _spaced(frame: pd.DataFrame, most: int) -> pd.DataFrame:
    """At most so many rows, evenly spaced."""
    if len(frame) <= most:
        return frame
    return frame.iloc[np.linspace(0, len(frame), most, endpoint=False).astype(int)]


def _line(text: str) -> str:
    return encodable(text).replace("\n", " ").replace("\r", " ").strip("\ufeff")


def _write(path: Path, lines: Iterable[str]) -> None:
    with atomic_write(path) as file, compressed(file, path) as packed:
        packed.writelines(line.encode() for line in lines)
