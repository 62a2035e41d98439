"""Figure and report of the routing experiment."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from elasticranker.display.style import COLOURS, GREY, cost_axis, picture
from elasticranker.evaluation.manifest import load_warning
from elasticranker.evaluation.measures import MEASURES, TESTED
from elasticranker.evaluation.plots import SIGNIFICANT
from elasticranker.evaluation.report import cells, markdown, versions_line
from elasticranker.files import atomic_write
from experiments.routed import TESTS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = ["system", "share", "super_share", *MEASURES[:2], "gflops_mean", "ms_mean", "ms_p95", *TESTS]
BASELINES = {
    "uniform": {"color": "black", "linestyle": "-", "linewidth": 2.0},
    "random": {"color": GREY, "linestyle": ":", "linewidth": 1.5},
    "oracle": {"color": GREY, "linestyle": "--", "linewidth": 1.5},
}
MARKERS = "osD^vP*X"


def table_cells(results: pd.DataFrame) -> list[list[str]]:
    """The table as text for reading, heading row first."""
    shown = results[SHOWN].copy()
    for column in ("share", "super_share"):
        shown[column] = ["" if pd.isna(value) else f"{value:.0%}" for value in results[column]]
    for column in ("over_random", "over_uniform"):
        shown[column] = ["" if pd.isna(value) else f"{value:+.4f}" for value in results[column]]
    for column in ("p_random", "p_uniform"):
        shown[column] = [_p(value) for value in results[column]]
    return cells(shown)


def findings(results: pd.DataFrame) -> list[str]:
    """One line an energy, best first: its nDCG@10 over random and uniform spending, as the mean over the shares."""
    lines = []
    for name, ours in results.dropna(subset="over_random").groupby("system"):
        parts = []
        for reference in ("random", "uniform"):
            if ours[f"over_{reference}"].notna().any():
                sure = (ours[f"p_{reference}"] < SIGNIFICANT).sum()
                difference = f"{ours[f'over_{reference}'].mean():+.4f} over {reference}"
                parts.append(f"{difference} (p < {SIGNIFICANT} at {sure} of {len(ours)} shares)")
        lines.append((ours["over_random"].mean(), f"{name}: {', '.join(parts)}"))
    return [line for _, line in sorted(lines, reverse=True)]


def footnotes(manifest: Mapping[str, Any]) -> list[str]:
    """How to read the table."""
    job, arguments = manifest["job"], manifest["arguments"]
    lines = [
        f"Swift: {_named(job['swift'])}. Super: {_named(job['super'])}. Candidates: {job['first stage']}, "
        f"{job['candidates'] / job['queries with candidates']:.0f} a query.",
        f"{job['collection']}: {job['queries with candidates']} queries with candidates (of {job['queries']} judged) "
        f"in two halves (seed {arguments['seed']}): thresholds set on one, reported on the other, and the reverse. "
        f"A document is relevant from label {job['relevance level']} (RR, AP, R).",
        "share: of the calibration queries that goes to Super; super_share: of the reported ones.",
        "uniform: every query gets the same budget at about equal mean cost; random: expectation over all random "
        "choices; oracle: routes by the true gain in nDCG@10, which nobody knows beforehand.",
        "Costs are per query, Swift's included: FLOPs that were spent, milliseconds of the rankers alone, one query "
        "at a time, systems in turn.",
        "over_random, over_uniform: nDCG@10 above what random routing and a uniform budget reach at the very same mean "
        "GFLOPs (interpolated between the measured budgets); p: paired t-test of that, Holm-corrected over the table.",
        f"{job['processor']}, {job['threads']} threads.",
    ]
    lines += [line for line in (load_warning(manifest["highest load"], job["cores"]), manifest["note"]) if line]
    return lines


def write_report(path: str | Path, results: pd.DataFrame, manifest: Mapping[str, Any]) -> None:
    """Write the report.

    Args:
        path: The Markdown file; figure and files are named relative to its folder.
        results: The table of `run_routing`.
        manifest: What manifest.json holds.
    """
    parts = [
        f"# Energy routing: {manifest['job']['collection']}",
        f"Measured {manifest['date'][:10]}.",
        markdown(table_cells(results)),
        "\n".join(f"- {line}" for line in footnotes(manifest)),
        "Means over the shares, best energy first (nDCG@10 at equal mean GFLOPs):",
        "\n".join(f"- {line}" for line in findings(results)),
        "![nDCG@10 against GFLOPs and against milliseconds per query](routing.png)",
        "Files: `results.csv` (this table with more columns, unrounded), `manifest.json` (versions and settings), "
        "`journal.jsonl` (every query's rankings, FLOPs and times).",
        versions_line(manifest["versions"]),
    ]
    with atomic_write(path) as file:
        file.write(("\n\n".join(parts) + "\n").encode())


def draw_routing(
    results: pd.DataFrame, path: str | Path, *, title: str, measure: str = TESTED, per: str = "query"
) -> None:
    """Draw a measure against mean GFLOPs and mean milliseconds, one line a way of routing from Swift to Super.

    Args:
        results: The table of `run_routing`, or another whose first rows are Swift and Super.
        path: The PNG file.
        title: What was measured, for the top of the figure.
        measure: A column of the table.
        per: What the costs are means over.
    """
    with picture(8, 4.2, title=title) as figure:
        labels = {"gflops_mean": f"GFLOPs per {per}, mean", "ms_mean": f"ms per {per}, mean"}
        panels = figure.subplots(1, 2, sharey=True)
        for axes, (cost, label) in zip(panels, labels.items(), strict=True):
            if results[cost].min() > 0:
                cost_axis(axes, label)
            else:  # a Swift that costs nothing has no place on a log axis
                axes.set_xlabel(label)
            _panel(axes, results, cost, measure)
        panels[0].set_ylabel(f"{measure}, mean")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=8)
    figure.save(path)


def _panel(axes: Axes, results: pd.DataFrame, cost: str, measure: str) -> None:
    """One line a system, from Swift's point; the uniform budget's ends at Super's."""
    swift, super = results.iloc[0], results.iloc[1]
    looks = cycle({"color": colour, "marker": marker} for marker, colour in zip(MARKERS, cycle(COLOURS), strict=False))
    for name in results["system"].iloc[2:].unique():
        ours = results[results["system"] == name].sort_values("share")
        x, y = [swift[cost], *ours[cost]], [swift[measure], *ours[measure]]
        if name == "uniform":
            x, y = [*x, super[cost]], [*y, super[measure]]
        look: dict[str, Any] = BASELINES.get(name) or {"linewidth": 1.2, "markersize": 5, **next(looks)}
        axes.plot(x, y, label=name, **look)
    for row in (swift, super):
        axes.plot(row[cost], row[measure], "o", color="black", markersize=8, zorder=3)
        axes.annotate(row["system"], (row[cost], row[measure]), textcoords="offset points", xytext=(6, -12), fontsize=9)


def _named(ranker: Mapping[str, str]) -> str:
    facts = [ranker[name] for name in ("model_name", "budget") if name in ranker]
    facts += [f"checkpoint {ranker['fingerprint'][:12]}"] if "fingerprint" in ranker else []
    return ranker["class"] + (f" ({', '.join(facts)})" if facts else "")


def _p(value: float) -> str:
    return "" if pd.isna(value) else "<0.001" if value < 0.001 else f"{value:.3f}"
