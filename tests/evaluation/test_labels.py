"""Labels of points that lie close together can be read, and cover nothing."""

from itertools import combinations

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from elasticranker.evaluation.labels import MARK, label_points

CLUSTERED = [(20, 0.61, "5%"), (19, 0.612, "20 GFLOPs"), (22, 0.605, "100 ms"), (100, 0.67, "25%")]
CLUSTERED += [(98, 0.671, "100 GFLOPs"), (105, 0.668, "500 ms"), (440, 0.69, "100%")]


@pytest.fixture
def drawn():
    """Axes with points in two clusters, a line through them, and labels."""
    figure = Figure(figsize=(4, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_ylim(0.5, 0.72)
    axes.margins(x=0.12)
    axes.plot([x for x, _, _ in CLUSTERED], [y for _, y, _ in CLUSTERED], marker="o")
    figure.draw_without_rendering()
    label_points(axes, [(*point, "black") for point in CLUSTERED])
    return axes


def test_every_point_has_its_label(drawn):
    assert [(*text.xy, text.get_text()) for text in drawn.texts] == CLUSTERED


def test_labels_cover_neither_each_other_nor_points(drawn):
    boxes = [text.get_window_extent() for text in drawn.texts]
    assert not [pair for pair in combinations(boxes, 2) if pair[0].overlaps(pair[1])]
    reach = MARK * drawn.figure.dpi / 72
    for x, y, _ in CLUSTERED:
        place = drawn.transData.transform((x, y))
        mark = Bbox.from_extents(*(place - reach), *(place + reach))
        assert not any(box.overlaps(mark) for box in boxes)


def test_labels_stay_inside_the_axes(drawn):
    frame = drawn.bbox.padded(5)
    for text in drawn.texts:
        box = text.get_window_extent()
        assert frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1)
