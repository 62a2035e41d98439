"""Charts of single objects: a ladder, and where candidates moved. Plain numbers in, a picture out."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from elasticranker.display.style import BLUE, GREY, STEPS, Picture, cost_axis, picture

NAMED = 10  # of the last ranks, whose names are written beside them
SHORTENED = 28  # letters of a name


def ladder_chart(shares: Sequence[float], qualities: Sequence[float | None]) -> Picture:
    """Quality against budget, a point a rung; rungs of unknown quality are lines from below.

    Args:
        shares: of the full model's cost, rising.
        qualities: what tuning measured at each, or None.
    """
    with picture(6, 3) as figure:
        axes = figure.subplots()
        cost_axis(axes, "budget, share of the full model's FLOPs", shares=True)
        axes.set_ylabel("quality, as tuning measured")
        known = [(share, quality) for share, quality in zip(shares, qualities, strict=True) if quality is not None]
        if known:
            axes.plot(*zip(*known, strict=True), color=BLUE, marker="o", linewidth=2)
        else:
            axes.set_yticks([])
        for share, quality in zip(shares, qualities, strict=True):
            if quality is None:
                axes.axvline(share, color=BLUE, linewidth=2, linestyle="--")
        axes.set_xlim(min(shares) / 1.3, 1.3)
    return figure


def bump_chart(
    before: Sequence[int], after: Sequence[int], groups: Sequence[int], *, names: Sequence[str], labels: Sequence[str]
) -> Picture:
    """Where each candidate moved: a line from its incoming rank to its last one, in the colour of its group.

    Args:
        before: incoming ranks, from 0.
        after: last ranks, from 0.
        groups: the number of each candidate's group, from 0, in the groups' order.
        names: of the candidates; those of the best are written.
        labels: of the groups.
    """
    with picture(7, min(8.0, 3 + 0.1 * len(before))) as figure:
        axes = figure.subplots()
        colours = matplotlib.colormaps[STEPS](np.linspace(0.8, 0.0, max(len(labels), 2)))
        widths = np.linspace(0.6, 2.2, max(len(labels), 2))
        for start, end, group in zip(before, after, groups, strict=True):
            look = {"color": colours[group], "linewidth": widths[group], "zorder": 2 + group}
            axes.plot([0, 1], [start + 1, end + 1], solid_capstyle="round", **look)
        for end, name in zip(after, names, strict=True):
            if end < NAMED and len(before) <= 5 * NAMED:
                short = name if len(name) <= SHORTENED else f"{name[: SHORTENED - 1]}…"
                axes.annotate(short, (1, end + 1), (5, -3), textcoords="offset points", fontsize=7, color=GREY)
        axes.set_xticks([0, 1], ["as they came", "reranked"])
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(len(before) + 0.6, 0.4)
        axes.set_ylabel("rank, from 1")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="x", visible=False)
        entries = [
            Line2D([], [], color=colours[at], linewidth=max(1.2, widths[at]), label=label)
            for at, label in enumerate(labels)
        ]
        figure.legend(handles=entries, loc="outside lower center", ncols=2, frameon=False, title="scored last by")
    return figure
