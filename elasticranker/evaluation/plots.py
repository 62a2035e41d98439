"""Figures for a README: readable at 800 pixels, told apart without colour."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from elasticranker.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette (2008), which colour-blind readers can tell apart; the grey is for what is compared against.
BLUE, VERMILION, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#595959"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.titleweight": "bold",
    "axes.titlesize": 11,
}
SIGNIFICANT = 0.05


def draw_tradeoff(results: pd.DataFrame, path: str | Path, *, title: str, rel: int = 1) -> None:
    """Draw effectiveness against FLOPs per query, the first stage as a horizontal line.

    Args:
        results: The table of `run_tradeoff`.
        path: The PNG file, 1600 pixels wide.
        title: What was measured, for the top of the figure.
        rel: Lowest relevant label, for the name of the measure.
    """
    threshold = "" if rel == 1 else f"(rel={rel})"
    # Figure and rc_context rather than pyplot: no global state, and no window system is asked for.
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 3.9), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, 2)
        for axes, measure, name in zip(panels, ("nDCG@10", "RR@10"), ("nDCG@10", f"RR{threshold}@10"), strict=True):
            _panel(axes, results, measure)
            axes.set_title(name, loc="left")
            axes.set_xlabel("GFLOPs per query, mean (log scale)")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=GREY)
        figure.legend(handles=[_marker(False), _marker(True)], loc="outside lower center", ncols=2, frameon=False)
        with atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=200)


def _marker(differs: bool) -> Line2D:
    """The legend's entry of a point."""
    name = f"nDCG@10 differs from full (p < {SIGNIFICANT})" if differs else "full, or no significant difference from it"
    return Line2D([], [], linestyle="", label=name, **_point(differs))


def _point(differs: bool) -> dict[str, Any]:
    """Style of a point: hollow where it differs significantly from the full model."""
    fill = "white" if differs else BLUE
    return {"marker": "o", "markersize": 8, "markeredgewidth": 2, "color": BLUE, "markerfacecolor": fill, "zorder": 3}


def _panel(axes: Axes, results: pd.DataFrame, measure: str) -> None:
    """One measure: a labelled point a budget, hollow where nDCG@10 differs significantly from the full model's."""
    first, ours = results.iloc[0], results.iloc[1:].sort_values("gflops_mean")
    ours = ours[ours["gflops_mean"] > 0]  # a budget that affords nothing has no place on a log axis
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axhline(first[measure], color=GREY, linestyle=(0, (4, 3)), linewidth=1.5)
    axes.plot(ours["gflops_mean"], ours[measure], color=BLUE, linewidth=2, zorder=2)
    for row in ours.to_dict("records"):
        place = (row["gflops_mean"], row[measure])
        axes.plot(*place, **_point(row["p_value"] < SIGNIFICANT))
        axes.annotate(row["budget"], place, textcoords="offset points", xytext=(0, -17), ha="center", fontsize=9)
    values = [first[measure], *ours[measure]]
    spread = max(values) - min(values) or 0.05
    axes.set_ylim(min(values) - 0.18 * spread, max(values) + 0.12 * spread)
    axes.margins(x=0.12)
    label = str(first["system"]).upper() if first["system"] == "bm25" else str(first["system"])
    axes.annotate(
        f"{label} {first[measure]:.3f}",
        (1, first[measure]),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        xytext=(-2, 4),
        ha="right",
        fontsize=9,
        color=GREY,
    )


def draw_front(ladder: pd.DataFrame, path: str | Path, *, title: str) -> None:
    """Draw a tuned ladder: quality as a share of the full model's against the budget.

    Args:
        ladder: Columns `share`, `of full` (on the queries it was tuned on) and `held out` (on others).
        path: The PNG file.
        title: What it was tuned on.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6, 3.6), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.plot(ladder["share"], ladder["of full"].astype(float), color=BLUE, marker="o", label="tuned on")
        axes.plot(ladder["share"], ladder["held out"].astype(float), color=VERMILION, marker="s", label="held out")
        axes.set_xlabel("budget, share of the full model's FLOPs (log scale)")
        axes.set_title("quality, share of the full model's", loc="left")
        axes.legend(frameon=False, loc="lower right")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=GREY)
        with atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=200)
