"""Documents by docno, in a file: what lets a run of any length be scored without its corpus in memory."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from pathlib import Path

LOOKUPS_PER_QUERY = 500  # SQLite's builds allow from 999 placeholders on


def write_store(path: Path, documents: Iterable[dict[str, str]]) -> None:
    """Write documents (docno, text) into the new SQLite file `path`.

    Raises:
        ValueError: what `documents` raises while it is read.
        sqlite3.IntegrityError: two documents with one docno.
    """
    with closing(sqlite3.connect(path)) as database:
        # a store that isn't finished is thrown away (`build_once`), so it needs no journal
        database.execute("PRAGMA journal_mode = OFF")
        database.execute("PRAGMA synchronous = OFF")
        database.execute("CREATE TABLE documents (docno TEXT NOT NULL, text TEXT NOT NULL)")
        database.executemany("INSERT INTO documents VALUES (:docno, :text)", documents)
        database.execute("CREATE UNIQUE INDEX by_docno ON documents (docno)")
        database.commit()


def read_store(path: Path, docnos: Iterable[str]) -> dict[str, str]:
    """The texts of those docnos that the store has."""
    asked = iter(dict.fromkeys(docnos))
    texts: dict[str, str] = {}
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True)) as database:
        while batch := list(islice(asked, LOOKUPS_PER_QUERY)):
            places = ", ".join("?" * len(batch))
            texts.update(database.execute(f"SELECT docno, text FROM documents WHERE docno IN ({places})", batch))
    return texts
