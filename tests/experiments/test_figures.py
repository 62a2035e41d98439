"""The documentation's pictures are there, and those that take no model to speak of can be drawn again."""

import re

import pytest

from experiments.figures import PAGES, ladder

USED = sorted(
    {(page.name, name) for page in PAGES.glob("*.rst") for name in re.findall(r"\.\. image:: (\S+)", page.read_text())}
)


@pytest.mark.parametrize(("page", "name"), USED)
def test_a_page_has_its_picture(page, name):
    assert (PAGES / name).read_bytes().startswith(b"\x89PNG")


def test_the_ladder_is_that_of_the_shipped_checkpoint():
    assert len(ladder().axes[0].lines[0].get_xdata()) > 5


def test_every_picture_of_the_folder_is_described():
    for page in PAGES.glob("*.rst"):
        text = page.read_text()
        assert text.count(".. image::") == text.count(":alt:")
