"""Bars are shown where they are asked for, have names, and move with the work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.progress import bar, is_shown, part_of, phase, shown
from tests.fakes import FakeBar


def work() -> None:
    with phase("thinking"):
        pass
    for _ in bar(range(3), name="counting", unit="steps"):
        pass


def test_bars_are_shown_where_somebody_asked_for_them(capsys):
    work()
    assert capsys.readouterr() == ("", "")
    with shown():
        work()
        with shown(False):
            assert not is_shown()
    assert not is_shown()
    out, err = capsys.readouterr()
    assert out == ""
    assert "thinking: 100%" in err
    assert "counting: 100%" in err and "3/3" in err


def test_a_phase_says_its_name_before_it_is_over(capsys):
    with shown(), phase("thinking"):
        assert "thinking:   0%" in capsys.readouterr().err


def test_an_error_ends_asking(capsys):
    with pytest.raises(KeyError), shown():
        raise KeyError
    assert not is_shown()


@given(st.integers(0, 50), st.lists(st.floats(0, 10), max_size=20), st.floats(0, 60))
def test_a_part_moves_its_bar_by_its_size_whatever_was_guessed(size, done, extent):
    whole = FakeBar()
    whole.update(7)
    advance = part_of(whole, size, extent)
    for more in [*done, extent]:
        advance(more)
    assert whole.places == sorted(whole.places)
    assert whole.n == 7 + size
