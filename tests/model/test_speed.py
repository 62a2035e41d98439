"""Milliseconds become FLOPs and back."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.model.speed import SHARES, SpeedProfile, measure_speed
from elasticranker.planning.ladder import untuned
from tests.planning.test_cost import elastic, engine_of

PROFILE = SpeedProfile((1e9, 1e10, 1e11), (0.01, 0.05, 0.3))


@given(st.floats(1e-4, 10), st.floats(1e-4, 10))
def test_more_time_is_more_flops(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert PROFILE.flops_in(low) <= PROFILE.flops_in(high) * (1 + 1e-12)


@given(st.floats(1e-4, 10))
def test_seconds_of_is_the_inverse(seconds: float) -> None:
    assert PROFILE.seconds_of(PROFILE.flops_in(seconds)) == pytest.approx(seconds)


def test_no_time_is_no_flops() -> None:
    assert PROFILE.flops_in(-1) == 0


def test_measured_points_rise(tmp_path: Path) -> None:
    checkpoint = elastic(tmp_path)
    profile = measure_speed(engine_of(checkpoint), untuned(checkpoint.subnets), candidates=20, tokens=24, runs=1)
    assert len(profile.flops) == len(SHARES)
    assert list(profile.flops) == sorted(profile.flops)
    assert list(profile.seconds) == sorted(set(profile.seconds))
