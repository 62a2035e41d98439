"""Executing a notebook from scratch, in this Python, in the notebooks' own folder."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from elasticranker.extras import missing
from elasticranker.files import atomic_write

if TYPE_CHECKING:
    from nbformat import NotebookNode

HERE = Path(__file__).parent
LARGEST = 2_000_000  # bytes of a file
PATIENCE = 3600  # seconds for a cell: a busy machine is no error
SMALL = "small"  # in the metadata of a cell: its source with smaller settings


class Unfit(ValueError):
    """A notebook that ran and must not be kept as it is."""


def notebooks(names: list[str] | None = None) -> list[Path]:
    """The notebooks of those names, all by default.

    Raises:
        ValueError: there is none of a name.
    """
    known = {path.stem: path for path in sorted(HERE.glob("*.ipynb"))}
    for name in names or []:
        if name not in known:
            raise ValueError(f"there is no notebook {name!r}: choose among {', '.join(known)}")
    return [known[name] for name in names or known]


def execute(path: Path, *, small: bool = False) -> NotebookNode:
    """The notebook as it is after all cells were run in a new kernel.

    Args:
        path: the notebook.
        small: with the smaller settings that its cells name (`metadata.small`), to see that it runs.

    Returns:
        The notebook with its outputs; what cells wrote to standard error (bars, warnings) is not among them, nor where
        folders lie on this machine.

    Raises:
        ImportError: nbclient or ipykernel isn't there.
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    try:
        import nbformat
        from nbclient import NotebookClient
    except ImportError as error:
        raise missing("running notebooks", "test", error) from error
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if small and SMALL in cell.metadata:
            cell.source = cell.metadata[SMALL]
    NotebookClient(
        notebook,
        timeout=PATIENCE,
        kernel_name="python3",
        record_timing=False,
        resources={"metadata": {"path": str(path.parent)}},
    ).execute()
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [_anonymous(output) for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def _anonymous(output: NotebookNode) -> NotebookNode:
    """An output without the folders of who ran it: a schematic shows where an index lies, say."""
    for kind, shown in output.get("data", {}).items():
        if kind.startswith("text/"):
            output.data[kind] = _without_paths(shown)
    if "text" in output:
        output.text = _without_paths(output.text)
    return output


def _without_paths(text: str) -> str:
    made = rf"{re.escape(tempfile.gettempdir())}/tmp\w{{8}}"  # a cell's own temporary folder
    places = ((re.escape(str(HERE.parents[1])), "."), (re.escape(str(Path.home())), "~"), (made, "..."))
    for place, instead in places:
        text = re.sub(rf"{place}(?![\w.-])", instead, text)
    return text


def save(notebook: NotebookNode, path: Path) -> None:
    """Keep an executed notebook, if it can be shown to others.

    Raises:
        Unfit: it is too large.
    """
    import nbformat

    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    text = nbformat.writes(notebook) + "\n"
    if len(text.encode()) > LARGEST:
        raise Unfit(f"{path.name} has {len(text.encode()):,} bytes, more than {LARGEST:,}: show less")
    with atomic_write(path) as file:
        file.write(text.encode())
