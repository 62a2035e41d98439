"""Stand-ins for the tests: exact, quick and without weights."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import pandas as pd
import pyterrier as pt

from elasticranker.planning.budget import Budget


class FakeRanker(pt.Transformer):
    """ElasticRanker's interface over word overlap: a share of the candidates is scored, the rest keep their order.

    A pair costs 10^9 FLOPs per word of its text. `scored` lists the queries that were reranked (shared by siblings), so
    that a test can tell what was not recomputed; the query `fails_at` raises.
    """

    def __init__(
        self,
        model: str = "fake",
        *,
        budget: str | Budget = "full",
        trace: bool = False,
        fails_at: str | None = None,
        seconds: float = 0.0,
        scored: list[str] | None = None,
    ) -> None:
        self.model, self.trace, self.fails_at, self.seconds = model, trace, fails_at, seconds
        self.budget = budget if isinstance(budget, Budget) else Budget(budget)
        self.scored = [] if scored is None else scored
        self.truncated = 0
        self.text_field, self.max_length, self.max_query_length = "text", 512, 64
        self.dtype, self.device, self.depth, self.batch_size = "float32", "cpu", None, 4096
        self.threads: int | None = None
        self.revision: str | None = None
        self.first_stage = "bm25"
        self.tuned_on: frozenset[str] = frozenset()

    @property
    def fingerprint(self) -> str:
        return f"fingerprint-of-{self.model}"

    def with_budget(self, budget: str | Budget) -> FakeRanker:
        settings: dict[str, Any] = {"trace": self.trace, "fails_at": self.fails_at, "seconds": self.seconds}
        return FakeRanker(self.model, budget=budget, scored=self.scored, **settings)

    def full_cost(self, frame: pd.DataFrame) -> pd.Series:
        return (1e9 * frame["text"].str.split().str.len()).groupby(frame["qid"]).sum()

    def transform(self, inp: pd.DataFrame) -> pd.DataFrame:
        frames = [self._rerank(str(qid), frame) for qid, frame in inp.groupby("qid", sort=False)]
        return pd.concat(frames) if frames else inp

    def _rerank(self, qid: str, frame: pd.DataFrame) -> pd.DataFrame:
        if qid == self.fails_at:
            raise RuntimeError(f"the fake ranker fails at {qid}")
        time.sleep(self.seconds)
        self.scored.append(qid)
        frame = frame.sort_values("rank")
        affordable = int(len(frame) * self.budget.value) if self.budget.kind == "share" else len(frame)
        overlap = [_overlap(query, text) for query, text in zip(frame["query"], frame["text"], strict=True)]
        words = frame["text"].str.split().str.len()
        scored = pd.Series([position < affordable for position in range(len(frame))], index=frame.index)
        ranked = frame.assign(overlap=overlap, scored=scored, spend=1e9 * words * scored)
        ranked["overlap"] *= scored
        ranked = ranked.sort_values(["scored", "overlap", "rank"], ascending=[False, False, True])
        ranked = ranked.assign(score=range(len(ranked), 0, -1), rank=range(len(ranked)))
        ranked["score"] = ranked["score"] + ranked["overlap"] / 3
        return ranked.drop(columns=["overlap", "scored"] + ([] if self.trace else ["spend"]))


def _overlap(query: str, text: str) -> int:
    return len(set(query.split()) & set(text.split()))


def write_collection(
    folder: Any,
    queries: Iterable[tuple[str, str]],
    docs: Iterable[tuple[str, str]],
    qrels: Iterable[tuple[str, str, int]],
) -> Any:
    """Make a folder collection of literal rows and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "queries.tsv").write_text("".join(f"{qid}\t{query}\n" for qid, query in queries))
    (folder / "corpus.tsv").write_text("".join(f"{docno}\t{text}\n" for docno, text in docs))
    (folder / "qrels.txt").write_text("".join(f"{qid} 0 {docno} {label}\n" for qid, docno, label in qrels))
    return folder


class FakeClock:
    """A clock that moves by `step` seconds whenever it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class FakeBar:
    """Stands for a bar: it notes where it was."""

    def __init__(self) -> None:
        self.n, self.places = 0, [0]

    def update(self, more: int) -> None:
        self.n += more
        self.places.append(self.n)

    def __enter__(self) -> FakeBar:
        return self

    def __exit__(self, *_: object) -> None:
        return None
