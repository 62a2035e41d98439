"""Timing in turn, going on after a kill, and what the table says, over systems that cost nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from tqdm import tqdm

from elasticranker.evaluation.candidates import Candidates
from elasticranker.evaluation.journal import Journal
from experiments.peers import roofline, runtimes, standings
from experiments.peers.runtimes import bench_slice, measure_runtimes
from experiments.peers.setup import Setup
from experiments.peers.systems import FULL, FULL_FLOAT32, PEER_DEFAULT, PEER_FLOAT32, Ours, Peer
from tests.fakes import FakeRanker

BAR = tqdm(disable=True)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses, no processes, no matrix products."""
    monkeypatch.setattr(runtimes, "SETTLE", 0.0)
    monkeypatch.setattr(runtimes, "peak_memory", lambda jobs, setup, frame: ((name, 7.0) for name in jobs))
    monkeypatch.setattr(runtimes, "_rates", lambda system: {"8x8x8": 1.0})


def systems(log: list[str], ranker: Any) -> list[Any]:
    """Ours, and sentence-transformers that likes batches of 8 best."""

    def score(pairs: list[tuple[str, str]], batch: int) -> np.ndarray:
        log.append(f"peer {batch}")
        return np.arange(len(pairs), dtype=float)

    ours = [Ours(FULL_FLOAT32, ranker), Ours(FULL, ranker), Ours("ours, 25%", ranker.with_budget("25%"))]
    return [*ours, Peer(PEER_FLOAT32, score)]


def measure(setup: Setup, candidates: Candidates, journal: Journal, *, log: list[str], **more: Any) -> list[Any]:
    settings = {"rounds": 2, "bench_queries": 1, "bar": BAR} | more
    return measure_runtimes(systems(log, FakeRanker(trace=True)), setup, candidates, journal, **settings)


def test_table_and_rooflines(setup: Setup, candidates: Candidates, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(standings, "_with_dtype", lambda name, systems: name)
    journal = Journal(tmp_path / "journal.jsonl")
    timed = measure(setup, candidates, journal, log=[])
    found = standings.summary(timed, candidates, journal, rel=1)
    assert tuple(found.table.columns) == standings.COLUMNS
    assert list(found.table["system"])[:3] == [FULL_FLOAT32, FULL, "ours, 25%"]
    table = found.table.set_index("system")
    assert table.loc[PEER_DEFAULT, "batch"] == "32"
    assert table.loc[PEER_DEFAULT, "batch_vs_st"] == 1
    assert (table["peak_mb"] == 7).all()
    assert table.loc[FULL, "gflops_mean"] > table.loc["ours, 25%", "gflops_mean"] > 0
    assert np.isnan(table.loc[PEER_DEFAULT, "gflops_mean"])
    assert [line.partition(":")[0] for line in found.rooflines] == [FULL_FLOAT32, FULL]


def test_the_peer_runs_at_its_best_batch_size_and_at_its_default(setup, candidates, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(runtimes, "_sweep", lambda peer, frame: {"8": 0.1, "32": 0.2, "64": 0.3})
    timed = measure(setup, candidates, Journal(tmp_path / "journal.jsonl"), log=[])
    assert {system.name: system.batch for system in timed if isinstance(system, Peer)} == {
        PEER_DEFAULT: 32,
        PEER_FLOAT32: 8,
    }


def test_best_and_default_are_one_row_where_they_are_one(setup, candidates, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(standings, "_with_dtype", lambda name, systems: name)
    monkeypatch.setattr(runtimes, "_sweep", lambda peer, frame: {"8": 0.2, "32": 0.1, "64": 0.3})
    journal = Journal(tmp_path / "journal.jsonl")
    timed = measure(setup, candidates, journal, log=[])
    assert [system.name for system in timed][3:] == [PEER_DEFAULT]
    assert any("one row" in note for note in standings.summary(timed, candidates, journal, rel=1).notes)


def test_a_killed_measurement_goes_on(setup, candidates, tmp_path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    with pytest.raises(RuntimeError, match="fails at q1"):
        measure_runtimes(
            systems([], FakeRanker(trace=True, fails_at="q1")),
            setup,
            candidates,
            journal,
            rounds=2,
            bench_queries=1,
            bar=BAR,
        )
    before = [(entry["part"], entry.get("qid")) for entry in journal]
    assert before.count(("batch", None)) == 2
    assert ("online", "q0") in before
    assert ("online", "q1") not in before
    measure(setup, candidates, journal, log=[])
    after = [entry for entry in journal if entry["part"] in ("batch", "online")]
    assert [entry.get("qid") for entry in after] == [None, None, "q0", "q1"]


def test_a_finished_measurement_is_not_measured_again(setup, candidates, tmp_path) -> None:
    journal, again = Journal(tmp_path / "journal.jsonl"), []
    measure(setup, candidates, journal, log=[])
    entries = list(journal)
    measure(setup, candidates, journal, log=again)
    assert again == []
    assert list(journal) == entries


def test_systems_take_turns_in_going_first(candidates) -> None:
    log: list[str] = []
    three = [Peer(name, lambda pairs, batch, name=name: log.append(name) or np.zeros(len(pairs))) for name in "abc"]
    for turn in range(3):
        runtimes._in_turn(three, candidates.frame.head(2), turn, BAR, "")
    assert "".join(log) == "abcbcacab"


def test_the_slice_is_spread_over_the_queries() -> None:
    frame = pd.DataFrame({"qid": [f"q{number}" for number in range(6) for _ in range(2)]})
    assert list(bench_slice(frame, 3)["qid"].unique()) == ["q0", "q2", "q4"]
    assert len(bench_slice(frame, 50)) == 12


def table(rows: list[tuple[str, float, float, float, float]]) -> pd.DataFrame:
    """Rows of system, pairs a second, ms, nDCG@10 and GFLOPs."""
    columns = ["system", "pairs_per_s", "ms_p50", "nDCG@10", "gflops_mean"]
    rest = {name: 0.0 for name in standings.COLUMNS if name not in columns}
    return standings.with_ratios(pd.DataFrame(rows, columns=columns).assign(**rest))


MADE_UP = [
    (FULL_FLOAT32, 60.0, 1500.0, 0.700, 10.0),
    (FULL, 240.0, 400.0, 0.699, 10.0),
    ("ours, 50%", 400.0, 250.0, 0.695, 5.0),
    ("ours, 25%", 700.0, 150.0, 0.600, 2.5),
    (PEER_DEFAULT, 50.0, 2000.0, 0.700, np.nan),
    ("onnxruntime, float32", 80.0, 1000.0, 0.700, np.nan),
    ("onnxruntime, int8", 200.0, 500.0, 0.650, np.nan),
]


def test_ratios_are_to_the_default_and_to_the_best_peer_that_is_as_good() -> None:
    row = table(MADE_UP).set_index("system").loc[FULL]
    assert row["batch_vs_st"] == pytest.approx(240 / 50)
    assert row["online_vs_st"] == pytest.approx(2000 / 400)
    assert row["batch_vs_best"] == pytest.approx(240 / 80)  # int8 is faster, but isn't the same model any more
    assert row["online_vs_best"] == pytest.approx(1000 / 400)


def test_sentences_name_the_best_peer_and_the_smallest_budget_that_is_as_good() -> None:
    text = "\n".join(standings.verdicts(table(MADE_UP)))
    assert "onnxruntime, float32 (batch), onnxruntime, float32 (online)" in text
    assert "99 % of full nDCG@10: ours, 50%: 5.00x the best peer (batch)" in text
    assert "8.00x sentence-transformers' default (batch)" in text


def test_sentences_admit_that_no_budget_or_peer_is_as_good() -> None:
    text = "\n".join(standings.verdicts(table([*MADE_UP[:2], MADE_UP[3], MADE_UP[6]])))
    assert "no measured budget below full keeps 99 %" in text
    assert "none is called the best" in text


def test_rates_and_roofline(setup: Setup) -> None:
    import torch

    shape = setup.checkpoint().encoder.shape
    rates = roofline.product_rates(shape, torch.float32, tokens=64, seconds=0.0, large=(8, 8, 8))
    assert list(rates) == ["64x32x96", "64x32x32", "64x32x48", "64x48x32", "8x8x8"]
    assert min(rates.values()) > 0
    line = roofline.roofline("ours", 30.0, {"1x1x1": 40.0, "2x2x2": 60.0})
    assert line.startswith("ours: 30 GFLOP/s, 50% of the best matrix product here (60 GFLOP/s at 2x2x2; 40 at")
