"""Collections in files: a corpus, queries, qrels and runs in a folder."""

import hashlib
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from elasticranker.collections import tsv
from elasticranker.collections.base import Collection
from elasticranker.collections.cache import build_once, cache_dir
from elasticranker.collections.text_store import read_store, write_store
from elasticranker.progress import bar
from elasticranker.textfiles import compression, find, plain_name
from elasticranker.trec import read_run


class FileCollection(Collection):
    """A collection in tab-separated files; a subclass says where they are.

    The first look-up of a text copies the corpus into a document store in the cache folder, so that later ones, in
    this process or another, read only what they ask for.
    """

    @abstractmethod
    def file(self, stem: str, remedy: str) -> Path:
        """Where the file `stem` (such as "corpus.tsv") is, or a compressed one (`elasticranker.textfiles`).

        Raises:
            FileNotFoundError: none is there; says so, and the remedy.
        """

    def corpus_file(self) -> Path:
        return self.file("corpus.tsv", "add one (docno <tab> text), or name one elsewhere by corpus= (--corpus FILE)")

    def queries(self) -> pd.DataFrame:
        return tsv.read_queries(self.file("queries.tsv", "add one: qid <tab> query"))

    def qrels(self) -> pd.DataFrame:
        return tsv.read_qrels(self.file("qrels.txt", "add one: TREC qrels, qid 0 docno label"))

    def corpus(self) -> Iterator[dict[str, str]]:
        return tsv.read_corpus(self.corpus_file())

    def texts(self, docnos: Iterable[str]) -> dict[str, str]:
        store = cache_dir() / "texts" / f"{self.fingerprint()}.sqlite"

        def build(path: Path) -> None:
            write_store(path, bar(self.corpus(), name="storing texts", unit="documents"))

        return read_store(build_once(store, build), docnos)

    def fingerprint(self) -> str:
        path = self.corpus_file().resolve()
        status = path.stat()
        return hashlib.sha256(f"{path}\0{status.st_size}\0{status.st_mtime_ns}".encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Folder(FileCollection):
    """A folder with `corpus.tsv`, `queries.tsv`, `qrels.txt` and `*.trec` runs, each plain or `.gz`, `.bz2` or `.xz`.

    Attributes:
        path: the folder.
        corpus_path: a corpus that is elsewhere.
    """

    path: Path
    corpus_path: Path | None = None

    def __post_init__(self) -> None:
        if not self.path.is_dir():
            raise FileNotFoundError(
                f"no folder {str(self.path)!r}: a collection is 'python-docs', 'irds:' and an ir_datasets id, "
                "or a folder with corpus.tsv, queries.tsv and qrels.txt"
            )
        if self.corpus_path is not None:
            compression(self.corpus_path)  # refuses what it doesn't know
        if self.corpus_path is not None and not self.corpus_path.is_file():
            raise FileNotFoundError(f"no corpus file {str(self.corpus_path)!r}: it holds docno <tab> text lines")

    @property
    def name(self) -> str:
        return str(self.path)

    def file(self, stem: str, remedy: str) -> Path:
        path = find(self.path / stem)
        if path is None:
            raise FileNotFoundError(f"{self.path} has no {stem} (nor {stem}.gz, .bz2 or .xz): {remedy}")
        return path

    def corpus_file(self) -> Path:
        return self.corpus_path or super().corpus_file()

    def run(self, name: str) -> pd.DataFrame:
        runs = {
            plain_name(path.name).removesuffix(".trec"): path
            for path in sorted(self.path.iterdir())
            if plain_name(path.name).endswith(".trec")
        }
        if name not in runs:
            raise ValueError(f"{self.path} has no run {name!r} (NAME.trec, or NAME.trec.gz); it has: {list(runs)}")
        return read_run(runs[name])
