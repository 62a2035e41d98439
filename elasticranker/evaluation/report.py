"""Results for reading: an aligned table for the terminal, a Markdown report for the folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from elasticranker.files import atomic_write
from elasticranker.runs.resumable import scoring_settings

if TYPE_CHECKING:
    from elasticranker.ranker import ElasticRanker

HEADINGS = {
    "system": "system",
    "budget": "budget",
    "RR@10": "RR@10",
    "nDCG@10": "nDCG@10",
    "AP": "AP",
    "R@100": "R@100",
    "gflops_mean": "GFLOPs mean",
    "gflops_max": "GFLOPs max",
    "ms_mean": "ms mean",
    "ms_p50": "ms p50",
    "ms_p95": "ms p95",
    "p_value": "p vs full",
}
NAMES = ("system", "budget")  # the columns that hold no numbers


def cells(
    results: pd.DataFrame,
    headings: Mapping[str, str] = HEADINGS,
    rounded: Callable[[str, float], str] | None = None,
) -> list[list[str]]:
    """A table of results as text, heading row first: rounded for reading, empty where there is no value.

    Args:
        results: the table.
        headings: of its columns; others keep their names.
        rounded: a column's name and a number of it to text; by default costs and effectiveness as they are used to.
    """
    rows = [[headings.get(name, name) for name in results.columns]]
    rows += [
        [_cell(name, value, rounded or _rounded) for name, value in zip(results.columns, row, strict=True)]
        for row in results.itertuples(index=False)
    ]
    return rows


def _cell(column: str, value: Any, rounded: Callable[[str, float], str]) -> str:
    if isinstance(value, str):
        return value
    if value is None or math.isnan(value):
        return ""
    if column == "p_value":
        return "<0.001" if value < 0.001 else f"{value:.3f}"
    return rounded(column, value)


def _rounded(column: str, value: float) -> str:
    if column.startswith(("gflops", "ms_")):
        return f"{value:.1f}" if value >= 1 else f"{value:.3g}"
    return f"{value:.4f}"


def aligned(rows: list[list[str]]) -> str:
    """Rows of cells as columns of equal width, for the terminal: names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    adjust = [str.ljust if heading in NAMES else str.rjust for heading in rows[0]]
    lines = [[place(cell, width) for place, cell, width in zip(adjust, row, widths, strict=True)] for row in rows]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("  ".join(line) for line in lines)


def markdown(rows: list[list[str]]) -> str:
    """Rows of cells as a Markdown table, names to the left, numbers to the right."""
    rule = ["---" if heading in NAMES else "---:" for heading in rows[0]]
    return "\n".join("| " + " | ".join(row) + " |" for row in [rows[0], rule, *rows[1:]])


def relative(results: pd.DataFrame) -> pd.DataFrame:
    """Every row of the reranker as a share of the full model; empty where the full model wasn't measured."""
    full = results[results["budget"] == "100%"]
    if full.empty:
        return pd.DataFrame()
    reference, ours = full.iloc[0], results[results["system"] == "elastic"]
    share = {
        name: [f"{value / reference[name]:.1%}" if reference[name] else "" for value in ours[name]]
        for name in ("RR@10", "nDCG@10")
    }
    return pd.DataFrame(
        {
            "budget": ours["budget"],
            "nDCG@10, share of full": share["nDCG@10"],
            "RR@10, share of full": share["RR@10"],
            "FLOPs, share of full": [f"{value / reference['gflops_mean']:.1%}" for value in ours["gflops_mean"]],
            "times faster than full": [f"{reference['ms_mean'] / value:.1f}" for value in ours["ms_mean"]],
        }
    )


def footnotes(job: Mapping[str, Any], note: str = "") -> list[str]:
    """How to read a table: what was counted, on which machine, with which checkpoint."""
    without = job["queries"] - job["queries with candidates"]
    lines = [
        f"{job['queries']} judged queries of {job['collection']}"
        + (f", {without} of them without candidates (they count 0)" if without else "")
        + (f" ({job['queries left out']} left out: the ladder was tuned on them)" if job["queries left out"] else "")
        + f"; {job['candidates'] / job['queries with candidates']:.0f} candidates a query; "
        f"a document is relevant from label {job['relevance level']} (RR, AP, R).",
        "GFLOPs and milliseconds: per query, the reranker alone with its tokenisation, one query at a time, in turn.",
        "p: paired t-test on nDCG@10 against the full model, Holm-corrected over the rows of the table.",
        f"{job['processor']}, {job['threads']} threads, dtype {job['dtype']}; "
        f"checkpoint {job['checkpoint fingerprint'][:12]}.",
    ]
    return [*lines, note] if note else lines


def write_report(path: str | Path, results: pd.DataFrame, manifest: Mapping[str, Any], *, sittings: int = 1) -> None:
    """Write the report of a trade-off experiment.

    Args:
        path: The Markdown file; figure and files are named relative to its folder.
        results: The table of results.csv.
        manifest: What manifest.json holds.
        sittings: How many processes measured it; more than one if it was interrupted.
    """
    job = manifest["job"]
    parts = [
        f"# Effectiveness against cost: {job['collection']}",
        f"Measured {manifest['date'][:10]}" + (f", in {sittings} sittings." if sittings > 1 else "."),
        markdown(cells(results)),
        "\n".join(f"- {line}" for line in footnotes(job, manifest["note"])),
    ]
    shares = relative(results)
    if not shares.empty:
        parts.append(markdown(cells(shares)))
    parts += [
        "![nDCG@10 and RR@10 against GFLOPs per query](tradeoff.png)",
        "Files: `results.csv` (this table, unrounded), `runs/` (TREC run files), `manifest.json` (versions and "
        "settings), `journal.jsonl` (every query's rankings, FLOPs and times).",
        "Versions: " + ", ".join(f"{name} {version}" for name, version in manifest["versions"].items()) + ".",
    ]
    with atomic_write(path) as file:
        file.write(("\n\n".join(parts) + "\n").encode())


def ranker_settings(ranker: ElasticRanker) -> dict[str, Any]:
    """Settings of a ranker that change scores or times."""
    return {**scoring_settings(ranker), "batch_size": ranker.batch_size}
