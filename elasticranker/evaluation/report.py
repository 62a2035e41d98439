"""Results for reading: an aligned table for the terminal, a Markdown report for the folder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from elasticranker.evaluation.manifest import load_warning
from elasticranker.evaluation.systems import FULL
from elasticranker.files import atomic_write

HEADINGS = {
    "gflops_mean": "GFLOPs mean",
    "gflops_max": "GFLOPs max",
    "ms_mean": "ms mean",
    "ms_p50": "ms p50",
    "ms_p95": "ms p95",
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
    if column.startswith("p ") or column == "p_value":
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


def tables(results: pd.DataFrame) -> tuple[list[list[str]], list[list[str]]]:
    """The results of a trade-off as cells: effectiveness and cost; and p-values, no cells where nothing was tested."""
    tests = [column for column in results.columns if column.startswith("p ")]
    tested = results[[*NAMES, *tests]]
    return cells(results.drop(columns=tests)), cells(tested) if tested[tests].notna().any(axis=None) else []


def relative(results: pd.DataFrame, measures: Sequence[str]) -> pd.DataFrame:
    """Every row of a reranker as a share of its full model; none where the full model wasn't measured."""
    parts = []
    for _, ours in results[results["budget"] != ""].groupby("system", sort=False):
        full = ours[ours["budget"] == FULL]
        if full.empty:
            continue
        reference = full.iloc[0]
        part = ours[list(NAMES)].copy()
        for name in measures:
            shares = [f"{value / reference[name]:.1%}" if reference[name] else "" for value in ours[name]]
            part[f"{name}, share of full"] = shares
        part["FLOPs, share of full"] = [f"{value / reference['gflops_mean']:.1%}" for value in ours["gflops_mean"]]
        part["times faster than full"] = [f"{reference['ms_mean'] / value:.1f}" for value in ours["ms_mean"]]
        parts.append(part)
    return pd.concat(parts) if parts else pd.DataFrame()


def footnotes(manifest: Mapping[str, Any]) -> list[str]:
    """How to read a table: what was counted, on which machine, with which checkpoints, and what to beware of."""
    job, evaluation, measurement = manifest["job"], manifest["evaluation"], manifest["measurement"]
    without = job["queries"] - job["queries with candidates"]
    lines = [
        f"{job['queries']} judged queries of {job['collection']}"
        + (f", {without} of them without candidates (they count 0)" if without else "")
        + (f" ({job['queries left out']} left out: the ladder was tuned on them)" if job["queries left out"] else "")
        + f"; {job['candidates'] / job['queries with candidates']:.0f} candidates a query; a document is relevant from "
        f"label {evaluation['relevance level']}, where a measure doesn't say from which.",
        "GFLOPs and milliseconds: per query, the reranker alone with its tokenisation, one query at a time, in turn.",
    ]
    if evaluation["baseline"] is not None:
        lines.append(
            f"p: paired t-test against {evaluation['baseline']}, Holm-corrected over the systems of each measure."
        )
    lines.append(f"{job['processor']}, {job['threads']} threads; {_made_with(manifest['systems'])}.")
    if not measurement["all in turn"]:
        lines.append(
            "Systems were measured in different sittings, those of one in turn: milliseconds compare best within one."
        )
    if warning := load_warning(measurement["highest load"], job["cores"]):
        lines.append(warning)
    if measurement["unfinished"]:
        lines.append(f"Begun and not finished, so not in the table: {', '.join(measurement['unfinished'])}.")
    return [*lines, manifest["note"]] if manifest["note"] else lines


def _made_with(systems: Mapping[str, Mapping[str, Any]]) -> str:
    """Checkpoint and dtype of each ranker."""
    facts = [
        f"{about['system']}: checkpoint {about['checkpoint fingerprint'][:12]}, dtype {about['dtype']}"
        if "checkpoint fingerprint" in about
        else f"{about['system']}: {about['ranker']}"
        for about in systems.values()
    ]
    return "; ".join(dict.fromkeys(facts))


def write_report(path: str | Path, results: pd.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Write the report of a trade-off experiment.

    Args:
        path: The Markdown file; figure and files are named relative to its folder.
        results: The table of results.csv.
        manifest: What manifest.json holds.
    """
    shown, tests = tables(results)
    dates = sorted({about["date"][:10] for about in manifest["systems"].values()})
    sittings = manifest["measurement"]["sittings"]
    parts = [
        f"# Effectiveness against cost: {manifest['job']['collection']}",
        f"Measured {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}"
        + (f", in {sittings} sittings." if sittings > 1 else "."),
        markdown(shown),
        "\n".join(f"- {line}" for line in footnotes(manifest)),
    ]
    if tests:
        parts += [f"p, against {manifest['evaluation']['baseline']}:", markdown(tests)]
    measures = manifest["evaluation"]["measures"][:2]
    shares = relative(results, measures)
    if not shares.empty:
        parts.append(markdown(cells(shares)))
    parts += [
        f"![{' and '.join(measures)} against GFLOPs per query, with 95 % confidence bands](tradeoff.png)",
        "Files: `results.csv` (these tables, unrounded), `per_query.csv` (every measure, 10^9 FLOPs and milliseconds "
        "by query and system), `runs/` (TREC run files), `manifest.json` (versions and settings); where it is kept, "
        "`journal.jsonl` (every query's rankings, FLOPs and times).",
        *_versions(manifest["systems"]),
    ]
    with atomic_write(path) as file:
        file.write(("\n\n".join(parts) + "\n").encode())


def versions_line(versions: Mapping[str, str]) -> str:
    """The sentence with which a report names what it was measured with."""
    return f"Versions: {_named(versions)}."


def _named(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _versions(systems: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for all systems, or one for each set of versions that they were measured with."""
    named = {system: _named(about["versions"]) for system, about in systems.items()}
    if len(set(named.values())) == 1:
        return [versions_line(next(iter(systems.values()))["versions"])]
    return [
        f"Versions, of {', '.join(system for system in named if named[system] == text)}: {text}."
        for text in dict.fromkeys(named.values())
    ]
