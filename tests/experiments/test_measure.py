"""Everything that is quoted is measured by one command, once a checkpoint, and copied to where it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from elasticranker.files import write_json
from experiments import measure
from experiments.measure import Study, main, studies


class Runs:
    """Stands for the processes: writes a report, or fails."""

    def __init__(self, *, fails: str = "") -> None:
        self.fails, self.commands = fails, []

    def __call__(self, command: list[str]) -> int:
        self.commands.append(command)
        folder = Path(command[command.index("--output") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        if folder.name == self.fails:
            return 1
        (folder / "report.md").write_text("![drawn](drawn.png)")
        (folder / "drawn.png").write_bytes(b"png")
        return 0


@pytest.fixture
def two() -> list[Study]:
    return [
        Study("one", (("-m", "a"), ("-m", "then")), (), (("drawn.png", "-bursty"), ("absent.png", ""))),
        Study("two", (("-m", "b"),)),
    ]


def test_reports_and_figures_are_copied_under_the_studys_name(tmp_path: Path, two: list[Study]) -> None:
    runs = Runs()
    assert measure.measure(two, tmp_path / "out", tmp_path / "reports", run=runs) == []
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["one-bursty.png", "one.md", "two.md"]
    assert "(one-bursty.png)" in (tmp_path / "reports" / "one.md").read_text()
    assert runs.commands[2] == ["-m", "b", "--output", str(tmp_path / "out" / "two")]


def test_what_is_done_isnt_done_again_and_what_failed_is(tmp_path: Path, two: list[Study]) -> None:
    assert measure.measure(two, tmp_path / "out", tmp_path / "reports", run=Runs(fails="one")) == ["one"]
    assert not (tmp_path / "reports" / "one.md").exists()
    again = Runs()
    assert measure.measure(two, tmp_path / "out", tmp_path / "reports", run=again) == []
    assert [command[1] for command in again.commands] == ["a", "then"]


def test_another_checkpoint_is_measured_anew(tmp_path: Path, two: list[Study]) -> None:
    measure.measure(two, tmp_path / "out", tmp_path / "reports", run=Runs())
    write_json(tmp_path / "out" / "one" / measure.DONE, {"checkpoint": "another"})
    (tmp_path / "out" / "one" / "old.csv").write_text("of another checkpoint")
    again = Runs()
    measure.measure(two, tmp_path / "out", tmp_path / "reports", run=again)
    assert [command[1] for command in again.commands] == ["a", "then"]
    assert not (tmp_path / "out" / "one" / "old.csv").exists()


def test_what_trains_its_own_models_does_not_depend_on_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = Study("own", (("-m", "a", "--trained", "RESULTS/other"),), model=None)
    runs = Runs()
    measure.measure([study], tmp_path / "out", tmp_path / "reports", run=runs)
    assert runs.commands[0][2:4] == ["--trained", str(tmp_path / "out" / "other")]
    monkeypatch.setattr(measure, "fingerprint", lambda model: f"another {model}")
    measure.measure([study], tmp_path / "out", tmp_path / "reports", run=runs)
    assert len(runs.commands) == 1


def test_a_study_is_of_its_own_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marks = {"default": "1", "other": "1"}
    monkeypatch.setattr(measure, "fingerprint", marks.__getitem__)
    two, runs = [Study("one", (("-m", "a"),)), Study("two", (("-m", "b"),), model="other")], Runs()
    measure.measure(two, tmp_path / "out", tmp_path / "reports", run=runs)
    marks["other"] = "2"
    measure.measure(two, tmp_path / "out", tmp_path / "reports", run=runs)
    assert [command[1] for command in runs.commands] == ["a", "b", "b"]


def test_models_of_a_study_that_trains_its_own_are_kept_when_its_commands_change(tmp_path: Path) -> None:
    measure.measure([Study("own", (("-m", "a"),), model=None)], tmp_path / "out", tmp_path / "reports", run=Runs())
    (tmp_path / "out" / "own" / "model").write_text("hours of work")
    other, again = Study("own", (("-m", "a", "--timed", "9"),), model=None), Runs()
    measure.measure([other], tmp_path / "out", tmp_path / "reports", run=again)
    assert again.commands and (tmp_path / "out" / "own" / "model").exists()


def test_studies_without_their_data_are_passed_over_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    there = [study for study in studies(tmp_path) if study.needs]
    assert measure.measure(there, tmp_path / "out", tmp_path / "reports", run=Runs()) == [s.name for s in there]
    assert "trade-off-trec-dl-2019: passed over" in capsys.readouterr().err


def test_every_command_is_one_that_its_study_understands(tmp_path: Path) -> None:
    """Arguments are parsed by the commands themselves, up to the files that aren't there."""
    from elasticranker.cli import build_parser

    for study in studies(tmp_path):
        for command in study.commands:
            if command[1] == "elasticranker":
                build_parser().parse_args([*command[2:], "--output", "out"])


def test_the_commands_can_be_listed_and_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--list", "--only", "sizes"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("sizes: python -m experiments.peers") and out.count("\n") == 1
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--only", "nonsense"])
    assert "choose from trade-off-trec-dl-2019" in capsys.readouterr().err
