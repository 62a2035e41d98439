"""The systems of a comparison by name: ours at several budgets, and the same weights under other runtimes.

Of a checkpoint in split layout, other runtimes run what they can: its weights as a bi-encoder (see `bi_encoder`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import pandas as pd

from elasticranker.extras import missing
from elasticranker.frames import Lists
from experiments.peers.setup import Scorer, Setup, Unavailable

if TYPE_CHECKING:
    from elasticranker.ranker import ElasticRanker

FULL, FULL_FLOAT32 = "ours, full", "ours, full float32"
PEER_DEFAULT = "sentence-transformers, default"
PEER_FLOAT32 = "sentence-transformers, float32"
LIBRARIES = ("sentence-transformers", "onnxruntime", "openvino", "flashrank")
PEERS = {  # name: (module, function, data type)
    PEER_FLOAT32: ("cross_encoder", "open_sentence_transformers", "float32"),
    "sentence-transformers, bfloat16": ("cross_encoder", "open_sentence_transformers", "bfloat16"),
    "onnxruntime, float32": ("graphs", "open_onnxruntime", "float32"),
    "onnxruntime, int8": ("graphs", "open_onnxruntime", "int8"),
    "openvino, float32": ("graphs", "open_openvino", "float32"),
    "openvino, bfloat16": ("graphs", "open_openvino", "bfloat16"),
    "openvino, int8": ("graphs", "open_openvino", "int8"),
    "flashrank, float32": ("flash", "open_flashrank", "float32"),
}
DEFAULT_BATCH = 32  # pairs; what sentence-transformers takes unless told


@dataclass(frozen=True)
class Ours:
    """Our ranker at one budget."""

    name: str
    ranker: ElasticRanker

    def rerank(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame reranked; columns qid, docno, score and spend among others."""
        return self.ranker.transform(frame)


@dataclass(frozen=True)
class Peer:
    """Another runtime on the same weights, `batch` pairs at a time."""

    name: str
    score: Scorer
    batch: int = DEFAULT_BATCH

    def rerank(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The frame's rows with their scores, in incoming order: sorting is left out of a peer's time."""
        scores = self.score(list(zip(frame["query"], frame["text"], strict=True)), self.batch)
        return frame[["qid", "docno"]].assign(score=scores)

    @property
    def takes_batches(self) -> bool:
        """Is there a batch size to choose?"""
        return not self.name.startswith("flashrank")


System = Ours | Peer


def our_name(budget: str) -> str:
    """Name of our system at a budget, for example "ours, 25%"."""
    return f"ours, {budget}"


def open_system(name: str, setup: Setup, batch: int = DEFAULT_BATCH) -> System:
    """Load one system.

    Args:
        name: of ours ("ours, full float32", "ours, 25%") or of `PEERS`.
        setup: what it runs on.
        batch: pairs of a peer's batch.

    Raises:
        ImportError: its package isn't installed.
        Unavailable: it cannot run here.
    """
    if name == FULL_FLOAT32:
        return Ours(name, setup.ranker(dtype="float32"))
    if name.startswith("ours, "):
        return Ours(name, setup.ranker(name.removeprefix("ours, ")))
    module, function, dtype = PEERS[PEER_FLOAT32 if name == PEER_DEFAULT else name]
    opener: Callable[[Setup, str], Scorer] = getattr(import_module(f"experiments.peers.{module}"), function)
    return Peer(name, opener(setup, dtype), batch)


def open_systems(
    setup: Setup,
    *,
    budgets: Sequence[str],
    without: Collection[str] = (),
    names: Collection[str] | None = None,
    progress: Callable[[str], None] = lambda name: None,
) -> tuple[list[System], dict[str, str]]:
    """Load ours, sharing weights among budgets, and every peer that can run here.

    Args:
        setup: what they run on.
        budgets: of ours, below full.
        without: libraries to leave out.
        names: open only these peers; None for all.
        progress: told the name of what is being opened.

    Returns:
        The systems, and by name why others were skipped.
    """
    whole = setup.ranker()
    systems: list[System] = [Ours(FULL_FLOAT32, setup.ranker(dtype="float32")), Ours(FULL, whole)]
    systems += [Ours(our_name(budget), whole.with_budget(budget)) for budget in budgets]
    skipped = {}
    for name in PEERS:
        if names is not None and name not in names:
            continue
        library = name.partition(",")[0]
        progress(name)
        if library in without:
            skipped[name] = "left out with --without"
            continue
        try:
            systems.append(open_system(name, setup))
        except ImportError as error:
            skipped[name] = str(missing(name, "peers", error))
        except Unavailable as error:
            skipped[name] = str(error)
    return systems, skipped


def ranked(scored: pd.DataFrame, incoming: pd.DataFrame) -> pd.DataFrame:
    """A run from what `rerank` gave: best first, ties in incoming order, as our own ranking breaks them.

    Returns:
        Columns qid, docno, score (distinct) and rank (from 0), queries in incoming order.
    """
    keys = ["qid", "docno"]
    scores = scored[[*keys, "score"]].drop_duplicates(keys)
    joined = incoming[keys].merge(scores, on=keys, how="left", sort=False)
    run = Lists.by(joined, -joined["score"].to_numpy(float)).frame
    return run.assign(score=-run["rank"].astype(float))
