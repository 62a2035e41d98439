"""Labels of points that cover neither each other nor what is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE = 9  # of the letters, in points
MARK = 6  # half of what a marker takes, in points
# Where a label may stand, in points from its point: below, above, beside; then further off.
PLACES: tuple[tuple[float, float, str], ...] = (
    *((0, -17, "center"), (0, 9, "center"), (9, -4, "left"), (-9, -4, "right")),
    *((8, -15, "left"), (-8, -15, "right"), (8, 8, "left"), (-8, 8, "right")),
    *((0, -29, "center"), (0, 21, "center"), (8, -27, "left"), (8, 20, "left"), (-8, -27, "right"), (-8, 20, "right")),
    *((0, -41, "center"), (0, 33, "center"), (8, -39, "left"), (8, 32, "left"), (-8, -39, "right"), (-8, 32, "right")),
)


def label_points(
    axes: Axes, points: Sequence[tuple[float, float, str, str]], *, taken: Sequence[Annotation] = ()
) -> None:
    """Write a text beside each point, where it covers least of the points, the lines and the other texts.

    The figure must have its final size and limits, and be laid out.

    Args:
        axes: with points and lines drawn.
        points: x, y, text and colour of each.
        taken: texts that are there already.
    """
    figure: Any = axes.figure
    renderer = figure.canvas.get_renderer()
    scale = figure.dpi / 72
    places = axes.transData.transform([(x, y) for x, y, _, _ in points]) if points else np.empty((0, 2))
    marks = [Bbox.from_extents(*(place - MARK * scale), *(place + MARK * scale)) for place in places]
    texts = [text.get_window_extent(renderer) for text in taken]
    track = np.concatenate([_along(line.get_transform().transform(line.get_xydata())) for line in axes.lines])
    for x, y, text, colour in points:
        label = axes.annotate(text, (x, y), xytext=(0, 0), textcoords="offset points", fontsize=SIZE, color=colour)
        label.set_in_layout(False)
        costs = []
        for number, (right, up, side) in enumerate(PLACES):
            label.set(position=(right, up), horizontalalignment=side)
            box = label.get_window_extent(renderer)
            covered = 100 * sum(box.overlaps(other) for other in [*texts, *marks])
            outside = 100 * (not axes.bbox.padded(2 * scale).contains(box.x0, box.y0))
            outside += 100 * (not axes.bbox.padded(2 * scale).contains(box.x1, box.y1))
            crossed = 20 * bool(((track > box.min) & (track < box.max)).all(axis=1).any())
            costs.append((covered + outside + crossed + number, number))
        right, up, side = PLACES[min(costs)[1]]
        label.set(position=(right, up), horizontalalignment=side)
        texts.append(label.get_window_extent(renderer))


def _along(corners: np.ndarray) -> np.ndarray:
    """Points every few pixels along a line."""
    parts = [corners]
    for begin, end in pairwise(corners):
        steps = max(2, int(np.abs(end - begin).max() / 3))
        parts.append(begin + np.linspace(0, 1, steps)[:, None] * (end - begin))
    return np.concatenate(parts)
