"""Ray scores the pieces of a run: on many machines, or on every GPU of one."""

from __future__ import annotations

import logging
import os
import pickle
import socket
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from elasticranker.extras import missing
from elasticranker.runs.scoring import RETRIES, Failed, Piece, Scored, Scorer, attempt


def score_on_ray(
    scorer: Scorer, pieces: Sequence[Piece], *, address: str | None = None, workers: int | None = None
) -> Generator[Scored, None, None]:
    """Score pieces with Ray Data, by a pool of actors that each load the model.

    Choose it for several machines or GPUs; on one machine without GPUs `score_in_processes` starts faster and keeps the
    weights in memory once. An actor that is lost (killed, or its machine gone) is started again, and its piece with it.
    Every machine must see the model and the collection under the same names; the output is written here.

    Args:
        scorer: what to do.
        pieces: to score; they come back in any order.
        address: of a running cluster ("auto": the one that this machine belongs to); by default `RAY_ADDRESS`, else Ray
            is started here and stopped afterwards. A Ray that this process uses already is used as it is.
        workers: actors; by default one a GPU, or one a processor core where there is no GPU.

    Raises:
        ImportError: Ray is not installed.
        ValueError: more workers than the cluster has processors or GPUs; and whatever the scorer raises in an actor.
        ChildProcessError: one piece's actors died again and again.
        ConnectionError: no cluster answers at `address`.

    Example:
        >>> score = functools.partial(score_on_ray, address="auto")  # doctest: +SKIP
        >>> rerank_run(run, collection, ranker, "out.trec", scoring=score)  # doctest: +SKIP
    """
    ray = _import_ray()
    with _cluster(ray, address, workers), _quiet(ray):
        resource, workers = _actors(ray.cluster_resources(), scorer.ranker.device, workers)
        rows = [{"number": piece.number, "piece": pickle.dumps(piece)} for piece in pieces]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of max_restarts and max_task_retries, which have no successors yet
            outcomes = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
                _Actor,
                fn_constructor_args=(scorer,),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(workers, len(rows))),
                num_cpus=1,
                num_gpus=1 if resource == "GPU" else None,
                max_restarts=-1,  # machines come and go: only a piece may fail too often
                max_task_retries=RETRIES,
            )
        try:
            for outcome in _arriving(ray, outcomes):
                if isinstance(outcome, Failed):
                    outcome.reraise()
                scorer.ranker.truncated += outcome.truncated
                yield outcome
        except ray.exceptions.RayError as error:
            raise ChildProcessError(
                f"Ray gave up after {RETRIES} retries: actors that score a part are lost again and again "
                f"({str(error).splitlines()[0]}); if memory ran out, use fewer --workers or a smaller --batch-size; "
                "finished parts are kept"
            ) from error


class _Actor:
    """One process of the pool."""

    def __init__(self, scorer: Scorer) -> None:
        warnings.filterwarnings("ignore", message="texts longer than")  # counted, and told once at the end
        self.scorer = scorer

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[bytes]]:
        return {"outcome": [pickle.dumps(attempt(self.scorer, pickle.loads(piece))) for piece in batch["piece"]]}


def _arriving(ray: Any, outcomes: Any) -> Iterator[Scored | Failed]:
    """What the actors return, fetched by this thread.

    Not by `iter_rows` or `iter_batches`, which fetch in threads of their own: Ray ends the whole process, without a
    word, if one of them still fetches when Ray is shut down, as it may after an error.
    """
    for bundle in outcomes.iter_internal_ref_bundles():
        for block in ray.get(list(bundle.block_refs)):
            for row in ray.data.block.BlockAccessor.for_block(block).iter_rows(public_row_format=True):
                yield pickle.loads(row["outcome"])


def _import_ray() -> Any:
    try:
        import ray
        import ray.data
        import ray.data.block
        import ray.exceptions
    except ImportError as error:
        raise missing("--engine ray", "ray", error) from error
    return ray


@contextmanager
def _cluster(ray: Any, address: str | None, workers: int | None) -> Iterator[None]:
    """A Ray to work on: the one in use, the one at an address, or one of this process's own."""
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    _refuse_unreachable(address)
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    own = {"num_cpus": max(workers or 0, _cores()), "include_dashboard": False} if address == "local" else {}
    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    try:
        yield
    finally:
        ray.shutdown()


def _refuse_unreachable(address: str) -> None:
    """Raise ConnectionError if nobody listens at a host and port, for which Ray itself waits many minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():  # "auto", "local"
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ConnectionError(
            f"--address {address}: no Ray answers there ({error}); start one by `ray start --head`, or leave "
            "--address out to start one here"
        ) from error


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _quiet(ray: Any) -> Iterator[None]:
    """Keep Ray Data's reports and bars off the screen: there is a bar over pairs, and errors are raised."""
    context, logger = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
    bars, level = context.enable_progress_bars, logger.level
    context.enable_progress_bars = False
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        context.enable_progress_bars = bars
        logger.setLevel(level)


def _actors(resources: dict[str, float], device: str | None, workers: int | None) -> tuple[str, int]:
    """What each actor takes one of, GPU or CPU, and how many actors there are to be."""
    gpus, cpus = int(resources.get("GPU", 0)), int(resources.get("CPU", 0))
    wanted = "CPU" if device is not None and device.startswith("cpu") else "GPU" if gpus or device else "CPU"
    there = gpus if wanted == "GPU" else cpus
    if not 1 <= (workers or there) <= there:
        raise ValueError(
            f"workers={workers}: the Ray cluster has {there} {wanted}s, one an actor; give at most so many --workers"
        )
    return wanted, workers or there
