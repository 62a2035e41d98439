"""The tables of experiments/SCALE.md, from what was measured and assumed (`experiments.scale` measures)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elasticranker.evaluation.report import markdown

if TYPE_CHECKING:
    from elasticranker.model.speed import SpeedProfile
    from elasticranker.planning.ladder import Ladder
    from elasticranker.ranker import ElasticRanker

PASSAGES = 138_000_000  # of MS MARCO v2
QUERIES_PER_FILE = 10_000  # of a run file that one process reads


@dataclass(frozen=True)
class Workload:
    """What is to be reranked.

    Attributes:
        queries: sizes of the workload to price.
        candidates: of a query.
        tokens: of a document, on average.
    """

    queries: tuple[int, ...]
    candidates: int
    tokens: int


@dataclass(frozen=True)
class Machine:
    """A processor that isn't here.

    Attributes:
        name: what it is called.
        peak: FLOP/s of dense bfloat16 products, by its data sheet.
        utilisation: shares of the peak that are assumed, least first.
    """

    name: str
    peak: float
    utilisation: tuple[float, ...]


@dataclass(frozen=True)
class Measured:
    """What this machine showed.

    Attributes:
        profile: seconds by FLOPs of one query of `sample` candidates, tokenisation left out.
        sample: its candidates.
        tokens_per_second: of the tokenizer, all threads together.
        bytes_per_token: of English text.
        line: bytes of a line of a run.
        packed: the same in a gzip run.
        reading: bytes of memory that reading a run takes at most, a line.
    """

    profile: SpeedProfile
    sample: int
    tokens_per_second: float
    bytes_per_token: float
    line: float
    packed: float
    reading: float

    @property
    def flops(self) -> float:
        """Of a candidate through the full model, on average."""
        return self.profile.flops[-1] / self.sample

    def scoring(self, share: float) -> float:
        """Seconds of a candidate at a share of the full cost, tokenisation left out."""
        return self.profile.seconds_of(share * self.profile.flops[-1]) / self.sample


def shares(ladder: Ladder) -> list[float]:
    """The full budget and every rung's, falling."""
    return sorted({1.0} | {rung.share for rung in ladder.rungs}, reverse=True)


def work_table(ladder: Ladder, measured: Measured, work: Workload) -> list[list[str]]:
    """FLOPs of the workload at every rung, and what the budget saves."""
    rows = [["budget", "plan", "TFLOPs a query", *_by_size("EFLOPs", work), "saved"]]
    for share in shares(ladder):
        query = share * measured.flops * work.candidates
        sizes = [_short(query * queries / 1e18) for queries in work.queries]
        rows.append([f"{share:.3g}", str(ladder.plan(share)), _short(query / 1e12), *sizes, f"{1 - share:.1%}"])
    return rows


def machine_table(ladder: Ladder, measured: Measured, work: Workload) -> list[list[str]]:
    """Hours of machines like this one at every rung, tokenisation included."""
    rows = [["budget", "GFLOP/s", "seconds a query", *_by_size("machine-hours", work), "times less than full"]]
    tokenising = work.tokens / measured.tokens_per_second
    full = measured.scoring(1.0) + tokenising
    for share in shares(ladder):
        scoring = measured.scoring(share)
        seconds = (scoring + tokenising) * work.candidates
        hours = [_short(seconds * queries / 3600) for queries in work.queries]
        rate = share * measured.flops / scoring / 1e9
        rows.append(
            [f"{share:.3g}", _short(rate), _short(seconds), *hours, f"{full / (scoring + tokenising):.1f}"],
        )
    return rows


def gpu_table(ladder: Ladder, measured: Measured, work: Workload, machine: Machine) -> list[list[str]]:
    """Hours of a published machine at every rung, one figure for each assumed utilisation."""
    rows = [["budget", *_by_size(f"{machine.name}-hours", work), "thousand pairs a second"]]
    for share in shares(ladder):
        pair = share * measured.flops
        hours = [
            " / ".join(
                _short(pair * work.candidates * queries / (machine.peak * u) / 3600) for u in machine.utilisation
            )
            for queries in work.queries
        ]
        pairs = " / ".join(_short(machine.peak * u / pair / 1e3) for u in machine.utilisation)
        rows.append([f"{share:.3g}", *hours, pairs])
    return rows


def storage_table(measured: Measured, work: Workload) -> list[list[str]]:
    """Bytes of runs, and run files of `QUERIES_PER_FILE` queries."""
    rows = [["queries", "candidates", "run", "run, gzip", "run files", "memory to read one"]]
    for queries in work.queries:
        candidates = queries * work.candidates
        one = min(queries, QUERIES_PER_FILE) * work.candidates
        rows.append(
            [
                f"{queries:,}",
                f"{candidates:,}",
                _bytes(candidates * measured.line),
                _bytes(candidates * measured.packed),
                f"{-(-queries // QUERIES_PER_FILE):,}",
                _bytes(one * measured.reading),
            ]
        )
    return rows


def tables(ranker: ElasticRanker, measured: Measured, work: Workload, machines: Sequence[Machine]) -> str:
    """All tables, as Markdown."""
    from elasticranker.evaluation.manifest import machine, today

    ladder, here, engine = ranker.checkpoint.plans(), machine(), ranker.engine
    sections = [
        f"{today()[:10]}; {here['processor']}, {here['threads']} threads, {str(engine.dtype).removeprefix('torch.')}; "
        f"checkpoint `{ranker.fingerprint[:12]}`; {work.candidates:,} candidates a query, documents of {work.tokens} "
        f"tokens on average, {measured.flops / 1e9:.2f} GFLOPs a pair at full budget. Timed: a query of "
        f"{measured.sample} candidates.",
        "### Work",
        markdown(work_table(ladder, measured, work)),
        "### Machines like this one",
        f"Tokenising runs at {measured.tokens_per_second:,.0f} tokens a second and is included in seconds and hours "
        f"({work.candidates * work.tokens / measured.tokens_per_second:.2f} s a query).",
        markdown(machine_table(ladder, measured, work)),
    ]
    for other in machines:
        used = " / ".join(f"{share:.0%}" for share in other.utilisation)
        cores = [
            other.peak * share / measured.flops * work.tokens / (measured.tokens_per_second / here["threads"])
            for share in other.utilisation
        ]
        sections += [
            f"### {other.name}",
            f"Dense bfloat16 peak {other.peak / 1e12:,.0f} TFLOP/s, of which {used} are assumed, not measured, a "
            f"figure each. Tokenising is left out: at full budget {' / '.join(_short(count) for count in cores)} cores "
            f"like these keep one {other.name} fed; at a smaller budget, 1/budget times as many.",
            markdown(gpu_table(ladder, measured, work, other)),
        ]
    text = PASSAGES * work.tokens * measured.bytes_per_token
    sections += [
        "### Storage",
        markdown(storage_table(measured, work)),
        f"{measured.line:.0f} bytes a line, {measured.packed:.0f} packed, {measured.reading:.0f} of memory a line "
        f"while it is read. Texts of {PASSAGES / 1e6:.0f} million passages of {work.tokens} tokens at "
        f"{measured.bytes_per_token:.1f} bytes each: {_bytes(text)}.",
    ]
    return "\n\n".join(sections)


def _by_size(what: str, work: Workload) -> list[str]:
    return [f"{what}, {queries:,} queries" for queries in work.queries]


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _bytes(number: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if number < 1000:
            return f"{_short(number)} {unit}"
        number /= 1000
    return f"{_short(number)} TB"
