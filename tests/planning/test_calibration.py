"""What scores mean, whichever sub-network they come from."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elasticranker.planning.calibration import Calibration, Line
from elasticranker.planning.subnet import SubNet

FULL = SubNet(12)
SUBNETS = [SubNet(0), SubNet(3, 0.5), FULL]
CALIBRATION = Calibration(dict(zip(SUBNETS, [Line(0.4, -3.0), Line(1.5, -9.0), Line(2.0, -20.0)], strict=True)), -4.0)

lines = st.builds(Line, st.floats(0.01, 5), st.floats(-30, 30))
calibrations = st.builds(
    lambda made, unread: Calibration(dict(zip(SUBNETS, made, strict=True)), unread),
    st.lists(lines, min_size=len(SUBNETS), max_size=len(SUBNETS)),
    st.floats(-9, 0),
)
raw_scores = st.lists(st.floats(-30, 30), min_size=1, max_size=20).map(np.asarray)


@given(calibrations, raw_scores)
def test_the_whole_models_scores_stay_its_logits(calibration: Calibration, raw: np.ndarray) -> None:
    assert (calibration.scores(FULL, raw) == raw).all()


@given(calibrations, st.sampled_from(SUBNETS), raw_scores)
def test_equal_scores_mean_equal_relevance_whoever_gave_them(
    calibration: Calibration, subnet: SubNet, raw: np.ndarray
) -> None:
    line = calibration.lines[subnet]
    expected = 1 / (1 + np.exp(-(line.slope * raw + line.intercept)))
    np.testing.assert_allclose(calibration.relevance(calibration.scores(subnet, raw)), expected, atol=1e-9)


@given(calibrations, st.sampled_from(SUBNETS), raw_scores)
def test_no_order_is_turned_around(calibration: Calibration, subnet: SubNet, raw: np.ndarray) -> None:
    scores = calibration.scores(subnet, np.sort(raw))
    assert (np.diff(scores) >= 0).all()
    relevance = calibration.relevance(scores)
    assert (np.diff(relevance) >= 0).all()
    assert 0 <= relevance[0] <= relevance[-1] <= 1


def test_what_nothing_scored_means_what_is_known_of_it() -> None:
    scores = CALIBRATION.unread_scores(3)
    np.testing.assert_allclose(CALIBRATION.relevance(scores), [1 / (1 + np.exp(4))] * 3)


def test_without_lines_raw_scores_are_log_odds() -> None:
    raw = np.array([-800.0, 0.3, 800.0])
    for subnet in SUBNETS:
        assert (Calibration().scores(subnet, raw) == raw).all()
    assert Calibration().relevance(raw).tolist() == [0, pytest.approx(1 / (1 + np.exp(-0.3))), 1]


def test_it_survives_json() -> None:
    written = json.loads(json.dumps(CALIBRATION.to_json()))
    assert Calibration.from_json(written, SUBNETS) == CALIBRATION


def test_what_cannot_be_meant_is_refused() -> None:
    written = CALIBRATION.to_json()
    with pytest.raises(ValueError, match=r"lacks sub-networks \(5\)"):
        Calibration.from_json(written, [*SUBNETS, SubNet(5)])
    with pytest.raises(ValueError, match="malformed"):
        Calibration.from_json({"exits": [{"depth": 1}]}, [])
    for slope, intercept in ((0.0, 1.0), (-1.0, 1.0), (float("nan"), 1.0), (1.0, float("inf"))):
        with pytest.raises(ValueError, match="slope must be above 0"):
            Line(slope, intercept)
