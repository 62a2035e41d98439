"""Inverted indexes of collections, each built once in the cache folder."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO, Literal, cast, get_args

import pyterrier as pt

from elasticranker.collections import Collection, build_once, cache_dir
from elasticranker.files import public_name
from elasticranker.progress import bar, is_shown, shown

Engine = Literal["pisa", "terrier"]
PACKAGES = {"pisa": "pyterrier-pisa", "terrier": "pyterrier"}  # another version may write indexes in another form
LONGEST_DOCNO = 256  # bytes; Terrier's table of docnos has a fixed width


def built_index(collection: Collection, engine: Engine, *, verbose: bool = False) -> Path:
    """The folder of the collection's index, which is built now unless it is in the cache folder.

    A corpus that changes gets a new index; the old one stays until the cache folder is cleaned by hand.

    Args:
        collection: the documents.
        engine: "pisa" or "terrier" (which needs Java).
        verbose: show a progress bar while indexing.

    Raises:
        ValueError: an unknown engine, a malformed corpus, or nothing in it to index.
        RuntimeError: the engine failed, or didn't start; with its last words.

    Example:
        >>> built_index(open_collection("python-docs"), "pisa")  # doctest: +SKIP
        PosixPath('/home/me/.cache/elasticranker/indexes/pisa-0.4.9-5f1c2e0a9b7d4c31')
    """
    if engine not in get_args(Engine):
        raise ValueError(f"engine={engine!r} is not one of {', '.join(map(repr, get_args(Engine)))}")
    if engine == "terrier":
        start_terrier()

    def build(path: Path) -> None:
        documents = bar(indexable(collection), name=f"indexing {public_name(collection.name)}", unit="documents")
        (build_pisa if engine == "pisa" else build_terrier)(path, documents)

    folder = f"{engine}-{version(PACKAGES[engine])}-{collection.fingerprint()}"
    with shown(verbose or is_shown()):
        return build_once(cache_dir() / "indexes" / folder, build)


def indexable(collection: Collection) -> Iterator[dict[str, str]]:
    """The documents with their texts on one line each.

    Raises:
        ValueError: a text that is not text, a docno that no engine can hold, or a corpus without a single word.
    """
    words_seen = False
    for document in collection.corpus():
        docno, text = document["docno"], document["text"]
        if not isinstance(text, str):
            raise ValueError(f"{collection.name}: the text of document {docno!r} is {text!r}, not a string")
        if docno.split() != [docno] or len(docno.encode()) > LONGEST_DOCNO:
            raise ValueError(
                f"{collection.name}: docno {docno!r} must be 1 to {LONGEST_DOCNO} bytes without white space"
            )
        words_seen = words_seen or re.search(r"[A-Za-z0-9]", text) is not None
        yield {"docno": docno, "text": " ".join(text.split())}
    if not words_seen:
        raise ValueError(f"{collection.name}: no document has a word to index")


def build_pisa(path: Path, documents: Iterable[dict[str, str]]) -> None:
    """Index with Porter2 stemming and Terrier's stopwords, pyterrier-pisa's defaults."""
    count = 0
    command = [sys.executable, "-X", "utf8", str(Path(__file__).with_name("pisa_build.py")), str(path)]
    with tempfile.TemporaryFile() as complaints:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=complaints) as indexer:
            pipe = cast(IO[bytes], indexer.stdin)
            try:
                for document in documents:
                    pipe.write(f"{document['docno']}\t{document['text']}\n".encode(errors="replace"))
                    count += 1
                pipe.close()
            except BaseException as error:
                indexer.kill()
                with suppress(BrokenPipeError):
                    pipe.close()
                if not isinstance(error, BrokenPipeError):  # of one that died, the last words tell more
                    raise
        complaints.seek(0)
        last_words = complaints.read().decode(errors="replace")[-2000:]
    if indexer.returncode != 0:
        raise RuntimeError(f"PISA failed to index (exit status {indexer.returncode}): {last_words}")

    from pyterrier_pisa import PisaIndex

    indexed = len(PisaIndex(str(path)))
    if indexed != count:
        raise RuntimeError(f"PISA indexed {indexed:,} of {count:,} documents: {last_words}")


def build_terrier(path: Path, documents: Iterable[dict[str, str]]) -> None:
    """Index with Porter stemming and Terrier's stopwords, its defaults."""
    failures: list[Exception] = []
    count = 0

    def watched() -> Iterator[dict[str, str]]:
        # PyTerrier reads in a thread of its own, and takes an error in it for the end of the corpus
        nonlocal count
        try:
            for document in documents:
                yield document
                count += 1
        except Exception as error:
            failures.append(error)

    indexer = pt.terrier.IterDictIndexer(str(path.resolve()), text_attrs=["text"], meta={"docno": LONGEST_DOCNO})
    reference = indexer.index(watched())
    if failures:
        raise failures[0]
    indexed = pt.IndexFactory.of(reference).getCollectionStatistics().getNumberOfDocuments()
    if indexed != count:
        raise RuntimeError(f"Terrier indexed {indexed:,} of {count:,} documents")


def start_terrier() -> None:
    """Start the JVM, unless it runs.

    Raises:
        RuntimeError: no Java, or no jars.
    """
    if not pt.java.started():
        try:
            pt.java.init()
        except Exception as error:  # pyjnius raises plain `Exception`
            raise RuntimeError(
                f"Terrier did not start: {error}. It needs Java 11 or newer (JAVA_HOME), and the first time a network "
                "to fetch its jars (or PYTERRIER_HOME, a folder that has them); engine='pisa' needs neither"
            ) from error
