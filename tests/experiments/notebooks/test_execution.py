"""The notebooks' runner, on notebooks of a line or two; and that the kept ones can be shown."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from experiments.notebooks import execution
from experiments.notebooks.execution import LARGEST, Unfit, execute, notebooks, save

KEPT = notebooks()


def made(path, *sources, small=None):
    cells = [new_code_cell(source) for source in sources]
    if small is not None:
        cells[0].metadata["small"] = small
    nbformat.write(new_notebook(cells=cells), path)
    return path


def test_it_runs_in_its_folder_with_the_settings_that_readers_see(tmp_path):
    path = made(tmp_path / "a.ipynb", "SIZE = 40", "import os, sys\nprint(SIZE, os.getcwd())", small="SIZE = 3")
    assert execute(path).cells[1].outputs[0].text == f"40 {tmp_path}\n"
    assert execute(path, small=True).cells[1].outputs[0].text == f"3 {tmp_path}\n"
    assert nbformat.read(path, as_version=4).cells[0].source == "SIZE = 40"  # nothing was saved


def test_an_error_ends_it_with_the_cell(tmp_path):
    with pytest.raises(CellExecutionError, match="no such thing"):
        execute(made(tmp_path / "a.ipynb", "1 + 1", "raise ValueError('no such thing')"))


def test_bars_and_warnings_are_not_kept(tmp_path):
    noisy = "import sys, warnings\nwarnings.warn('cut')\nprint('50%', file=sys.stderr)\nprint('kept')"
    outputs = execute(made(tmp_path / "a.ipynb", noisy)).cells[0].outputs
    assert [output.get("name") for output in outputs] == ["stdout"]


def test_what_is_too_large_is_not_saved(tmp_path):
    notebook = new_notebook(cells=[new_markdown_cell("x" * LARGEST)])
    with pytest.raises(Unfit, match=r"a\.ipynb has .* bytes, more than 2,000,000: show less"):
        save(notebook, tmp_path / "a.ipynb")
    assert list(tmp_path.iterdir()) == []


def test_no_output_tells_where_folders_lie(tmp_path, monkeypatch):
    monkeypatch.setattr(execution.Path, "home", lambda: Path("/home/somebody"))
    told = f"'/home/somebody/.cache', '{execution.HERE.parents[1]}/README.md', '/home/somebody-else'"
    cell = execute(made(tmp_path / "a.ipynb", f"print({told})\n[{told}]")).cells[0]
    assert cell.outputs[0].text == "~/.cache ./README.md /home/somebody-else\n"
    assert cell.outputs[1].data["text/plain"] == "['~/.cache', './README.md', '/home/somebody-else']"


def test_no_output_tells_a_temporary_folder(tmp_path):
    source = "import tempfile\nfolder = tempfile.mkdtemp()\nprint(folder + '/model')"
    assert execute(made(tmp_path / "a.ipynb", source)).cells[0].outputs[0].text == ".../model\n"


def test_what_is_saved_is_read_back(tmp_path):
    save(new_notebook(cells=[new_markdown_cell("prose")]), tmp_path / "a.ipynb")
    assert nbformat.read(tmp_path / "a.ipynb", as_version=4).cells[0].source == "prose"


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"there is no notebook 'fame': choose among .*quick_start"):
        notebooks(["fame"])


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_a_kept_notebook_explains_itself_and_has_no_error(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    prose = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    assert len(prose) >= 0.3 * len(notebook.cells)
    assert [cell for cell in notebook.cells if "small" in cell.metadata], "nothing that CI could run with less data"
    assert path.stat().st_size <= LARGEST
    for cell in notebook.cells:
        assert all(output.output_type != "error" for output in cell.get("outputs", ()))
        assert "../shared" not in cell.source


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_links_between_notebooks_lead_somewhere(path):
    import re

    for cell in nbformat.read(path, as_version=4).cells:
        for name in re.findall(r"\]\((\w+\.ipynb)\)", cell.source):
            assert (path.parent / name).exists(), name
