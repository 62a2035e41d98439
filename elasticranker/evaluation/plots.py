"""Figures for a README: readable at 800 pixels, told apart without colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation
from matplotlib.ticker import LogLocator, NullFormatter

from elasticranker.evaluation.labels import label_points
from elasticranker.evaluation.measures import parse_measures
from elasticranker.files import atomic_write
from elasticranker.planning.budget import Budget

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


COLOURS = (BLUE, VERMILION, GREEN, PURPLE)  # of rankers
MARKERS = {"share": "o", "flops": "s", "time": "^"}  # of kinds of budgets
LINES: dict[str, Any] = {"share": "-", "flops": (0, (4, 2)), "time": (0, (1, 1))}
KINDS = {"share": "as shares", "flops": "in FLOPs", "time": "in time"}


def draw_tradeoff(results: pd.DataFrame, path: str | Path, *, title: str, evaluation: Mapping[str, Any]) -> None:
    """Draw effectiveness against FLOPs per query, the first stage as a horizontal line.

    A ranker has a colour, a kind of budget a marker and a kind of line; a point is hollow where the measure differs
    significantly from the baseline's.

    Args:
        results: The table of `run_tradeoff`.
        path: The PNG file, 1600 pixels wide.
        title: What was measured, for the top of the figure.
        evaluation: `measures` (the first two are drawn), `baseline` and `relevance level`.
    """
    measures = parse_measures(evaluation["measures"][:2], rel=evaluation["relevance level"])
    # Figure and rc_context rather than pyplot: no global state, and no window system is asked for.
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8 if len(measures) > 1 else 5, 4.1), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(measures), squeeze=False)[0]
        series = _series(results)
        for axes, (name, measure) in zip(panels, measures.items(), strict=True):
            _panel(axes, results.iloc[0], series, name)
            axes.set_title(str(measure), loc="left")
            axes.set_xlabel("GFLOPs per query, mean (log scale)")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=GREY)
        if entries := _legend(series, evaluation["baseline"]):
            figure.legend(handles=entries, loc="outside lower center", ncols=2, frameon=False)
        figure.draw_without_rendering()  # lays it out: labels are placed on what is there
        for axes, name in zip(panels, measures, strict=True):
            points = [
                (row["gflops_mean"], row[name], row["budget"], each.colour) for each in series for row in each.rows()
            ]
            label_points(axes, points, taken=[text for text in axes.texts if isinstance(text, Annotation)])
        with atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=200)


class _Series(NamedTuple):
    """One ranker at budgets of one kind, from cheap to dear."""

    name: str
    kind: str
    colour: str
    table: pd.DataFrame

    def rows(self) -> list[dict[Any, Any]]:
        return self.table.to_dict("records")

    def point(self, differs: bool) -> dict[str, Any]:
        """Style of a point: hollow where it differs significantly from the baseline."""
        fill = "white" if differs else self.colour
        look = {"marker": MARKERS[self.kind], "markersize": 8, "markeredgewidth": 2, "zorder": 3}
        return {**look, "color": self.colour, "markerfacecolor": fill}

    def line(self) -> dict[str, Any]:
        """Style of the line through its points."""
        return {"color": self.colour, "linewidth": 2, "linestyle": LINES[self.kind], "zorder": 2}


def _series(results: pd.DataFrame) -> list[_Series]:
    """The lines of a figure; a budget that affords nothing has no place on a log axis."""
    ours = results.iloc[1:]
    ours = ours[ours["gflops_mean"] > 0].assign(kind=[Budget(b).kind for b in ours["budget"][ours["gflops_mean"] > 0]])
    names = list(ours["system"].unique())
    return [
        _Series(name, kind, COLOURS[names.index(name) % len(COLOURS)], table.sort_values("gflops_mean"))
        for (name, kind), table in ours.groupby(["system", "kind"], sort=False)
    ]


def _legend(series: Sequence[_Series], baseline: str | None) -> list[Line2D]:
    """Entries: what hollow means, and the lines where there is more than one."""
    look: dict[str, Any] = {"linestyle": "", "color": GREY, "marker": "o", "markersize": 8, "markeredgewidth": 2}
    entries = []
    if baseline is not None:
        hollow = f"differs from {baseline} (p < {SIGNIFICANT})"
        entries.append(Line2D([], [], label=hollow, markerfacecolor="white", **look))
        entries.append(Line2D([], [], label=f"{baseline}, or no significant difference", **look))
    if len(series) > 1:
        entries += [
            Line2D([], [], label=f"{each.name}, budgets {KINDS[each.kind]}", **(each.line() | each.point(False)))
            for each in series
        ]
    return entries


def _panel(axes: Axes, first: pd.Series, series: Sequence[_Series], measure: str) -> None:
    """One measure: the lines, their points, and the first stage."""
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.axhline(first[measure], color=GREY, linestyle=(0, (4, 3)), linewidth=1.5)
    values = [first[measure]]
    for each in series:
        axes.plot(each.table["gflops_mean"], each.table[measure], **each.line())
        for row in each.rows():
            axes.plot(row["gflops_mean"], row[measure], **each.point(row[f"p {measure}"] < SIGNIFICANT))
            values.append(row[measure])
    spread = max(values) - min(values) or 0.05
    axes.set_ylim(min(values) - 0.18 * spread, max(values) + 0.15 * spread)
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
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=GREY)
        with atomic_write(path) as file:
            figure.savefig(file, format="png", dpi=200)
