"""Latency above, quality below, against load: simulated curves, measured points over them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from elasticranker.display.style import BLUE, GREY, PURPLE, VERMILION, picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"static full": VERMILION, "static middle": PURPLE, "static smallest": GREY, "elastic": BLUE}
MARKERS = {"static full": "s", "static middle": "D", "static smallest": "v", "elastic": "o"}
LINES: dict[str, dict[str, Any]] = {
    "p99": {"linestyle": "-", "linewidth": 2},
    "p95": {"linestyle": (0, (5, 2)), "linewidth": 1.1},
    "p50": {"linestyle": ":", "linewidth": 1.4},
}
TICKS = (0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32)


def draw_online(
    simulated: pd.DataFrame,
    measured: pd.DataFrame,
    path: str | Path,
    *,
    simulated_slo: float | None,
    measured_slo: float | None,
    title: str,
) -> None:
    """Draw one kind of arrivals.

    Latencies are shares of the objective and loads multiples of what the full model sustains, each in its own part, so
    that simulation and measurement can be laid over each other on a machine whose speed varies.

    Args:
        simulated: rows of the simulation, may be empty.
        measured: rows of the measurement, may be empty.
        path: the PNG file, 1600 pixels wide.
        simulated_slo: the simulation's objective in seconds; None where there is none.
        measured_slo: the measurement's.
        title: what was served, for the top of the figure.
    """
    with picture(8, 7.2, title=title) as figure:
        latency, quality = figure.subplots(2, 1, sharex=True, height_ratios=[3, 2])
        for table, slo, lines in ((simulated, simulated_slo, True), (measured, measured_slo, False)):
            if slo is None or table.empty:
                continue
            for system, colour in COLOURS.items():
                rows = table[table["system"] == system].sort_values("load")
                draw = _curves if lines else _points
                draw(latency, quality, rows, 1e3 * slo, colour, MARKERS[system])
        latency.axhline(1, color="black", linewidth=1, zorder=1)
        latency.annotate(
            "objective",
            (0, 1),
            xycoords=("axes fraction", "data"),
            xytext=(3, 3),
            textcoords="offset points",
            fontsize=9,
        )
        latency.set_yscale("log")
        latency.yaxis.set_major_formatter("{x:g}x")
        latency.set_ylabel("latency, multiples of the objective (log)")
        quality.set_ylabel("nDCG@10 of what was served")
        quality.set_xscale("log")
        loads = [*simulated.get("load", []), *measured.get("load", [])]
        shown = [tick for tick in TICKS if min(loads) <= tick <= max(loads)] or sorted(set(loads))
        quality.xaxis.set_major_locator(FixedLocator(shown))
        quality.xaxis.set_minor_locator(NullLocator())
        quality.xaxis.set_major_formatter("{x:g}x")
        quality.set_xlabel("arrival rate, multiples of what the full model sustains (log scale)")
        figure.legend(handles=_legend(measured), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.save(path)


def _curves(latency: Axes, quality: Axes, rows: pd.DataFrame, slo: float, colour: str, _: str) -> None:
    for percentile, style in LINES.items():
        latency.plot(rows["load"], rows[percentile] / slo, color=colour, zorder=2, **style)
    quality.plot(rows["load"], rows["nDCG@10"], color=colour, linewidth=2, zorder=2)


def _points(latency: Axes, quality: Axes, rows: pd.DataFrame, slo: float, colour: str, marker: str) -> None:
    """p99 filled, p95 and p50 hollow and smaller; an arrow where more would have come (a lower bound)."""
    look: dict[str, Any] = {"linestyle": "", "marker": marker, "color": colour, "zorder": 3}
    for percentile in LINES:
        worst = percentile == "p99"
        fill: dict[str, Any] = {"markerfacecolor": colour if worst else "white", "markersize": 7 if worst else 4.5}
        latency.plot(rows["load"], rows[percentile] / slo, **look, **fill)
    bounds = rows[rows["at_least"].astype(bool)]
    if len(bounds):
        height = bounds["p99"] / slo
        latency.errorbar(bounds["load"], height, yerr=0.45 * height, lolims=True, linestyle="", color=colour, zorder=3)
    quality.plot(rows["load"], rows["nDCG@10"], **look, markersize=7)


def _legend(measured: pd.DataFrame) -> list[Line2D]:
    entries = [
        Line2D([], [], color=colour, marker=MARKERS[system], linewidth=2, label=system)
        for system, colour in COLOURS.items()
    ]
    entries += [Line2D([], [], color="black", label=percentile, **style) for percentile, style in LINES.items()]
    if not measured.empty:
        point: dict[str, Any] = {"linestyle": "", "marker": "o", "color": "black"}
        entries.append(Line2D([], [], label="measured (p99; hollow: p95, p50)", **point))
    return entries
