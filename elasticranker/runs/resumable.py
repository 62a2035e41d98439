"""Rerank a run file into another, so that it can be killed at any moment and started again.

The run is cut into parts of whole queries, about `PAIRS_PER_PART` candidates each. A finished part is never scored
again. A part is always one call of the ranker, so the output is the same, byte for byte, however often it was
interrupted and whoever scored its parts (`elasticranker.runs.scoring`). Two things can change it: another kind of
processor or number of threads a process, which matrix libraries are free to answer by other last digits; and a time
budget, since what it affords depends on the moment.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticranker.files import read_json, sha256, sha256_file
from elasticranker.frames import Lists, in_incoming_order
from elasticranker.model.checkpoint import FIRST_STAGE
from elasticranker.progress import bar, shown
from elasticranker.runs import read_run
from elasticranker.runs.inputs import refuse_missing_documents, with_queries
from elasticranker.runs.scoring import Piece, Scorer, Scoring, computed_in, here
from elasticranker.runs.workfolder import WorkFolder
from elasticranker.trec import check_name

if TYPE_CHECKING:
    from elasticranker.collections import Collection
    from elasticranker.ranker import ElasticRanker

PAIRS_PER_PART = 1_000  # what a kill can cost: some 20 s of two slow cores; and enough of them to fill batches


class RerankJob:
    """One run to rerank under one output. `rerank_run` is the whole of it in one call.

    Args:
        run: Run file to rerank.
        collection: Where its queries and documents are.
        ranker: What reranks it.
        output: Run file to write, compressed if its name ends in .gz, .bz2 or .xz.
        skip_missing: Leave out candidates that the corpus lacks, instead of refusing the run.
        tag: Last field of every line written. Defaults to the ranker's name and budget.
        pairs_per_part: Candidates of a part, at least; `PAIRS_PER_PART` by default.

    Raises:
        ValueError, KeyError, OSError: The tag or the output's name is none, the run is malformed or empty, or has
            queries that the collection lacks.
    """

    def __init__(
        self,
        run: str | Path,
        collection: Collection,
        ranker: ElasticRanker,
        output: str | Path,
        *,
        skip_missing: bool = False,
        tag: str | None = None,
        pairs_per_part: int | None = None,
    ) -> None:
        self.collection, self.ranker, self.skip_missing = collection, ranker, skip_missing
        self.pairs_per_part = pairs_per_part or PAIRS_PER_PART
        tag = f"ElasticRanker-{str(ranker.budget).replace(' ', '')}" if tag is None else tag
        check_name(tag, "tag")
        self.folder = WorkFolder(output)
        self.scorer = Scorer(ranker, collection, tag, computed_in(ranker))
        lists = in_incoming_order(with_queries(read_run(run), collection))
        self.candidates, self.parts = lists.frame, _cut(lists, self.pairs_per_part)
        self.identity = self._identity(run)

    def _identity(self, run: str | Path) -> dict[str, Any]:
        """Everything that the output depends on, by the names that a refusal shows."""
        queries = self.candidates.drop_duplicates("qid")
        return {
            "model fingerprint": self.ranker.fingerprint,
            "budget": str(self.ranker.budget),
            "run file (sha256)": sha256_file(run),
            "collection fingerprint": self.collection.fingerprint(),
            "queries (sha256)": sha256(*queries["qid"], *queries["query"]),
            "pairs per part": self.pairs_per_part,
            "skip_missing": self.skip_missing,
            "tag": self.scorer.tag,
            **scoring_settings(self.ranker),
        }

    def check_documents(self, pending: list[int]) -> None:
        """Raise KeyError if documents of these parts are missing from the corpus, unless they may be."""
        if not self.skip_missing:
            docnos = self.candidates["docno"].to_numpy()
            refuse_missing_documents((docno for part in pending for docno in docnos[self.parts[part]]), self.collection)

    def piece(self, part: int) -> Piece:
        """One part, to be scored."""
        return Piece(part, self.candidates.iloc[self.parts[part]])

    def size(self, part: int) -> int:
        """Candidates of one part."""
        return self.parts[part].stop - self.parts[part].start


def scoring_settings(ranker: ElasticRanker) -> dict[str, Any]:
    """What of a ranker's settings changes its scores, beside checkpoint and budget; "auto" as what it is here."""
    names = ("text_field", "max_length", "max_query_length", "depth")
    stage = {} if ranker.first_stage == FIRST_STAGE else {"first_stage": ranker.first_stage}
    return {"dtype": computed_in(ranker), **{name: getattr(ranker, name) for name in names}, **stage}


def _cut(lists: Lists, pairs: int) -> list[slice]:
    """Row ranges of whole queries in the order of the run, each ended as soon as it has `pairs` rows."""
    ends: list[int] = []
    for rows in lists:
        if rows.stop - (ends[-1] if ends else 0) >= pairs or rows.stop == len(lists.frame):
            ends.append(rows.stop)
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


def rerank_run(
    run: str | Path,
    collection: Collection,
    ranker: ElasticRanker,
    output: str | Path,
    *,
    skip_missing: bool = False,
    tag: str | None = None,
    shard: tuple[int, int] = (1, 1),
    pairs_per_part: int | None = None,
    scoring: Scoring = here,
    progress: bool = True,
) -> Path:
    """Rerank a run file into another; after a crash or a kill, the same call goes on where it was.

    Args:
        run: Run file to rerank.
        collection: Where its queries and documents are.
        ranker: What reranks it.
        output: Run file to write, compressed if its name ends in .gz, .bz2 or .xz. While work goes on its parts are
            in `OUTPUT.parts/`; afterwards `OUTPUT.json` says what it was made from.
        skip_missing: Leave out candidates that the corpus lacks, instead of refusing the run.
        tag: Last field of every line written. Defaults to the ranker's name and budget.
        shard: (i, N) reranks only the i-th (from 1) of N pieces, for N processes or machines that share the folder;
            `merge` then writes the output.
        pairs_per_part: Candidates of a part, at least: what is scored in one call, and what a kill can cost. Raise it
            for GPUs, which want large batches. `PAIRS_PER_PART` by default.
        scoring: Who scores the parts: `here`, or `score_in_processes` or `score_on_ray` with their settings. It may
            change when a job goes on.
        progress: Whether to show bars on standard error.

    Returns:
        The path of the output.

    Raises:
        ValueError: The run is malformed or empty, a text is missing, or the output belongs to another job.
        KeyError: Queries or documents are missing from the collection.
        OSError: The output cannot be written, another process is writing it, or the processes that score keep dying.

    Example:
        >>> rerank_run("bm25.trec", open_collection("trec-dl-2019"), ElasticRanker(budget="25%"), "out.trec.gz")
    """
    if not 1 <= shard[0] <= shard[1]:
        raise ValueError(f"shard {shard[0]}/{shard[1]} does not exist: give i/N with i from 1 to N")
    settings: dict[str, Any] = {"skip_missing": skip_missing, "tag": tag, "pairs_per_part": pairs_per_part}
    with shown(progress):
        job = RerankJob(run, collection, ranker, output, **settings)
    folder = job.folder
    with folder.locked(shard), shown(progress):
        if folder.finished(job.identity):
            folder.remove()
            return folder.output
        folder.claim(job.identity, parts=len(job.parts))
        pending = folder.pending(shard)
        job.check_documents(pending)
        sizes = [job.size(part) for part in range(len(job.parts))]
        total = sum(sizes[shard[0] - 1 :: shard[1]])
        done = total - sum(sizes[part] for part in pending)
        with (
            bar(name="scoring", total=total, initial=done, unit="pairs") as moving,
            closing(scoring(job.scorer, [job.piece(part) for part in pending])) as finished,
        ):
            for scored in finished:
                folder.write(scored.number, [scored.lines])
                moving.update(sizes[scored.number])
        if shard[1] == 1:
            folder.assemble()
    return folder.output


def split_run(
    run: str | Path,
    collection: Collection,
    ranker: ElasticRanker,
    output: str | Path,
    *,
    skip_missing: bool = False,
    tag: str | None = None,
    pairs_per_part: int | None = None,
) -> int:
    """Prepare a job for many machines: check all that can be checked and write the manifest, but score nothing.

    Not needed before shards, but it finds an error once instead of on every machine, and makes what they share (such as
    the store of documents). The arguments are those of `rerank_run`, and so are the errors.

    Returns:
        The number of parts: more shards than that have nothing to do.

    Example:
        >>> split_run("bm25.trec", open_collection("trec-dl-2019"), ElasticRanker(budget="25%"), "out.trec.gz")
    """
    job = RerankJob(run, collection, ranker, output, skip_missing=skip_missing, tag=tag, pairs_per_part=pairs_per_part)
    with job.folder.locked():
        if job.folder.finished(job.identity):
            job.folder.remove()
        else:
            job.folder.claim(job.identity, parts=len(job.parts))
            job.check_documents(job.folder.pending())
    return len(job.parts)


def merge(output: str | Path) -> Path:
    """Write the output of a job whose shards are all finished.

    Args:
        output: The output that the shards were given.

    Returns:
        The path of the output.

    Raises:
        FileNotFoundError: Parts are missing, or there is no such job.
        OSError: A shard is still running, or the output cannot be written.
    """
    folder = WorkFolder(output)
    if not folder.manifest.exists():
        if folder.record.exists() and folder.output.exists():
            return folder.output
        raise FileNotFoundError(f"there is nothing to merge: {folder.path} holds no job")
    with folder.locked():
        if folder.finished(read_json(folder.manifest)["job"]):
            folder.remove()
        else:
            folder.assemble()
    return folder.output
