"""The comparison as a whole: opens systems, runs the parts that were asked for, writes tables, figures and a report."""

from __future__ import annotations

import tempfile
from collections.abc import Collection as Collection_
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from elasticranker.evaluation.candidates import Candidates
from elasticranker.evaluation.journal import Journal
from elasticranker.evaluation.manifest import PACKAGES, machine, today, versions
from elasticranker.evaluation.measures import effectiveness
from elasticranker.files import (
    atomic_write,
    locked,
    public_name,
    read_json,
    refuse_other_job,
    writable_folder,
    write_json,
)
from elasticranker.planning.budget import Budget
from experiments.peers import figures, methods, runtimes, sizes, standings
from experiments.peers.report import Report, Section
from experiments.peers.setup import Setup
from experiments.peers.systems import FULL_FLOAT32, LIBRARIES, PEER_DEFAULT, PEER_FLOAT32, PEERS, System, open_systems

if TYPE_CHECKING:
    from tqdm import tqdm

    from elasticranker.collections import Collection
    from elasticranker.ranker import ElasticRanker

Part = Literal["runtimes", "methods", "sizes"]
PARTS: tuple[Part, ...] = ("runtimes", "methods", "sizes")
BI_ENCODERS = (
    "this checkpoint is in split layout, which no other runtime lays out: they run its weights as a bi-encoder, "
    "without attention between the texts, and encode a query once for all its documents"
)
BUDGETS = ("50%", "25%", "10%", "5%")


@dataclass(frozen=True)
class Settings:
    """How much is measured.

    Attributes:
        parts: of `PARTS`.
        budgets: of ours among the runtimes, below full.
        rounds: of the bench slice (batch), and of every size.
        bench_queries: queries that are reranked together.
        without: libraries to leave out.
        rel: lowest relevant label; None for the collection's own.
        note: a sentence for the report.
    """

    parts: Sequence[str] = ("runtimes", "methods")
    budgets: Sequence[str] = BUDGETS
    rounds: int = 3
    bench_queries: int = 3
    without: Sequence[str] = ()
    rel: int | None = None
    note: str = ""

    def __post_init__(self) -> None:
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            raise ValueError(f"parts={list(self.parts)}: choose among {', '.join(PARTS)}")
        strangers = [name for name in self.without if name not in LIBRARIES]
        if strangers:
            raise ValueError(f"without={strangers}: choose among {', '.join(LIBRARIES)}")
        parsed = [str(Budget(budget)) for budget in self.budgets]
        if "full" in parsed or len(set(parsed)) < len(parsed):
            raise ValueError(f"budgets={list(self.budgets)}: name each once; full is measured in any case")
        for name in ("rounds", "bench_queries"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be 1 or more")


def run_bench(
    collection: Collection,
    ranker: ElasticRanker,
    candidates: Candidates,
    *,
    output: str | Path,
    settings: Settings | None = None,
    arguments: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Report:
    """Compare runtimes, methods and sizes; a killed comparison goes on where it was when called again.

    Threads are those of torch in this process (`torch.set_num_threads`); every runtime gets as many.

    Args:
        collection: where the candidates come from.
        ranker: names model, dtype, device and lengths; its budget doesn't matter.
        candidates: what to rerank, from `load_candidates`.
        output: folder for runtimes.csv, methods.csv, sizes.csv, figures, report.md, manifest.json and the journal.
        settings: how much is measured.
        arguments: what the user asked for, kept in the manifest.
        progress: whether to show a bar on standard error.

    Returns:
        The report, which is also written.

    Raises:
        ValueError: `output` holds another comparison.
        OSError: `output` cannot be written, or another process is writing it.

    Example:
        >>> run_bench(collection, ElasticRanker(), load_candidates(collection), output="out").sections[0].table
    """
    import torch

    settings = settings or Settings()
    rel = collection.relevance_level() if settings.rel is None else settings.rel
    folder = writable_folder(output)
    job = _job(collection, ranker, candidates, settings)
    with (
        locked(folder / "lock", busy=f"another process is writing {folder}; wait for it, or choose another --output"),
        tempfile.TemporaryDirectory(prefix="elasticranker-bench-") as exports,
    ):
        manifest = folder / "manifest.json"
        if manifest.exists():
            remedy = f"delete {folder}, or choose another --output"
            refuse_other_job(read_json(manifest)["job"], job, place=folder, remedy=remedy)
        else:
            about = {"arguments": dict(arguments or {}), "note": settings.note, "date": today()}
            write_json(manifest, {"job": job, **about, "versions": versions((*PACKAGES, *LIBRARIES, "onnx"))})
        setup = Setup(
            ranker.model,
            exports,
            torch.get_num_threads(),
            ranker.engine.pairs.max_length,
            ranker.dtype,
            ranker.batch_size,
            ranker.device,
            ranker.engine.pairs.max_query_length,
        )
        bench = _Bench(candidates, setup, settings, rel, folder, job["collection"], progress)
        sections = bench.sections()
        report = Report(
            f"Side by side: {job['collection']}",
            _made_with(job, read_json(manifest)["date"], rel),
            sections,
            settings.note,
            read_json(manifest)["versions"],
        )
        report.write(folder / "report.md")
    return report


@dataclass(frozen=True)
class _Bench:
    """The parts of one comparison, over one journal."""

    candidates: Candidates
    setup: Setup
    settings: Settings
    rel: int
    folder: Path
    name: str
    progress: bool

    def sections(self) -> list[Section]:
        """Measure what was asked for, part by part."""
        journal = Journal(self.folder / "journal.jsonl")
        made: list[Section] = []
        parts = self.settings.parts
        if "runtimes" in parts:
            made.append(self._runtimes(journal))
        if "methods" in parts:
            made.append(self._methods(journal))
        if "sizes" in parts:
            made.append(self._sizes(journal))
        return made

    def _bar(self, total: int | None) -> tqdm:
        from tqdm import tqdm

        return tqdm(total=total, unit=" steps", disable=not self.progress, dynamic_ncols=True)

    def _open(
        self, bar: tqdm, budgets: Sequence[str], names: Collection_[str] | None = None
    ) -> tuple[list[System], dict[str, str]]:
        return open_systems(
            self.setup,
            budgets=budgets,
            without=self.settings.without,
            names=names,
            progress=lambda name: bar.set_description(f"loading: {name}"),
        )

    def _runtimes(self, journal: Journal) -> Section:
        settings, queries = self.settings, self.candidates.frame["qid"].nunique()
        # A step is one system's sweep, warm-up, round, query or memory.
        total = (3 + len(settings.budgets) + len(PEERS)) * (settings.rounds + queries + 2) + len(PEERS)
        with self._bar(total) as bar:
            opened, skipped = self._open(bar, settings.budgets)
            timed = runtimes.measure_runtimes(
                opened,
                self.setup,
                self.candidates,
                journal,
                rounds=settings.rounds,
                bench_queries=settings.bench_queries,
                bar=bar,
            )
        found = standings.summary(timed, self.candidates, journal, rel=self.rel)
        self._write("runtimes.csv", found.table)
        notes = [
            *found.notes,
            *([BI_ENCODERS] if self.setup.split else []),
            *(f"skipped: {name}: {reason}" for name, reason in skipped.items()),
        ]
        findings = [*standings.verdicts(found.table), *found.rooflines]
        return Section("Runtimes on the same weights and pairs", found.table, findings, notes)

    def _methods(self, journal: Journal) -> Section:
        ranker, frame = self.setup.ranker(), self.candidates.frame
        chosen = methods.points(ranker.checkpoint.plans(), ranker.checkpoint.encoder.depths, methods.BUDGETS)
        with self._bar(len(chosen) * frame["qid"].nunique()) as bar:
            methods.measure_methods(ranker, chosen, self.candidates, journal, bar=bar)
        table = methods.summary(chosen, self.candidates, journal, rel=self.rel)
        self._write("methods.csv", table)
        first = effectiveness(frame[["qid", "docno", "score"]], self.candidates.qrels, rel=self.rel).mean()
        title = f"{self.name}, {self.candidates.queries} queries"
        path = self.folder / "methods.png"
        figures.draw_methods(table, path, title=title, rel=self.rel, first_stage=float(first["nDCG@10"]))
        notes = [
            f"the first stage alone: nDCG@10 {first['nDCG@10']:.4f}, RR@10 {first['RR@10']:.4f}",
            "one query at a time, methods in rotating order; milliseconds are those of tokenisation and engine",
            "ours, same GFLOPs or ms: our nDCG@10 between our points, by the logarithm of the cost; p: paired t-test "
            "on nDCG@10 at the same GFLOPs, Holm-corrected over the rows",
        ]
        return Section("Methods on the same checkpoint", table, methods.verdicts(table), notes, path.name)

    def _sizes(self, journal: Journal) -> Section:
        grid = sizes.cells(self.setup.max_length, sizes.LENGTHS, sizes.CANDIDATES)
        with self._bar(len(grid)) as bar:
            opened, skipped = self._open(bar, ["25%"], sizes.PEERS)
            chosen = runtimes.swept(opened, self.candidates, journal, bar)
            names = {system.name for system in chosen}
            left_out = {FULL_FLOAT32, PEER_DEFAULT if PEER_FLOAT32 in names else ""}
            systems = [system for system in chosen if system.name not in left_out]
            encoder = self.setup.ranker().engine.pairs
            sizes.measure_sizes(systems, encoder, journal, rounds=self.settings.rounds, bar=bar, grid=grid)
        table = sizes.summary(journal, grid)
        self._write("sizes.csv", table)
        path = self.folder / "sizes.png"
        figures.draw_sizes(table, path, title="made-up pairs")
        notes = [
            f"made-up pairs of exact lengths up to max_length={self.setup.max_length}; lengths "
            f"at {sizes.FIXED_CANDIDATES} candidates; median of {self.settings.rounds} rounds, or of one long one",
            *(f"skipped: {name}: {reason}" for name, reason in skipped.items()),
        ]
        return Section("Other sizes", table, sizes.verdicts(table), notes, path.name)

    def _write(self, name: str, table: pd.DataFrame) -> None:
        with atomic_write(self.folder / name) as file:
            file.write(table.to_csv(index=False).encode())


def _job(collection: Collection, ranker: ElasticRanker, candidates: Candidates, settings: Settings) -> dict[str, Any]:
    """Everything that results depend on but the parts, which may be added one after the other."""
    from elasticranker.evaluation.systems import ranker_settings

    return {
        "collection": public_name(collection.name),
        "queries": candidates.queries,
        "queries with candidates": int(candidates.frame["qid"].nunique()),
        "candidates": len(candidates.frame),
        "candidates fingerprint": candidates.fingerprint,
        "first stage": candidates.system,
        "budgets": list(settings.budgets),
        "rounds": settings.rounds,
        "bench queries": settings.bench_queries,
        "without": sorted(settings.without),
        "checkpoint fingerprint": ranker.fingerprint,
        **ranker_settings(ranker),
        **machine(),
    }


def _made_with(job: Mapping[str, Any], date: str, rel: int) -> str:
    per_query = job["candidates"] / job["queries with candidates"]
    return (
        f"{job['collection']}: {job['queries']} judged queries, {per_query:.0f} candidates a query of "
        f"{job['first stage']}, relevant from label {rel}; {job['processor']}, {job['threads']} threads, dtype "
        f"{job['dtype']}; checkpoint {job['checkpoint fingerprint'][:12]}; {date[:10]}"
    )
