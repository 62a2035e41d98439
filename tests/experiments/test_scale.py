"""The tables of scale: arithmetic on literal figures, and a page that keeps its prose."""

import pytest

from elasticranker.model.speed import SpeedProfile
from elasticranker.planning.ladder import Ladder, Rung
from elasticranker.planning.plan import Plan, Stage, SubNet
from elasticranker.ranker import ElasticRanker
from experiments import scale, scale_report
from experiments.scale_report import Machine, Measured, Workload
from tests.backbones import save_backbone

LADDER = Ladder((Rung(0.25, Plan((Stage(SubNet(2), 1.0),))),), SubNet(4))
WORK = Workload((1_000, 100_000), candidates=500, tokens=80)
# 10 candidates: 40 GFLOPs in 4 s at full budget, 10 GFLOPs in 2 s at a quarter; a tokenizer of 400 tokens a second.
MEASURED = Measured(SpeedProfile((10e9, 40e9), (2.0, 4.0)), 10, 400.0, 4.0, 80.0, 20.0, 300.0)


def column(table: list[list[str]], heading: str) -> list[str]:
    return [row[table[0].index(heading)] for row in table[1:]]


def test_the_work_is_flops_times_queries():
    table = scale_report.work_table(LADDER, MEASURED, WORK)
    assert column(table, "budget") == ["1", "0.25"]
    assert column(table, "TFLOPs a query") == ["2", "0.5"]  # 500 candidates of 4 GFLOPs
    assert column(table, "EFLOPs, 100,000 queries") == ["0.2", "0.05"]
    assert column(table, "saved") == ["0.0%", "75.0%"]


def test_hours_here_are_scoring_and_tokenising():
    table = scale_report.machine_table(LADDER, MEASURED, WORK)
    assert column(table, "GFLOP/s") == ["10", "5"]
    assert column(table, "seconds a query") == ["300", "200"]  # 500 x (0.4 + 0.2), 500 x (0.2 + 0.2)
    assert column(table, "machine-hours, 1,000 queries") == ["83.3", "55.6"]
    assert column(table, "times less than full") == ["1.0", "1.5"]


def test_hours_elsewhere_are_flops_by_the_assumed_rate():
    table = scale_report.gpu_table(LADDER, MEASURED, WORK, Machine("G", 1e15, (0.2, 0.4)))
    assert column(table, "G-hours, 100,000 queries") == ["0.278 / 0.139", "0.0694 / 0.0347"]
    assert column(table, "thousand pairs a second") == ["50 / 100", "200 / 400"]


def test_storage_is_lines_times_bytes():
    table = scale_report.storage_table(MEASURED, WORK)
    assert column(table, "run") == ["40 MB", "4 GB"]
    assert column(table, "run, gzip") == ["10 MB", "1 GB"]
    assert column(table, "run files") == ["1", "10"]
    assert column(table, "memory to read one") == ["150 MB", "1.5 GB"]


def test_tables_of_a_real_model_go_into_the_page(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{scale.START}\nold\n{scale.END}\nafter\n")
    model = save_backbone(tmp_path / "model")
    small = ["--sample", "4", "--tokens", "20", "--max-length", "70", "--queries", "10", "--machine", "TPU=100"]
    capsys.readouterr()
    assert scale.main([*small, "--model", model, "--page", str(page)]) == 0
    shown = capsys.readouterr()
    assert page.read_text() == f"before\n{scale.START}\n\n{shown.out.rstrip()}\n\n{scale.END}\nafter\n"
    assert ElasticRanker(model).fingerprint[:12] in shown.out
    assert "### TPU" in shown.out


def test_a_page_without_marks_is_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("prose")
    with pytest.raises(ValueError, match="between which the tables go"):
        scale.fill(page, "tables")
    assert page.read_text() == "prose"


@pytest.mark.parametrize("wrong", [["--machine", "H100"], ["--machine", "H100=fast"], ["--utilisation", "140"]])
def test_a_rate_that_is_none_is_refused(wrong, capsys):
    with pytest.raises(SystemExit):
        scale.main(wrong)
    assert "give NAME=TFLOPS" in (error := capsys.readouterr().err) or "percentage" in error
