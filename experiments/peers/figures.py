"""Figures of a comparison: methods as curves, sizes as curves."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from elasticranker.display.style import BLUE, GREEN, GREY, PURPLE, VERMILION, cost_axis, picture
from experiments.peers.methods import DEPTH, FULL, METHODS, OURS, SEE, TOP_K

LOOKS = {  # colour, marker, line; told apart without colour too
    OURS: (BLUE, "o", "-"),
    TOP_K: (VERMILION, "s", "--"),
    SEE: (GREEN, "^", "-."),
    DEPTH: (PURPLE, "D", ":"),
}


def draw_methods(table: pd.DataFrame, path: str | Path, *, title: str, rel: int = 1, first_stage: float = 0.0) -> None:
    """Draw nDCG@10 (above) and RR@10 (below) of every method against GFLOPs (left) and milliseconds (right).

    Args:
        table: of `methods.summary`.
        path: the PNG file.
        title: what was measured.
        rel: lowest relevant label, for the name of the measure.
        first_stage: its nDCG@10, a horizontal line; 0 for none.
    """
    threshold = "" if rel == 1 else f"(rel={rel})"
    costs = {"gflops_mean": "GFLOPs per query, mean", "ms_p50": "ms per query, median"}
    with picture(9, 6.4, title=title) as figure:
        panels = figure.subplots(2, 2, sharey="row")
        for row, (measure, name) in enumerate({"nDCG@10": "nDCG@10", "RR@10": f"RR{threshold}@10"}.items()):
            for column, (cost, label) in enumerate(costs.items()):
                axes = panels[row][column]
                cost_axis(axes, label)
                for method in METHODS:
                    points = table[table["system"].isin([method, FULL])].sort_values(cost)
                    colour, marker, line = LOOKS[method]
                    if (table["system"] == method).any():
                        style = {"color": colour, "marker": marker, "linestyle": line, "linewidth": 1.8}
                        axes.plot(points[cost], points[measure], label=method, **style)
                if measure == "nDCG@10" and first_stage:
                    axes.axhline(first_stage, color=GREY, linestyle=(0, (4, 3)), linewidth=1.2, label="first stage")
                axes.set_ylabel(f"{name}, mean")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.save(path)


def draw_sizes(table: pd.DataFrame, path: str | Path, *, title: str) -> None:
    """Draw milliseconds a query against the length of a pair and against the number of candidates.

    Args:
        table: of `sizes.summary`.
        path: the PNG file.
        title: what was measured.
    """
    looks = [(BLUE, "o", "-"), (BLUE, "o", "--"), (VERMILION, "s", "-"), (GREEN, "^", "-"), (PURPLE, "D", "-")]
    with picture(9, 3.9, title=title) as figure:
        panels = figure.subplots(1, 2)
        for axes, (sweep, unit) in zip(panels, {"length": "tokens", "candidates": "candidates"}.items(), strict=True):
            part = table[table["sweep"] == sweep].sort_values(unit)
            axes.set_xscale("log")
            axes.set_yscale("log")
            for number, (name, rows) in enumerate(part.groupby("system", sort=False)):
                colour, marker, line = looks[number % len(looks)]
                axes.plot(rows[unit], rows["ms"], color=colour, marker=marker, linestyle=line, label=str(name))
            axes.set_xlabel(f"{unit} (log scale)")
            axes.set_ylabel("ms per query (log scale)")
        handles, labels = panels[1].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.save(path)
