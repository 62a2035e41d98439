"""Search an index of vectors for all queries of a collection, so that it can be killed and started again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyterrier_dr import FlexIndex

from elasticranker.denser.remembering import origin_of
from elasticranker.files import read_json, sha256
from elasticranker.progress import bar, shown
from elasticranker.runs.inputs import queries_of
from elasticranker.runs.scoring import computed_in
from elasticranker.runs.workfolder import WorkFolder
from elasticranker.trec import check_name, format_run

if TYPE_CHECKING:
    from elasticranker.collections import Collection
    from elasticranker.denser import ElasticDenser

QUERIES_PER_PART = 500  # searched in one call: every part reads the whole index once
SEARCHES = {
    "numpy": "np_retriever",
    "torch": "torch_retriever",
    "faiss": "faiss_flat_retriever",
    "hnsw": "faiss_hnsw_retriever",
}


def retrieve_run(
    collection: Collection,
    denser: ElasticDenser,
    index: str | Path,
    output: str | Path,
    *,
    k: int = 100,
    search: str = "numpy",
    tag: str | None = None,
    queries_per_part: int = QUERIES_PER_PART,
    progress: bool = True,
) -> Path:
    """Write the run of a collection's queries; after a crash or a kill, the same call goes on where it was.

    Args:
        collection: whose queries.
        denser: what encodes them, within its budget.
        index: folder of the index (see `build_index`).
        output: run file to write, compressed if its name ends in .gz, .bz2 or .xz. While work goes on its parts are in
            `OUTPUT.parts/`; afterwards `OUTPUT.json` says what it was made from.
        k: documents a query.
        search: how, by `SEARCHES`: exact by `numpy`, `torch` or `faiss`, approximate by `hnsw`; the last two need
            faiss.
        tag: last field of every line; by default the denser's name and budget.
        queries_per_part: searched together, and what a kill can cost.
        progress: whether to show bars on standard error.

    Returns:
        The path of the output.

    Raises:
        ValueError: there is no such index, it is another checkpoint's, or the output belongs to another job.
        OSError: the output can't be written, or another process is writing it.

    Example:
        >>> retrieve_run(collection, ElasticDenser(budget="25%"), "docs.flex", "dense.trec.gz")  # doctest: +SKIP
    """
    tag = f"ElasticDenser-{str(denser.budget).replace(' ', '')}" if tag is None else tag
    check_name(tag, "tag")
    if search not in SEARCHES:
        raise ValueError(f"search={search!r}: choose from {', '.join(SEARCHES)}")
    if not (Path(index) / "pt_meta.json").exists():
        raise ValueError(f"{index} is no index of vectors: build one with `elasticranker index`")
    folder = WorkFolder(output)
    flex = FlexIndex(str(index), verbose=False)
    denser.check_index(flex)
    queries = queries_of(collection)
    if queries.empty:
        raise ValueError(f"{collection.name} has no queries: there is nothing to search for")
    job: dict[str, Any] = {
        "model fingerprint": denser.fingerprint,
        "budget": str(denser.budget),
        "index": {**read_json(Path(index) / "pt_meta.json"), "made by": repr(origin_of(flex))},
        "queries (sha256)": sha256(*queries["qid"].astype(str), *queries["query"]),
        "k": k,
        "search": search,
        "tag": tag,
        "queries per part": queries_per_part,
        "max_query_length": denser.max_query_length,
        "dtype": computed_in(denser),
    }
    starts = range(0, len(queries), queries_per_part)
    with folder.locked(), shown(progress):
        if folder.finished(job):
            folder.remove()
            return folder.output
        folder.claim(job, parts=len(starts))
        pipeline = denser >> getattr(flex, SEARCHES[search])(num_results=k)
        pending = folder.pending()
        done = sum(len(queries.iloc[start : start + queries_per_part]) for start in starts)
        done -= sum(len(queries.iloc[starts[part] : starts[part] + queries_per_part]) for part in pending)
        with bar(name="searching", total=len(queries), initial=done, unit="queries") as moving:
            for part in pending:
                some = queries.iloc[starts[part] : starts[part] + queries_per_part]
                found = pipeline(some[["qid", "query"]])
                folder.write(part, format_run(found[["qid", "docno", "score", "rank"]], tag))
                moving.update(len(some))
        folder.assemble()
    return folder.output
