"""A checkpoint ready to score, loaded when it is first needed and shared by rankers of every budget."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from elasticranker.model.checkpoint import Checkpoint, load

if TYPE_CHECKING:
    import torch

    from elasticranker.engine import Engine
    from elasticranker.ladder import Ladder

LONGEST = 512  # tokens of a pair, where the backbone allows it


@dataclass(frozen=True)
class Settings:
    """What fixes an engine's scores and how it runs (see `ElasticRanker`)."""

    model: str
    batch_size: int
    max_length: int | None
    max_query_length: int
    device: str | None
    dtype: str


def choose_device(name: str | None) -> torch.device:
    """The device of that name; by default a GPU where there is one.

    Raises:
        ValueError: torch doesn't know it.
    """
    import torch

    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"device={name!r}: {error}") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name!r}: torch sees no GPU here; use device='cpu'")
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 where the processor multiplies in it natively, else float32."""
    import torch

    if name != "auto":
        return torch.float32 if name == "float32" else torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    native = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if native else torch.float32


class Loaded:
    """Checkpoint, ladder and engine of some settings. Thread-safe: whoever comes first loads.

    Pickling keeps the settings alone, so a ranker can be sent to another process, which loads for itself.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.RLock()
        self._speed: float | None = None

    def __reduce__(self) -> tuple[type[Loaded], tuple[Settings]]:
        return Loaded, (self.settings,)

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint, from disk or the hub."""
        with self._lock:
            return self.__dict__.get("checkpoint") or load(self.settings.model)

    @cached_property
    def ladder(self) -> Ladder:
        """Its plans."""
        return self.checkpoint.plans()

    @cached_property
    def engine(self) -> Engine:
        """The engine over it."""
        with self._lock:
            return self.__dict__.get("engine") or self._make_engine()

    def _make_engine(self) -> Engine:
        from elasticranker.engine import Engine
        from elasticranker.pairs import PairEncoder

        settings, shape = self.settings, self.checkpoint.encoder.shape
        device = choose_device(settings.device)
        longest = shape.positions - shape.position_offset
        if settings.max_length is not None and settings.max_length > longest:
            raise ValueError(f"max_length={settings.max_length}: the model has positions for {longest} tokens")
        pairs = PairEncoder(
            self.checkpoint.tokenizer,
            max_length=settings.max_length or self.checkpoint.max_length or min(LONGEST, longest),
            max_query_length=settings.max_query_length,
        )
        return Engine(
            self.checkpoint.encoder.to(device),
            pairs,
            self.checkpoint.cost,
            dtype=choose_dtype(settings.dtype, device),
            device=device,
            batch_size=settings.batch_size,
        )

    def speed(self) -> float:
        """FLOPs a second of the whole model on this machine, measured once on made-up pairs."""
        with self._lock:
            if self._speed is None:
                self._speed = measure_speed(self.engine)
            return self._speed


def measure_speed(engine: Engine, *, pairs: int = 16, tokens: int = 96, runs: int = 3) -> float:
    """FLOPs a second of `engine`'s whole model: the median of some runs over pairs of one length, after a warm-up."""
    import numpy as np

    from elasticranker.engine import Query
    from elasticranker.pairs import Pair
    from elasticranker.plan import Plan, Stage

    random = np.random.default_rng(0)
    vocabulary = engine.encoder.shape.vocabulary
    tokens = min(tokens, engine.pairs.max_length)
    query = random.integers(0, vocabulary, min(6, engine.pairs.max_query_length))
    made = [
        Pair(query, random.integers(0, vocabulary, max(1, tokens - len(query) - engine.pairs.template.extra)))
        for _ in range(pairs)
    ]
    whole = engine.full_cost(made)
    job = Query(made, None, Plan((Stage(engine.full, 1.0),)), whole)
    engine.rank([job])
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        engine.rank([job])
        times.append(time.perf_counter() - started)
    return whole / float(np.median(times))
