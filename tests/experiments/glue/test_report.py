"""The report's tables and sentences, from a table made by hand."""

import pandas as pd
import pytest

from experiments.glue import report


def results():
    """Two tasks, three depths; of MRPC the elastic model of depth 1 is two points ahead of the static one."""
    rows = []
    for task, measure, base in (("CoLA", "Matthews", 0.40), ("MRPC", "F1", 0.80)):
        for width in (1.0, 0.5):
            for depth in (1, 2, 3):
                value = base + 0.02 * depth - 0.1 * (width < 1)
                rows.append((task, "elastic", depth, width, measure, value, depth * width, 2.0 * depth))
        rows.append((task, "static-1", 1, 1.0, measure, base + (0.03 if task == "CoLA" else 0.0), 1.0, 2.0))
    made = [
        {
            "task": t,
            "system": s,
            "depth": d,
            "width": w,
            m: v,
            "score": v,
            "gflops_mean": g,
            "ms_mean": ms,
            "ms_p95": ms,
        }
        for t, s, d, w, m, v, g, ms in rows
    ]
    return pd.DataFrame(made)


def test_scores_are_averaged_over_tasks_and_stand_by_width_and_depth():
    cells = report.table_cells(results())
    assert cells[0] == ["system", "depth", "width", "CoLA", "MRPC", "average", "GFLOPs", "ms"]
    assert cells[1] == ["elastic", "1", "1", "42.0", "82.0", "62.0", "1", "2.0"]
    assert [row[:3] for row in cells[1:]] == [
        *(["elastic", str(depth), width] for width in ("1", "0.5") for depth in (1, 2, 3)),
        ["static-1", "1", "1"],
    ]
    assert cells[-1][3:6] == ["43.0", "80.0", "61.5"]


def test_a_row_that_a_task_lacks_is_no_average():
    table = results().iloc[1:]
    assert ["elastic", "1", "1"] not in [row[:3] for row in report.table_cells(table)]


def test_findings_compare_each_depth_with_the_model_of_that_depth_alone():
    lines = report.findings(results())
    assert lines == [
        "Depth 1: the elastic model's 62.0 on average against 61.5 of a model of that depth alone (+0.5; CoLA -1.0, "
        "MRPC +2.0).",
        "The whole model (3 layers): 66.0 on average.",
    ]


def test_every_measure_of_the_depths_that_were_trained_alone_and_of_the_whole():
    cells = report.measure_cells(results())
    assert cells[0] == ["task", "system", "depth", "F1", "Matthews"]
    assert ["MRPC", "elastic", "3", "86.0", ""] in cells and ["CoLA", "static-1", "1", "", "43.0"] in cells
    assert len(cells) == 1 + 2 * 3


@pytest.mark.parametrize("tasks", [1, 2])
def test_the_figure_has_a_panel_a_task(tmp_path, tasks):
    table = results()
    report.draw(table[table["task"].isin(["CoLA", "MRPC"][:tasks])], tmp_path / "glue.png")
    assert (tmp_path / "glue.png").read_bytes().startswith(b"\x89PNG")
