"""Draw the documentation's pictures again, from the shipped checkpoint and Python's own documentation.

One function a figure. The README's is the one of `elasticranker experiment`, in results/.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elasticranker.display.style import Picture

PAGES = Path(__file__).parents[1] / "elasticranker" / "pt_docs"
DOTS = 130  # an inch: for a screen
PROGRAM = "python -m experiments.figures"
EXAMPLES = """examples:
  python -m experiments.figures
  python -m experiments.figures --output pictures"""


def ladder() -> Picture:
    """Quality against budget: the default checkpoint's ladder, as tuning measured it."""
    from elasticranker.ranker import ElasticRanker

    return ElasticRanker().ladder.plot()


def explained() -> Picture:
    """Where the candidates of one question moved, at a tenth of the full cost."""
    from elasticranker.collections import open_collection
    from elasticranker.ranker import ElasticRanker
    from elasticranker.retrieval import bm25

    docs = open_collection("python-docs")
    candidates = (bm25(docs, k=40) >> docs.text_loader()).search("split a web address into host, path and query")
    return ElasticRanker(budget="10%", dtype="float32").explain(candidates).plot()


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; see the module's docstring.

    Returns:
        Exit status: 0, or 2 for an error that the user can mend.
    """
    from elasticranker.cli import guarded

    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__, epilog=EXAMPLES, formatter_class=layout)
    parser.add_argument("--output", metavar="DIR", help="one folder for all, instead of where the pages look for them")
    args = parser.parse_args(argv)
    return guarded(PROGRAM, lambda: draw(args.output))


def draw(output: str | None) -> None:
    """Draw and save the figures, and print where they are."""
    from elasticranker.files import writable_folder

    pages = PAGES if output is None else writable_folder(output)
    drawn = {pages / "ladder.png": ladder, pages / "explained.png": explained}
    for path, function in drawn.items():
        print(function().save(path, dots=DOTS))


if __name__ == "__main__":
    sys.exit(main())
