"""A checkpoint ready to score, loaded when it is first needed and shared by rankers of every budget."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from elasticranker.model.checkpoint import Checkpoint, load

if TYPE_CHECKING:
    import torch

    from elasticranker.model.encoder import Weights
    from elasticranker.model.engine import Engine
    from elasticranker.model.speed import SpeedProfile
    from elasticranker.planning.ladder import Ladder


@dataclass(frozen=True)
class Settings:
    """What fixes an engine's scores and how it runs (see `ElasticRanker`)."""

    model: str
    batch_size: int
    max_length: int | None
    max_query_length: int
    device: str | None
    dtype: str
    revision: str | None = None
    threads: int | None = None


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


def dtype_name(dtype: torch.dtype) -> str:
    """A dtype by the name that arguments and reports give it, such as `bfloat16`."""
    return str(dtype).removeprefix("torch.")


def refuse_chosen_layers(checkpoint: Checkpoint, source: str) -> None:
    """Refuse to score pairs with sub-networks of other layers than the first, as `ElasticDenser` may have them.

    Raises:
        ValueError: the checkpoint has such.
    """
    if checkpoint.dense.order:
        raise ValueError(
            f"model={source!r} has query encoders of chosen layers, for ElasticDenser alone; what scores pairs reads "
            "the first layers: name another model, such as default"
        )


class Loaded:
    """Checkpoint, ladder and engine of some settings. Thread-safe: whoever comes first loads.

    Pickling keeps the settings alone, so a ranker can be sent to another process, which loads for itself.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.RLock()
        self._weights: dict[float, Sequence[Weights]] = {}
        self.warned = False  # of texts that are cut: once for all rankers that share this

    def __reduce__(self) -> tuple[type[Loaded], tuple[Settings]]:
        return Loaded, (self.settings,)

    @classmethod
    def of(cls, settings: Settings, checkpoint: Checkpoint, weights: dict[float, Sequence[Weights]]) -> Loaded:
        """One over tensors that exist already, by width: for a process that shares the weights of another."""
        loaded = cls(settings)
        loaded.__dict__["checkpoint"] = checkpoint
        loaded._weights = weights
        return loaded

    @property
    def is_ready(self) -> bool:
        """Has somebody loaded the checkpoint?"""
        return "checkpoint" in self.__dict__

    @cached_property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint, from disk or the hub."""
        with self._lock:
            return self.__dict__.get("checkpoint") or self._load()

    def _load(self) -> Checkpoint:
        """Not called where the weights are another process's: that one divides the threads."""
        if self.settings.threads is not None:
            import torch

            torch.set_num_threads(self.settings.threads)
        checkpoint = load(self.settings.model, self.settings.revision)
        refuse_chosen_layers(checkpoint, self.settings.model)
        return checkpoint

    @cached_property
    def ladder(self) -> Ladder:
        """Any of its ladders, to measure speed with."""
        checkpoint = self.checkpoint
        return checkpoint.ladder or next(iter(checkpoint.ladders.values()), checkpoint.plans())

    @property
    def widths(self) -> list[float]:
        """Every width that any of its plans uses."""
        return sorted({width for ladder in (self.ladder, *self.checkpoint.ladders.values()) for width in ladder.widths})

    @cached_property
    def engine(self) -> Engine:
        """The engine over it."""
        with self._lock:
            return self.__dict__.get("engine") or self._make_engine()

    def _make_engine(self) -> Engine:
        from elasticranker.model.engine import Engine

        settings, shape = self.settings, self.checkpoint.encoder.shape
        device = choose_device(settings.device)
        longest = shape.positions - shape.position_offset
        if settings.max_length is not None and settings.max_length > longest:
            raise ValueError(f"max_length={settings.max_length}: the model has positions for {longest} tokens")
        max_length, max_query_length = settings.max_length, settings.max_query_length
        if max_length is None:  # a limit of the checkpoint's own, which nobody set beside `max_query_length`
            max_length = self.checkpoint.longest
            around = self.checkpoint.pairs(max_length=max_length, max_query_length=1).extra
            max_query_length = min(max_query_length, max_length - around)
        pairs = self.checkpoint.pairs(max_length=max_length, max_query_length=max_query_length)
        return Engine(
            self.checkpoint.encoder.to(device),
            pairs,
            self.checkpoint.cost,
            dtype=choose_dtype(settings.dtype, device),
            device=device,
            batch_size=settings.batch_size,
            weights=self._weights,
            calibration=self.checkpoint.calibration,
        )

    @cached_property
    def speed(self) -> SpeedProfile:
        """What this machine does, measured when it is first asked for (a few seconds)."""
        from elasticranker.model.speed import measure_speed

        with self._lock:
            return self.__dict__.get("speed") or measure_speed(self.engine, self.ladder)
