"""Figures of a trade-off and of a tuned ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Annotation

from elasticranker.display.style import BLUE, COLOURS, GREY, VERMILION, Picture, cost_axis, picture
from elasticranker.evaluation.labels import label_points
from elasticranker.evaluation.measures import parse_measures
from elasticranker.planning.budget import Budget

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIGNIFICANT = 0.05
MARKERS = {"share": "o", "flops": "s", "time": "^", "": "D"}  # of kinds of budgets; "" is none
LINES: dict[str, Any] = {"share": "-", "flops": (0, (4, 2)), "time": (0, (1, 1)), "": "-"}
KINDS = {"share": ", budgets as shares", "flops": ", budgets in FLOPs", "time": ", budgets in time", "": ""}
AXES = {"gflops": "GFLOPs per query, mean", "ms": "ms per query, mean"}
BAND: dict[str, Any] = {"alpha": 0.15, "linewidth": 0, "zorder": 1}


def tradeoff_figure(
    results: pd.DataFrame,
    intervals: pd.DataFrame,
    *,
    title: str,
    evaluation: Mapping[str, Any],
    cost: str = "gflops",
) -> Picture:
    """Effectiveness against cost, the first stage as a horizontal line.

    A ranker has a colour, a kind of budget a marker and a kind of line; a point is hollow where the measure differs
    significantly from the baseline's. Bands are 95 % confidence intervals of the means.

    Args:
        results: `TradeOff.table`.
        intervals: `TradeOff.intervals`.
        title: what was measured, for the top of the figure.
        evaluation: `measures` (the first two are drawn), `baseline` and `relevance level`.
        cost: a key of `AXES`.

    Raises:
        ValueError: there is no such cost.
    """
    if cost not in AXES:
        raise ValueError(f"cost={cost!r}: choose among {', '.join(AXES)}")
    column = f"{cost}_mean"
    measures = parse_measures(evaluation["measures"][:2], rel=evaluation["relevance level"])
    bands = {
        measure: rows.set_index(["system", "budget"])[["low", "high"]] for measure, rows in intervals.groupby("measure")
    }
    with picture(8 if len(measures) > 1 else 5, 4.1, title=title) as figure:
        panels = figure.subplots(1, len(measures), squeeze=False)[0]
        series = _series(results, column)
        for axes, (name, measure) in zip(panels, measures.items(), strict=True):
            cost_axis(axes, AXES[cost])
            _panel(axes, results.iloc[0], series, name, column, bands[name])
            axes.set_ylabel(f"{measure}, mean")
        entries = _legend(series, evaluation["baseline"])
        figure.legend(handles=entries, loc="outside lower center", ncols=2, frameon=False)
        figure.draw_without_rendering()  # lays it out: labels are placed on what is there
        for axes, name in zip(panels, measures, strict=True):
            points = [
                (row[column], row[name], row["budget"] or each.name, each.colour)
                for each in series
                for row in each.rows()
            ]
            label_points(axes, points, taken=[text for text in axes.texts if isinstance(text, Annotation)])
    return figure


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


def _series(results: pd.DataFrame, column: str) -> list[_Series]:
    """The lines of a figure; a budget that affords nothing has no place on a log axis."""
    ours = results.iloc[1:]
    ours = ours[ours[column] > 0]
    ours = ours.assign(kind=[Budget(budget).kind if budget else "" for budget in ours["budget"]])
    names = list(ours["system"].unique())
    return [
        _Series(name, kind, COLOURS[names.index(name) % len(COLOURS)], table.sort_values(column))
        for (name, kind), table in ours.groupby(["system", "kind"], sort=False)
    ]


def _legend(series: Sequence[_Series], baseline: str | None) -> list[Artist]:
    """Entries: what hollow means, and the lines where there is more than one."""
    look: dict[str, Any] = {"linestyle": "", "color": GREY, "marker": "o", "markersize": 8, "markeredgewidth": 2}
    entries: list[Artist] = []
    if baseline is not None:
        hollow = f"differs from {baseline} (p < {SIGNIFICANT})"
        entries.append(Line2D([], [], label=hollow, markerfacecolor="white", **look))
        entries.append(Line2D([], [], label=f"{baseline}, or no significant difference", **look))
    if len(series) > 1:
        entries += [
            Line2D([], [], label=f"{each.name}{KINDS[each.kind]}", **(each.line() | each.point(False)))
            for each in series
        ]
    return [*entries, Patch(color=GREY, alpha=0.25, linewidth=0, label="95 % confidence, bootstrap over queries")]


def _panel(
    axes: Axes, first: pd.Series, series: Sequence[_Series], measure: str, column: str, bands: pd.DataFrame
) -> None:
    """One measure: the lines, their points and bands, and the first stage."""
    axes.axhline(first[measure], color=GREY, linestyle=(0, (4, 3)), linewidth=1.5)
    low, high = bands.loc[(first["system"], "")]
    axes.axhspan(low, high, color=GREY, **BAND)
    ends = [low, high]
    for each in series:
        own = bands.loc[[(each.name, budget) for budget in each.table["budget"]]]
        ends += [own["low"].min(), own["high"].max()]
        axes.plot(each.table[column], each.table[measure], **each.line())
        if len(own) > 1:
            axes.fill_between(each.table[column], own["low"], own["high"], color=each.colour, **BAND)
        else:
            axes.vlines(each.table[column], own["low"], own["high"], color=each.colour, alpha=0.5, linewidth=2)
        for row in each.rows():
            axes.plot(row[column], row[measure], **each.point(row[f"p {measure}"] < SIGNIFICANT))
    spread = max(ends) - min(ends) or 0.05
    axes.set_ylim(min(ends) - 0.1 * spread, max(ends) + 0.1 * spread)
    axes.margins(x=0.12)
    costs = {cost for each in series for cost in each.table[column]}
    if len(costs) == 1:
        axes.set_xlim(min(costs) / 2, 2 * max(costs))
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
        path: the file, `.png`, `.svg` or `.pdf`.
        title: What it was tuned on.
    """
    with picture(6, 3.6, title=title) as figure:
        axes = figure.subplots()
        cost_axis(axes, "budget, share of the full model's FLOPs", shares=True)
        axes.plot(ladder["share"], ladder["of full"].astype(float), color=BLUE, marker="o", label="tuned on")
        axes.plot(ladder["share"], ladder["held out"].astype(float), color=VERMILION, marker="s", label="held out")
        axes.set_ylabel("quality, share of the full model's")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.save(path)
