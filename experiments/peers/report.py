"""The results of a comparison for reading: sections for the terminal, and the same as a Markdown file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from elasticranker.evaluation import report
from elasticranker.evaluation.report import aligned, markdown, versions_line
from elasticranker.files import atomic_write

HEADINGS = {
    "pairs_per_s": "pairs/s",
    "batch_vs_st": "batch/ST",
    "batch_vs_best": "batch/best",
    "ms_p50": "ms p50",
    "ms_p95": "ms p95",
    "online_vs_st": "online/ST",
    "online_vs_best": "online/best",
    "peak_mb": "peak MB",
    "gflops": "GFLOPs",
    "gflops_mean": "GFLOPs mean",
    "gflops_max": "GFLOPs max",
    "ours_at_gflops": "ours, same GFLOPs",
    "ours_at_ms": "ours, same ms",
    "ours_not_below": "ours not below",
    "p_value": "p",
}
QUALITY = ("nDCG@10", "RR@10", "ours_at_gflops", "ours_at_ms")


@dataclass(frozen=True)
class Section:
    """One part's results.

    Attributes:
        title: its heading.
        table: rows to show.
        findings: sentences that the table bears out.
        notes: how it was measured, and what was left out.
        figure: name of a PNG beside the report, or "".
    """

    title: str
    table: pd.DataFrame
    findings: Sequence[str] = ()
    notes: Sequence[str] = ()
    figure: str = ""


@dataclass(frozen=True)
class Report:
    """Everything that a comparison found.

    Attributes:
        title: what was measured.
        made_with: processor, threads, checkpoint, date.
        sections: one a part.
        note: the user's own sentence.
        versions: of what ran.
    """

    title: str
    made_with: str
    sections: Sequence[Section]
    note: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """For the terminal."""
        parts = []
        for section in self.sections:
            lines = [*section.findings, *(f"({note})" for note in section.notes)]
            parts.append("\n".join([section.title, "", aligned(cells(section.table)), "", *lines]))
        parts.append("\n".join(filter(None, [self.made_with, self.note])))
        return "\n\n".join(parts)

    def write(self, path: str | Path) -> None:
        """As a Markdown file."""
        parts = [f"# {self.title}", self.made_with, self.note]
        for section in self.sections:
            parts += [f"## {section.title}", markdown(cells(section.table)), _list(section.findings)]
            parts += [f"![{section.title}]({section.figure})" if section.figure else "", _list(section.notes)]
        parts.append(versions_line(self.versions))
        with atomic_write(path) as file:
            file.write(("\n\n".join(part for part in parts if part) + "\n").encode())


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def cells(table: pd.DataFrame) -> list[list[str]]:
    """A table as text, heading row first: rounded for reading, empty where there is no value."""
    return report.cells(table, HEADINGS, _rounded)


def _rounded(column: str, value: float) -> str:
    if column in QUALITY:
        return f"{value:.4f}"
    if column.endswith(("_vs_st", "_vs_best")):
        return f"{value:.2f}"
    if column in ("tokens", "candidates") or abs(value) >= 1000:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.3g}"
