"""The collection that every machine has: the docstrings of Python's standard library, and 100 questions about it."""

import hashlib
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from elasticranker.collections.cache import build_once, cache_dir
from elasticranker.collections.folder import FileCollection
from elasticranker.progress import phase

HERE = Path(__file__).parent
GATHERER = HERE / "introspect.py"


@dataclass(frozen=True)
class PythonDocs(FileCollection):
    """About 5,000 public modules, classes, functions and methods of the running Python, and questions for them.

    A docno is a dotted name without the prefix of the built-ins (`shutil.copytree`, `str.split`); a text is one line:
    the words of the name, the parameters, the docstring. The documents are gathered by introspection when they are
    first read (about a second) and kept in the cache folder, apart for every version of Python: figures measured on
    two versions differ a little. The questions and the names that answer them were written by hand
    (`python-docs/`); each name is there from Python 3.10 to 3.14.
    """

    @property
    def name(self) -> str:
        return "python-docs"

    def file(self, stem: str, remedy: str) -> Path:
        return self._gathered() if stem == "corpus.tsv" else HERE / "python-docs" / stem

    def run(self, name: str) -> pd.DataFrame:
        raise ValueError(f"python-docs has no run {name!r}: take BM25's candidates")

    @staticmethod
    def _gathered() -> Path:
        version = hashlib.sha256(GATHERER.read_bytes()).hexdigest()[:8]
        return build_once(cache_dir() / f"python-docs-{platform.python_version()}-{version}.tsv", gather)


def gather(path: Path) -> None:
    """Write the docstrings of the running Python's standard library to `path` as docno <tab> text.

    Raises:
        RuntimeError: the Python that gathers them failed; with its last words.
    """
    # isolated (-I) from the user's modules and from PYTHONOPTIMIZE, which drops docstrings; silent, and without site
    command = [sys.executable, "-I", "-S", "-W", "ignore", "-X", "utf8", str(GATHERER), str(path)]
    with phase("gathering python-docs"):
        outcome = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
    if outcome.returncode != 0:
        raise RuntimeError(f"cannot gather Python's docstrings ({sys.executable}): {outcome.stderr[-2000:]}")
