"""Run the notebooks from scratch and save them with their outputs.

An error in a cell ends it with the cell and its traceback, and saves nothing of that notebook. With --small nothing is
saved at all: it only shows that they run, with less data, as CI does.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

PROGRAM = "python -m experiments.notebooks"
EXAMPLES = """examples:
  python -m experiments.notebooks
  python -m experiments.notebooks quick_start routing
  python -m experiments.notebooks --small"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring.

    Returns:
        Exit status: 0, 2 for an error that the user can mend. What a cell raises comes through.
    """
    from elasticranker.cli import guarded

    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__, epilog=EXAMPLES, formatter_class=layout)
    parser.add_argument("names", nargs="*", metavar="NAME", help="of notebooks, without .ipynb (default: all)")
    parser.add_argument("--small", action="store_true", help="with less data, to see that they run; saves nothing")
    args = parser.parse_args(argv)
    return guarded(PROGRAM, lambda: run(args.names, small=args.small))


def run(names: list[str], *, small: bool) -> None:
    """Execute notebooks one after the other and, unless `small`, save them.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed; with its source and traceback.
    """
    from experiments.notebooks.execution import execute, notebooks, save

    for path in notebooks(names):
        started = time.monotonic()
        notebook = execute(path, small=small)
        if not small:
            save(notebook, path)
        print(f"{path.name}  {time.monotonic() - started:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
