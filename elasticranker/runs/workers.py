"""Several processes of one machine score the pieces of a run, on one set of weights in shared memory.

Plain processes and pipes rather than an executor: when a worker dies, an executor gives up the whole pool and what its
other workers were at; here one piece goes back to the queue and one worker is replaced. A worker whose parent died
reads the end of its pipe, and ends too.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections import Counter, deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import connection, get_context
from typing import TYPE_CHECKING, Any

from elasticranker.runs.scoring import RETRIES, Failed, Piece, Scored, Scorer, attempt
from elasticranker.runs.sharing import Shared, restore, share

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess


def score_in_processes(scorer: Scorer, pieces: Sequence[Piece], *, workers: int) -> Generator[Scored, None, None]:
    """Score pieces in `workers` processes, torch's threads divided among them.

    Choose it on one machine with many cores, where small batches don't keep all threads of one process busy; choose Ray
    for several machines or GPUs. Weights are in memory once. A script that calls it needs the usual
    `if __name__ == "__main__":`, for the processes are spawned.

    Args:
        scorer: what to do.
        pieces: to score; they come back in any order.
        workers: processes.

    Raises:
        ValueError: the ranker runs on a GPU; and whatever the scorer raises in a worker.
        ChildProcessError: one piece's workers died again and again.

    Example:
        >>> score = functools.partial(score_in_processes, workers=4)  # doctest: +SKIP
        >>> rerank_run(run, collection, ranker, "out.trec", scoring=score)  # doctest: +SKIP
    """
    import torch

    from elasticranker.model.loaded import choose_device

    if choose_device(scorer.ranker.device).type != "cpu":
        raise ValueError(
            f"workers={workers}: processes share weights in main memory, so they run on the processor: give --device "
            "cpu, or use --engine ray, which gives every GPU a process"
        )
    crew = _Crew(share(scorer), threads=max(1, torch.get_num_threads() // workers))
    waiting, left = deque(pieces), len(pieces)
    deaths: Counter[int | None] = Counter()
    try:
        while left:
            while len(crew.workers) < min(workers, left):
                crew.start()
            for piece, message in crew.messages():
                if isinstance(message, _Death):
                    number = None if piece is None else piece.number
                    deaths[number] += 1
                    if deaths[number] > RETRIES:
                        raise ChildProcessError(_complaint(piece, message.status))
                    if piece is not None:
                        waiting.appendleft(piece)
                crew.hand_out(waiting)  # first of all: nobody waits while a part is written
                if isinstance(message, Failed):
                    message.reraise()
                if isinstance(message, Scored):
                    left -= 1
                    scorer.ranker.truncated += message.truncated
                    yield message
    finally:
        crew.end()


def _complaint(piece: Piece | None, status: int) -> str:
    cause = f"by signal {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    what = "workers end before they can start" if piece is None else f"{piece} ended {RETRIES + 1} workers"
    return (
        f"{what}, the last {cause}; if memory ran out, use fewer --workers or a smaller --batch-size; finished parts "
        "are kept"
    )


@dataclass(frozen=True)
class _Ready:
    """A worker has started."""


@dataclass(frozen=True)
class _Death:
    """A worker ended without being asked to; `status` is as `Process.exitcode`."""

    status: int


class _Worker:
    """A process and what it is at."""

    def __init__(self, process: SpawnProcess, pipe: connection.Connection) -> None:
        self.process, self.pipe = process, pipe
        self.piece: Piece | None = None
        self.idle = False  # ready, and without a piece


class _Crew:
    """The workers that are alive."""

    def __init__(self, shared: Shared, *, threads: int) -> None:
        self.shared, self.threads = shared, threads
        self.workers: list[_Worker] = []

    def start(self) -> None:
        import torch.multiprocessing  # noqa: F401 (teaches pickle to send tensors in shared memory)

        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, self.shared, self.threads), daemon=True)
        process.start()
        theirs.close()  # so that only the worker holds that end, and its death closes it
        self.workers.append(_Worker(process, ours))

    def hand_out(self, waiting: deque[Piece]) -> None:
        """Give idle workers pieces, as long as there are."""
        for worker in self.workers:
            if worker.idle and waiting:
                worker.piece, worker.idle = waiting.popleft(), False
                with suppress(OSError):  # it has died meanwhile, which reading from it will show
                    worker.pipe.send(worker.piece)

    def messages(self) -> Iterator[tuple[Piece | None, Any]]:
        """Wait for what workers say next, each with the piece that it was at. Who spoke is idle, who died is gone."""
        by_pipe = {worker.pipe: worker for worker in self.workers}
        for pipe in connection.wait(list(by_pipe)):
            worker = by_pipe[pipe]  # type: ignore[index]
            try:
                message = worker.pipe.recv()
            except (EOFError, OSError):
                worker.process.join()
                self.workers.remove(worker)
                message = _Death(worker.process.exitcode or 0)
            piece, worker.piece, worker.idle = worker.piece, None, True
            yield piece, message

    def end(self) -> None:
        """Let idle workers go, and stop those that are at something."""
        for worker in self.workers:
            worker.pipe.close()
            if not worker.idle:
                worker.process.terminate()
        for worker in self.workers:
            worker.process.join()


def _work(pipe: connection.Connection, shared: Shared, threads: int) -> None:
    """What a worker does until its parent ends it or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes of a terminal; the parent answers it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what libraries opened is closed
    os.environ["RAYON_NUM_THREADS"] = str(threads)  # the tokenizer's
    import torch

    torch.set_num_threads(threads)
    warnings.filterwarnings("ignore", message="texts longer than")  # counted, and told once at the end
    scorer = restore(shared)
    with suppress(EOFError, ConnectionError):
        pipe.send(_Ready())
        while True:
            pipe.send(attempt(scorer, pipe.recv()))
