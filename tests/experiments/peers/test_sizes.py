"""Made-up pairs of exact lengths, exponents and crossovers on figures whose answers are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from elasticranker.evaluation.journal import Journal
from experiments.peers import sizes
from experiments.peers.sizes import QUARTER, cells, crossovers, exponent, made_up, summary, verdicts
from experiments.peers.systems import FULL, Ours, Peer

PEER = "onnxruntime, float32"
positive = st.floats(0.01, 100)


@given(power=st.floats(-2, 3), factor=positive)
def test_the_exponent_of_a_power_law(power: float, factor: float) -> None:
    x = [1.0, 10.0, 50.0, 1000.0]
    assert exponent(x, [factor * value**power for value in x]) == pytest.approx(power, abs=1e-6)


@given(place=st.floats(2, 900), slope=st.floats(0.1, 3))
def test_power_laws_cross_where_they_are_equal(place: float, slope: float) -> None:
    x = [1.0, 30.0, 1000.0]
    ours, theirs = x, [place * (value / place) ** (1 + slope) for value in x]
    assert crossovers(x, ours, theirs) == [pytest.approx(place)]
    assert crossovers(x, theirs, ours) == [pytest.approx(place)]


def test_parallel_lines_do_not_cross() -> None:
    assert crossovers([1, 10, 100], [1, 10, 100], [2, 20, 200]) == []


@pytest.mark.parametrize(("tokens", "count"), [(12, 3), (72, 5)])
def test_made_up_pairs_have_exactly_the_length_asked(setup, tokens: int, count: int) -> None:
    ranker = setup.ranker(dtype="float32")
    ((_, pairs),) = ranker.pairs(made_up(ranker.engine.pairs, tokens, count))
    assert [ranker.engine.pairs.length(pair) for pair in pairs] == [tokens] * count


def test_too_short_is_refused(setup) -> None:
    with pytest.raises(ValueError, match="tokens=4: no room"):
        made_up(setup.ranker(dtype="float32").engine.pairs, 4, 1)


def test_lengths_stop_at_max_length() -> None:
    grid = cells(72, sizes.LENGTHS, sizes.CANDIDATES)
    assert [tokens for sweep, tokens, _ in grid if sweep == "length"] == [32, 64]
    assert {tokens for sweep, tokens, _ in grid if sweep == "candidates"} == {72}


def test_measured_once_a_cell_and_flops_are_linear(setup, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sizes, "SETTLE", 0.0)
    ranker, journal = setup.ranker(dtype="float32"), Journal(tmp_path / "journal.jsonl")
    systems = [
        Ours(FULL, ranker),
        Ours(QUARTER, ranker.with_budget("25%")),
        Peer(PEER, lambda pairs, batch: np.zeros(len(pairs))),
    ]
    grid = cells(72, lengths=(16, 32), candidates=(10, 40, 160))
    for _ in range(2):
        sizes.measure_sizes(systems, ranker.engine.pairs, journal, rounds=2, bar=tqdm(disable=True), grid=grid)
    assert len(list(journal)) == len(grid)
    table = summary(journal, grid)
    assert tuple(table.columns) == sizes.COLUMNS
    part = table[(table["sweep"] == "candidates") & (table["system"] == FULL)]
    assert exponent(part["candidates"], part["gflops"]) == pytest.approx(1)
    assert (table[table["fastest"] == "*"]["system"] == PEER).all()  # it does nothing


def test_sentences_about_made_up_measurements() -> None:
    rows = [
        ("candidates", 128, count, name, ms, 1.0, count if name != PEER else np.nan, "")
        for count in (10, 100, 1000)
        for name, ms in ((FULL, 2.0 * count), (QUARTER, 0.5 * count), (PEER, count**1.5 / 10))
    ]
    lines = verdicts(pd.DataFrame(rows, columns=list(sizes.COLUMNS)))
    assert lines[0].startswith(f"{FULL} is slower than {PEER} at 10 candidates; the faster one changes at about 400")
    assert lines[1].startswith(f"{QUARTER} is slower than {PEER} at 10 candidates; the faster one changes at about 25")
    assert f"{FULL}: milliseconds grow with candidates to the power 1.000, FLOPs to the power 1.000" in lines[2]
    assert f"{PEER}: milliseconds grow with candidates to the power 1.500 (from 10" in lines[4]
