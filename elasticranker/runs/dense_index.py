"""Encode a collection into an index of vectors, so that it can be killed at any moment and started again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pyterrier_dr import FlexIndex

from elasticranker.collections.cache import cache_dir
from elasticranker.denser.remembering import RememberingIndexer
from elasticranker.files import locked, new_folder, read_json, refuse_other_job, writable_folder, write_json
from elasticranker.progress import bar, is_shown, shown
from elasticranker.runs.scoring import computed_in
from elasticranker.runs.vector_shelf import VectorShelf

if TYPE_CHECKING:
    from elasticranker.collections import Collection
    from elasticranker.denser import ElasticDenser

DOCUMENTS_PER_PART = 1_000  # what a kill can cost: some 20 s of two slow cores; and enough of them to fill batches
JOB = "job.json"


def dense_index(collection: Collection, denser: ElasticDenser, *, verbose: bool = False) -> FlexIndex:
    """A collection's index by a denser, built on the first call and kept in the cache folder.

    Budgets for queries share it: it depends on the checkpoint, `doc_budget` and `dim`. One of fewer dimensions is cut
    from that of all of them, where the cache has it.

    Example:
        >>> pipeline = denser >> dense_index(collection, denser).np_retriever(num_results=100)  # doctest: +SKIP
    """
    place = _kept_at(collection, denser, denser.origin.dim)
    whole = _kept_at(collection, denser, denser.checkpoint.encoder.shape.hidden)
    cut_from = whole if whole != place and whole.exists() else None
    _build(collection, denser, place, cut_from=cut_from, progress=verbose or is_shown())
    return FlexIndex(str(place), verbose=False)


def build_index(
    collection: Collection,
    denser: ElasticDenser,
    output: str | Path,
    *,
    documents_per_part: int = DOCUMENTS_PER_PART,
    progress: bool = True,
) -> Path:
    """Encode a collection's documents into a `FlexIndex`; after a crash or a kill, the same call goes on where it was.

    Args:
        collection: whose documents.
        denser: what encodes them.
        output: folder of the index. While work goes on, what is encoded is in `OUTPUT.parts/`.
        documents_per_part: encoded together, and what a kill can cost.
        progress: whether to show bars on standard error.

    Returns:
        The folder.

    Raises:
        ValueError: the collection has no documents, or the output belongs to another job.
        FileExistsError: the output is there and nothing says where it came from.
        OSError: it can't be written, or another process is writing it.

    Example:
        >>> build_index(open_collection("python-docs"), ElasticDenser(), "docs.flex")  # doctest: +SKIP
    """
    return _build(collection, denser, Path(output), documents_per_part=documents_per_part, progress=progress)


def _build(
    collection: Collection,
    denser: ElasticDenser,
    output: Path,
    *,
    documents_per_part: int = DOCUMENTS_PER_PART,
    cut_from: Path | None = None,
    progress: bool,
) -> Path:
    """Encode, or cut an index of more dimensions, and write the index."""
    with shown(progress):
        job = _identity(collection, denser)
        work = output.with_name(f"{output.name}.parts")
        if _finished(output, job):
            shutil.rmtree(work, ignore_errors=True)  # of a process that was killed after its last step but one
            return output
        writable_folder(output.parent)
        writable_folder(work)
        busy = f"another process is writing {output}; wait for it, or choose another --output"
        with locked(work / "lock", busy=busy):
            if (work / JOB).exists():
                remedy = f"delete {work}, or choose another --output"
                refuse_other_job(read_json(work / JOB), job, place=work, remedy=remedy)
            write_json(work / JOB, job)
            if cut_from is not None:
                whole = FlexIndex(str(cut_from), verbose=False)
                count, records = len(whole), _cut(whole.get_corpus_iter(), job["dimensions"])
            else:
                shelf = VectorShelf(work, job["dimensions"])
                _encode(collection, denser, shelf, documents_per_part)
                if not shelf.documents:
                    raise ValueError(f"{collection.name} has no documents: there is nothing to index")
                count, records = shelf.documents, shelf.records()
            with new_folder(output) as unfinished:
                indexer = RememberingIndexer(FlexIndex(str(unfinished), verbose=False), denser, mode="overwrite")
                indexer.index(bar(records, name="writing the index", total=count, unit="documents"))
                write_json(unfinished / JOB, job)
            shutil.rmtree(work)
    return output


def _kept_at(collection: Collection, denser: ElasticDenser, dim: int) -> Path:
    """Where the cache has a collection's index of so many dimensions."""
    origin = denser.origin
    made = f"{origin.fingerprint[:16]}-{origin.document_depth}x{origin.document_width:g}-{dim}"
    return cache_dir() / "dense" / f"{collection.fingerprint()}-{made}-{computed_in(denser)}.flex"


def _cut(records: Iterable[dict[str, Any]], dimensions: int) -> Iterator[dict[str, Any]]:
    """Documents with the first dimensions of their vectors, at length 1."""
    for record in records:
        vector = record["doc_vec"][:dimensions]
        yield {"docno": record["docno"], "doc_vec": vector / np.linalg.norm(vector)}


def _encode(collection: Collection, denser: ElasticDenser, shelf: VectorShelf, documents_per_part: int) -> None:
    documents = collection.corpus()
    with bar(name="encoding documents", initial=shelf.documents, unit="documents") as moving:
        for _ in islice(documents, shelf.documents):
            pass
        for part in _parts(documents, documents_per_part):
            vectors = denser.encode_docs([document["text"] for document in part])
            shelf.add([document["docno"] for document in part], vectors)
            moving.update(len(part))


def _parts(documents: Iterator[dict[str, str]], size: int) -> Iterator[list[dict[str, str]]]:
    while part := list(islice(documents, size)):
        yield part


def _identity(collection: Collection, denser: ElasticDenser) -> dict[str, Any]:
    """Everything that the index depends on, by the names that a refusal shows."""
    origin = denser.origin
    return {
        "model fingerprint": origin.fingerprint,
        "document depth": origin.document_depth,
        "document width": origin.document_width,
        "dimensions": origin.dim,
        "collection fingerprint": collection.fingerprint(),
        "max_length": denser.max_length,
        "dtype": computed_in(denser),
    }


def _finished(output: Path, job: dict[str, Any]) -> bool:
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return False
    if not (output / JOB).exists():
        raise FileExistsError(
            f"{output} exists and was not written by this command; move it away or choose another --output"
        )
    refuse_other_job(read_json(output / JOB), job, place=output, remedy=f"delete {output}, or choose another --output")
    return True
