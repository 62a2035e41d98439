"""Who scores the pieces of a run: the one idea that this process, several processes and Ray carry out.

A `Scorer` turns a `Piece` (the candidates of some whole queries) into `Scored` lines of the run. A way of scoring is a
generator function: from a scorer and pieces to what was scored, in whatever order it gets done. `here` is the simplest;
`elasticranker.runs.workers` and `elasticranker.runs.on_ray` hold the others. A piece is always one call of the ranker,
so the same pairs meet in the same batches whoever scores it: on one kind of processor, with as many threads a process,
the scores are the same to the last bit.
"""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from elasticranker.runs import format_run
from elasticranker.runs.inputs import with_texts

if TYPE_CHECKING:
    import pandas as pd

    from elasticranker.collections import Collection
    from elasticranker.denser import ElasticDenser
    from elasticranker.ranker import ElasticRanker

RETRIES = 3  # times that a piece is tried again after the process that scored it died


class Piece(NamedTuple):
    """Whole queries of a run that are scored together.

    Attributes:
        number: its place in the output, from 0.
        candidates: columns qid, query, docno, score and rank; the texts are looked up by whoever scores it.
    """

    number: int
    candidates: pd.DataFrame

    def __str__(self) -> str:
        qids = self.candidates["qid"]
        return f"part {self.number} (queries {qids.iloc[0]} to {qids.iloc[-1]}, {len(qids)} candidates)"


class Scored(NamedTuple):
    """A finished piece.

    Attributes:
        number: of the piece.
        lines: its lines of the run, one text.
        truncated: pairs whose texts were cut.
    """

    number: int
    lines: str
    truncated: int


class Failed(NamedTuple):
    """An error in another process, on its way to the one that is asked for."""

    error: Exception
    trace: str

    def reraise(self) -> NoReturn:
        """Raise the error, with the other process's traceback as its cause."""
        raise self.error from RuntimeError(f"in the process that scored:\n{self.trace}")


Scoring = Callable[["Scorer", Sequence[Piece]], Generator[Scored, None, None]]


@dataclass(frozen=True)
class Scorer:
    """Reranks pieces: all that a process needs to know of a job. It can be pickled.

    Args:
        ranker: what reranks.
        collection: where the documents' texts are; another machine must find it under the same name.
        tag: last field of every line.
        dtype: what the job computes in, by `scoring_settings`.

    Example:
        >>> Scorer(ranker, collection, "elastic", "bfloat16")(piece).lines  # doctest: +SKIP
        'q1 Q0 d2 1 0.7 elastic\\n...'
    """

    ranker: ElasticRanker
    collection: Collection
    tag: str
    dtype: str

    def __call__(self, piece: Piece) -> Scored:
        """Rerank one piece.

        Raises:
            ValueError: the ranker changed the number of candidates, or this machine would compute in another dtype.
        """
        self._refuse_other_dtype()
        frame = with_texts(piece.candidates, self.collection, field=self.ranker.text_field)
        before = self.ranker.truncated
        ranked = self.ranker.transform(frame)
        if len(ranked) != len(frame):
            raise ValueError(
                f"{self.ranker!r} made {len(ranked)} candidates of {len(frame)}: a reranker must keep them all"
            )
        return Scored(piece.number, "".join(format_run(ranked, self.tag)), self.ranker.truncated - before)

    def _refuse_other_dtype(self) -> None:
        here = computed_in(self.ranker)
        if here != self.dtype:
            raise ValueError(
                f"dtype={self.ranker.dtype!r} means {here} on this machine and {self.dtype} where the job was started: "
                "give --dtype float32 or --dtype bfloat16, so that all of them compute alike"
            )


def computed_in(ranker: ElasticRanker | ElasticDenser) -> str:
    """The dtype that a transformer computes in on this machine: "auto" as what it is here."""
    from elasticranker.model.loaded import choose_device, choose_dtype, dtype_name

    return dtype_name(choose_dtype(ranker.dtype, choose_device(ranker.device)))


def here(scorer: Scorer, pieces: Sequence[Piece]) -> Generator[Scored, None, None]:
    """Score pieces one after the other in this process: the default. Choose
    `score_in_processes` for many cores."""
    for piece in pieces:
        yield scorer(piece)


def attempt(scorer: Scorer, piece: Piece) -> Scored | Failed:
    """Score a piece in another process than the one that asked: errors are handed back as values."""
    try:
        return scorer(piece)
    except Exception as error:
        trace = traceback.format_exc()
        try:
            travelled: Failed = pickle.loads(pickle.dumps(Failed(error, trace)))  # some errors cannot
            return travelled
        except Exception:
            return Failed(RuntimeError(f"{type(error).__name__}: {error}"), trace)
