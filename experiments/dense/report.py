"""Table, figure and report of dense retrieval at many depths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from elasticranker.display.style import BLUE, GREEN, GREY, PURPLE, VERMILION, cost_axis, picture
from elasticranker.evaluation.report import cells, markdown
from elasticranker.files import atomic_write
from experiments.dense.measuring import FIRST, measures_of

LOOKS = [(BLUE, "o"), (VERMILION, "s"), (GREEN, "^"), (PURPLE, "D"), (GREY, "v"), (GREY, "P"), (GREY, "X")]
HEADINGS = {"mflops": "MFLOPs", "ms_encode": "encode ms", "ms_search": "search ms", "share": "of full cost"}


def with_shares(results: pd.DataFrame) -> pd.DataFrame:
    """The table with costs and effectiveness as shares of the whole elastic model's: the first kind's deepest."""
    kind = results.loc[results["system"] != FIRST, "kind"].iloc[0]
    full = results[results["kind"] == kind].sort_values("depth").iloc[-1]
    shares = results.assign(share=results["mflops"] / full["mflops"])
    for name in measures_of(results):
        shares[f"{name} kept"] = results[name] / full[name] if full[name] else float("nan")
    return shares


def table_cells(results: pd.DataFrame) -> list[list[str]]:
    """The table as text for reading, heading row first."""
    return cells(with_shares(results).drop(columns=["kind", "depth"]), HEADINGS, _rounded)


def _rounded(column: str, value: float) -> str:
    if column == "share" or column.endswith(" kept"):
        return f"{value:.1%}"
    return f"{value:.4f}" if "@" in column else f"{value:.3g}"


def footnotes(manifest: Mapping[str, Any]) -> list[str]:
    """How to read the table."""
    kinds = "R@k: an answer string is in one of the first k passages, as DPR measures; " if manifest["answers"] else ""
    lines = [
        f"{manifest['job']['collection']}, {manifest['queries']} queries. {kinds}exhaustive search by numpy.",
        "Documents are encoded by each model in full; the number behind a system's name is its queries' depth. Cut: "
        "the mean of the states after so many layers, without training. Static: trained for that depth alone, "
        "searching the uncut bi-encoder's documents. In N: queries and documents cut to their first N dimensions.",
        "MFLOPs and encode ms: of one query's encoding, tokenisation included in the time; search ms: of its search; "
        "medians of queries one at a time, all systems in turn. kept: share of what the whole elastic model reaches.",
        f"{manifest['date'][:10]}, {manifest['processor']}, {manifest['threads']} threads, {manifest['job']['dtype']}; "
        f"elastic: checkpoint {next(iter(manifest['job']['systems'].values()))[:12]}.",
    ]
    return [*lines, manifest["note"]] if manifest["note"] else lines


def draw(results: pd.DataFrame, path: Path, *, title: str) -> None:
    """Draw effectiveness against FLOPs and against milliseconds of encoding one query, BM25 as a horizontal line."""
    measure = next(name for name in measures_of(results) if name in ("nDCG@10", "R@20"))
    dense = results[results["system"] != FIRST]
    first = float(results.loc[results["system"] == FIRST, measure].iloc[0])
    with picture(8, 3.8, title=title) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for axes, cost, label in zip(panels, ("mflops", "ms_encode"), ("MFLOPs a query", "ms a query"), strict=True):
            for number, (kind, rows) in enumerate(dense.groupby("kind", sort=False)):
                colour, marker = LOOKS[number % len(LOOKS)]
                axes.plot(rows[cost], rows[measure], color=colour, marker=marker, label=str(kind))
            axes.axhline(first, color=GREY, linestyle=(0, (4, 3)), linewidth=1.5, label=FIRST)
            cost_axis(axes, f"{label}, encoding alone")
        panels[0].set_title(measure, loc="left")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.save(path)


def write_report(folder: Path, results: pd.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Write `results.csv`, `dense.png` and `report.md`."""
    with atomic_write(folder / "results.csv") as file:
        file.write(with_shares(results).to_csv(index=False).encode())
    title = f"{manifest['job']['collection']}, {manifest['queries']} queries"
    draw(results, folder / "dense.png", title=title)
    parts = ["# Dense retrieval within a budget", markdown(table_cells(results)), "![](dense.png)"]
    with atomic_write(folder / "report.md") as file:
        file.write("\n\n".join([*parts, *footnotes(manifest)]).encode() + b"\n")
