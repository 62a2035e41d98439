"""The style of every figure, here and in the experiments: readable at half a page, told apart without colour."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from elasticranker.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette (2008), which colour-blind readers can tell apart; the grey is for what is compared against.
BLUE, VERMILION, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#595959"
COLOURS = (BLUE, VERMILION, GREEN, PURPLE)
STEPS = "cividis"  # a colour map for what has an order: even in lightness, and the same to colour-blind readers
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
    "figure.facecolor": "white",  # also where a notebook is dark
}
DOTS = 200  # an inch, in files
DOTS_ON_SCREEN = 100
TYPES = (".pdf", ".png", ".svg")


class Picture(Figure):
    """A figure that shows itself in a notebook and is saved whole or not at all. `picture` makes them."""

    def png(self, dots: int = DOTS) -> bytes:
        """It as a PNG file of so many dots an inch."""
        return self._file("png", dots)

    def save(self, path: str | Path, *, dots: int = DOTS) -> Path:
        """Write it as `.png` (of so many dots an inch), `.svg` or `.pdf`, by the name's end.

        Raises:
            ValueError: the name ends otherwise.
        """
        place = figure_path(path)
        with atomic_write(place) as file:
            file.write(self._file(place.suffix[1:], dots))
        return place

    def _file(self, kind: str, dots: int) -> bytes:
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            self.savefig(buffer, format=kind, dpi=dots)
        return buffer.getvalue()

    def _repr_png_(self) -> bytes:
        return self.png(DOTS_ON_SCREEN)


def figure_path(path: str | Path) -> Path:
    """A path that a picture can be saved under: check it before long work.

    Raises:
        ValueError: it ends in another form.
    """
    place = Path(path)
    if place.suffix not in TYPES:
        raise ValueError(f"path={str(path)!r}: a figure's name ends in {', '.join(TYPES)}")
    return place


@contextmanager
def picture(width: float, height: float, *, title: str = "") -> Iterator[Picture]:
    """A new figure, to draw on inside the block.

    Made without pyplot: there is no global state, and no window system is asked for.

    Args:
        width: in inches, before it is scaled to a page.
        height: likewise.
        title: what was measured, at the top left.

    Example:
        >>> with picture(6, 4, title="three queries") as figure:
        ...     line = figure.subplots().plot([1, 2, 3])
        >>> figure.save("three.png")  # doctest: +SKIP
    """
    with matplotlib.rc_context(STYLE):
        figure = Picture(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        if title:
            figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=GREY)
        yield figure


def cost_axis(axes: Axes, label: str, *, shares: bool = False) -> None:
    """Make x a logarithmic axis of costs with readable ticks.

    Args:
        axes: where.
        label: the quantity and its unit.
        shares: whether costs are shares, to be shown as percentages.
    """
    tick: Callable[[float, int], str] = (
        (lambda value, _: f"{100 * value:g}%") if shares else lambda value, _: f"{value:g}"
    )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(tick))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"{label} (log scale)")
