"""The measurement of ways to wait, with a model that costs nothing."""

import pytest

from experiments import threads
from tests.backbones import save_backbone


def test_ways_to_wait_are_measured_in_turn_beside_busy_cores(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(threads, "QUERIES", 1)
    ways = ["OpenMP's own", "one thread"]
    arguments = ["--model", save_backbone(tmp_path / "model"), "--ways", *ways, "--rounds", "1", "--budgets", "50%"]
    assert threads.main([*arguments, "--busy", "0", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert rows[0][:4] == ["waiting", "budget", "0 busy, ms", "0 busy, slower"]
    assert [row[:2] for row in rows[2:]] == [[way, "50%"] for way in ways]
    assert rows[2][4] == rows[2][7] == "1.00"
    assert all(float(cell) > 0 for row in rows[2:] for cell in row[3:5])


def test_a_process_that_ends_is_an_error(tmp_path, capfd):
    assert threads.main(["--model", "./nowhere", "--busy", "0", "--ways", "passive"]) == 2
    error = capfd.readouterr().err
    assert "there is no such folder" in error
    assert error.splitlines()[-1].startswith("experiments.threads: error: a process that reranks has ended")


@pytest.mark.parametrize("way", threads.WAYS)
def test_every_way_says_how_and_nothing_else(way):
    assert set(threads.WAYS[way]) <= set(threads.GIVEN)
