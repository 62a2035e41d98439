"""What elastifying will do and how long it takes here, from a few batches of the collection's own texts."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from elasticranker.model.checkpoint import Checkpoint
from elasticranker.model.engine import Engine
from elasticranker.model.loaded import choose_device, choose_dtype
from elasticranker.progress import phase
from elasticranker.training.data.batches import Sampler, each_tensor
from elasticranker.training.data.groups import Groups
from elasticranker.training.data.pseudo import keyword_queries
from elasticranker.training.elastifying.settings import ElastifySettings
from elasticranker.training.settings import TrainingSettings
from elasticranker.training.trainer.keeping import STEPS

GROUPS, TIMED = 4, 64  # queries of a timed step, pairs of a timed batch
SHORTER = 0.25  # what reading the first tokens alone costs in tuning, beside reading all


@dataclass(frozen=True)
class Speed:
    """Seconds a pair: through the whole model, and in training, at every exit and with its share of narrower widths."""

    scoring: float
    training: float


@dataclass(frozen=True)
class Line:
    """One phase: its name, what it does, the seconds that it takes (None: nobody knows), and whether it was done."""

    name: str
    what: str
    seconds: float | None
    done: bool = False


def measure(
    checkpoint: Checkpoint, documents: Sequence[str], run: TrainingSettings, settings: ElastifySettings
) -> Speed:
    """Time the model on some documents and queries made of them, after a warm-up.

    Args:
        checkpoint: the start, which stays as it is.
        documents: of the collection, at least one.
        run: settings of the training run.
        settings: `keep_full` and number format.
    """
    device = choose_device(None)
    dtype = choose_dtype(settings.dtype, device)
    encoder = checkpoint.encoder.to(device)
    lengths = {"max_length": run.max_length, "max_query_length": run.max_query_length}
    layout = checkpoint.pairs(**lengths)
    with phase("measuring this machine"):
        engine = Engine(encoder, layout, checkpoint.cost, dtype=dtype, device=device, batch_size=4096)
        random = np.random.default_rng(0)
        queries = [query.text for query in keyword_queries(documents, random)] or ["what is this"]
        asked, texts = layout.queries(queries), layout.tokens(documents)
        pairs = [layout.pair(asked[n % len(asked)], texts[(7 * n) % len(texts)]) for n in range(TIMED)]
        scoring = seconds(lambda: engine.every_exit(pairs, 1.0), device) / TIMED
        rows = 4 * GROUPS
        candidates = random.integers(0, len(documents), (rows, run.group_size)).astype(np.int32)
        groups = Groups(
            list(documents),
            [queries[n % len(queries)] for n in range(rows)],
            ["timed"],
            np.zeros(rows, np.int16),
            candidates,
            random.normal(size=candidates.shape).astype(np.float16),
            np.full(candidates.shape, -1, np.int8),
            np.zeros(rows, bool),
        )
        narrow = run.narrow_share if len(run.widths) > 1 else 0.0
        sampler = Sampler(groups, layout, groups_per_step=GROUPS, group_size=run.group_size, narrow_share=narrow)
        module = STEPS[settings.keep_full](encoder, run, dtype).to(device)
        data = each_tensor(sampler.step(0), lambda tensor: tensor.to(device))

        def step() -> None:
            module(data, run.narrow_widths(0))[0].backward()

        training = seconds(step, device) / data.pairs
        module.zero_grad(set_to_none=True)
        encoder.requires_grad_(True)
    return Speed(scoring, training)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """How long some work takes the second time."""
    work()
    started = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def forecast(
    speed: Speed,
    settings: ElastifySettings,
    run: TrainingSettings,
    *,
    queries: tuple[int, int],
    tuning: tuple[int, int],
    done: Collection[str] = (),
) -> list[Line]:
    """The phases.

    Args:
        speed: of this machine.
        settings: of the job.
        run: of its training run.
        queries: to train on, asked and made.
        tuning: to tune on, likewise.
        done: names of phases whose products are there already.
    """
    pairs = sum(queries) * settings.group_candidates
    tuned = sum(tuning) * settings.k
    a_step = run.groups_per_step * run.group_size
    reads = (1 + SHORTER) * sum(run.widths) + 1  # every width, and the original
    source = "by BM25, whose index is built first" if settings.candidates == "bm25" else "of the run"
    trained = (
        "the readouts" if settings.keep_full == "exact" else f"every exit and {len(run.widths) - 1} narrower widths"
    )
    lines = [
        Line("candidates", f"{told(*queries)} to train on and {told(*tuning)} to tune on, {source}", None),
        Line("scores", f"{pairs:,} pairs by the model itself", pairs * speed.scoring),
        Line("training", f"{run.steps:,} steps of {a_step} pairs, {trained}", run.steps * a_step * speed.training),
        Line("tuning", f"ladder and calibration, {tuned:,} pairs", tuned * speed.scoring * reads),
    ]
    return [replace(line, done=line.name in done) for line in lines]


def told(asked: int, made: int) -> str:
    """Numbers of queries in words."""
    if not made:
        return f"{asked:,} queries"
    return f"{asked + made:,} queries ({made:,} made of documents)" if asked else f"{made:,} queries made of documents"


def duration(amount: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(4000)
        '1.1 h'
    """
    if amount < 90:
        return f"{max(1, round(amount))} s"
    return f"{round(amount / 60)} min" if amount < 3600 else f"{amount / 3600:.1f} h"


def as_text(title: str, lines: Sequence[Line]) -> str:
    """A forecast to print."""
    width = max(len(line.name) for line in lines)
    rows = []
    for line in lines:
        time_of = "" if line.seconds is None else f": about {duration(line.seconds)}"
        rows.append(f"  {line.name:{width}}  {line.what}{' (done)' if line.done else time_of}")
    total = duration(sum(line.seconds or 0.0 for line in lines if not line.done))
    unknown = ", and the search for candidates" if any(line.seconds is None and not line.done for line in lines) else ""
    return "\n".join([title, *rows, f"in all about {total} on this machine{unknown}"])
