"""HTML for notebooks: what comes from outside is text, never mark-up."""

from elasticranker.display.html import facts, image, paragraph, table

EVIL = "<script>alert('x')</script>"


def test_everything_is_escaped():
    for made in (table([[EVIL], [EVIL]]), facts({EVIL: EVIL}), paragraph(EVIL), image(b"", EVIL)):
        assert "<script>" not in made and "&lt;script&gt;" in made


def test_the_first_row_is_the_heading():
    assert table([["a"], ["b"]]).count("<th") == 1
    assert facts({"a": "b"}).count("<th") == 0


def test_a_picture_carries_its_bytes():
    assert 'src="data:image/png;base64,AAE="' in image(b"\x00\x01", "a chart")
