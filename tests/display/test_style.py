"""Figures: they show themselves, and are whole files or none."""

from itertools import pairwise

import pytest

from elasticranker.display.style import COLOURS, cost_axis, picture


def drawn(title: str = ""):
    with picture(4, 3, title=title) as figure:
        axes = figure.subplots()
        axes.plot([0.01, 1], [1, 2])
        cost_axis(axes, "budget", shares=True)
    return figure


def test_a_notebook_gets_a_png():
    assert drawn()._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.pdf", b"%PDF"), ("a.svg", b"<?xml")])
def test_the_name_says_the_form(tmp_path, name, start):
    assert drawn().save(tmp_path / name).read_bytes().startswith(start)


def test_another_name_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"path='.*a\.gif'.*\.pdf, \.png, \.svg"):
        drawn().save(tmp_path / "a.gif")
    assert list(tmp_path.iterdir()) == []


def test_the_cost_axis_is_logarithmic_and_says_so():
    axes = drawn().axes[0]
    assert axes.get_xscale() == "log" and axes.get_xlabel() == "budget (log scale)"
    assert axes.xaxis.get_major_formatter()(0.05, 0) == "5%"


def test_the_colours_differ_in_lightness():
    """So that they can be told apart in grey, too."""

    def luminance(colour: str) -> float:
        red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    levels = sorted(map(luminance, COLOURS))
    assert min(after - before for before, after in pairwise(levels)) > 5
