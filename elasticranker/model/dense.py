"""Checkpoints that make vectors: elastic ones in split layout, and ordinary bi-encoders with full depth alone."""

from __future__ import annotations

import json
import threading
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elasticranker.files import public_name, sha256
from elasticranker.model.checkpoint import Checkpoint, fingerprint, load
from elasticranker.model.hub import MANIFEST, is_at_hand, resolve
from elasticranker.model.loaded import Settings, choose_device, choose_dtype
from elasticranker.model.manifest import read_manifest
from elasticranker.model.saved import prefixes_of, read_settings, read_tokenizer
from elasticranker.planning.dense import DenseReading
from elasticranker.planning.plan import SubNet
from elasticranker.progress import bar, phase

if TYPE_CHECKING:
    from elasticranker.model.speed import SpeedProfile
    from elasticranker.model.texts import TextEncoder
    from elasticranker.model.vectors import VectorEngine

REMEDY = (
    "name a checkpoint that `elasticranker train --layout split` made of data prepared with --vectors, or a bi-encoder "
    "such as intfloat/e5-small-v2"
)
TIMED_TOKENS, TIMED_RUNS = 12, 15  # of a made-up query


def refuse_unfit(source: str | Path, dim: int | None = None) -> None:
    """Refuse a folder whose settings say that it makes no such vectors. Reads no weights, and asks no network.

    Args:
        source: `"default"`, a folder, or an id on the hub, which is let pass: `load_dense` looks at it.
        dim: leading dimensions that are wanted; None for all.

    Raises:
        ValueError: it names what is missing, and what to do.
    """
    if not is_at_hand(source):
        return
    folder = Path(resolve(source))
    if (folder / MANIFEST).exists():
        manifest = read_manifest(folder)
        _refuse_joint(source, manifest["shape"], manifest["exits"])
        reading = DenseReading.from_json(manifest["dense"]) if manifest.get("dense") else DenseReading()
        hidden = manifest["shape"]["hidden"]
    else:
        from elasticranker.model.configuration import read_config
        from elasticranker.model.huggingface import has_head

        if has_head(folder):
            raise ValueError(f"model={str(source)!r} is a cross-encoder, which makes no vectors: {REMEDY}")
        reading, hidden = DenseReading(), read_config(folder).hidden_size
    refuse_dim(dim, reading, hidden)


def refuse_dim(dim: int | None, reading: DenseReading, hidden: int) -> None:
    """Raise a ValueError for dimensions that vectors weren't trained to be cut to."""
    if dim is not None and dim != hidden and dim not in reading.dims:
        known = ", ".join(map(str, sorted(reading.dims))) or "none below that"
        raise ValueError(
            f"dim={dim}: this checkpoint's vectors have {hidden} dimensions, and were trained to be cut to {known}; "
            "leave dim out"
        )


def _refuse_joint(source: str | Path, shape: dict[str, Any], exits: dict[str, Any]) -> None:
    kinds = {options["readout"] for options in exits.values()}
    if not shape.get("split") or "split" not in kinds:
        raise ValueError(
            f"model={str(source)!r} is in joint layout: it scores pairs and makes no vectors of single texts; {REMEDY}"
        )


def load_dense(source: str | Path, revision: str | None = None) -> Checkpoint:
    """Load a checkpoint in split layout, or an ordinary bi-encoder that pools by the mean.

    Args:
        source: `"default"`, a folder, or an id on the Hugging Face hub.
        revision: branch, tag or commit of an id.

    Raises:
        ValueError: it makes no vectors, or makes them in another way; or see `elasticranker.model.checkpoint.load`.
    """
    folder = Path(resolve(source, revision))
    refuse_unfit(folder)
    if (folder / MANIFEST).exists():
        return load(source, revision)
    with phase(f"loading {public_name(str(source))}"):
        return _load_bi_encoder(folder, str(source))


def _load_bi_encoder(folder: Path, source: str) -> Checkpoint:
    from torch import nn

    from elasticranker.model.huggingface import from_hugging_face

    encoder, config = from_hugging_face(folder, keep_head=False, split=True)
    last = str(encoder.shape.layers)
    encoder.exits = nn.ModuleDict({last: encoder.exits[last]})  # unprojected: the backbone's own vectors
    tokenizer = read_tokenizer(folder, encoder.shape.vocabulary)
    saved = read_settings(folder, tokenizer, kind="SentenceTransformer")
    if saved.pooling != "mean":
        raise ValueError(f"model={source!r} pools by {saved.pooling}: vectors here are the mean of a text's states")
    return Checkpoint(
        encoder.eval(),
        tokenizer,
        config,
        provenance={"source": source},
        max_length=saved.max_length,
        prefixes=prefixes_of(source, saved),
    )


def vectors_fingerprint(source: str | Path, revision: str | None = None) -> str:
    """What identifies a checkpoint's vectors: equal where only ladders, ratings or a calibration were added."""
    folder = Path(resolve(source, revision))
    if not (folder / MANIFEST).exists():
        return fingerprint(folder)
    manifest = read_manifest(folder)
    names = ("files", "shape", "exits", "max_length", "prefixes")
    reading = DenseReading.from_json(manifest["dense"]) if manifest.get("dense") else DenseReading()
    told = {name: manifest.get(name) for name in names}
    if "tokens" in manifest:
        told["tokens"] = manifest["tokens"]
    return sha256(json.dumps(told, sort_keys=True), str(reading.order))


class LoadedDense:
    """Checkpoint and engine of some settings, loaded when first needed. Thread-safe; pickling keeps the settings."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.warned = False  # of texts that are cut: once for all densers that share this
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[type[LoadedDense], tuple[Settings]]:
        return LoadedDense, (self.settings,)

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
        if self.settings.threads is not None:
            import torch

            torch.set_num_threads(self.settings.threads)
        return load_dense(self.settings.model, self.settings.revision)

    @cached_property
    def subnets(self) -> tuple[SubNet, ...]:
        """What may encode a query, from the best to the worst.

        Where training aligned no exit but the last, its vectors alone are in the space of the documents'.
        """
        checkpoint = self.checkpoint
        full = SubNet(checkpoint.encoder.shape.layers)
        aligned = checkpoint.provenance.get("training", {}).get("align_exits", 1.0) > 0
        kinds = {subnet: checkpoint.encoder.exits[str(subnet.depth)].kind for subnet in checkpoint.subnets}
        held = [subnet for subnet, kind in kinds.items() if kind == "split" and (aligned or subnet == full)]
        return checkpoint.dense.preferred(held, full)

    @cached_property
    def engine(self) -> VectorEngine:
        """The engine over it."""
        with self._lock:
            return self.__dict__.get("engine") or self._make_engine()

    def _make_engine(self) -> VectorEngine:
        from elasticranker.model.vectors import VectorEngine

        device = choose_device(self.settings.device)
        return VectorEngine(
            self.checkpoint.encoder.to(device),
            self.checkpoint.dense,
            dtype=choose_dtype(self.settings.dtype, device),
            device=device,
            batch_size=self.settings.batch_size,
        )

    @cached_property
    def queries(self) -> TextEncoder:
        """What tokenises queries."""
        return self._texts(0, self.checkpoint.longest, self.settings.max_query_length)

    @cached_property
    def documents(self) -> TextEncoder:
        """What tokenises documents."""
        shape, longest = self.checkpoint.encoder.shape, self.settings.max_length
        positions = shape.positions - shape.position_offset
        if longest is not None and longest > positions:
            raise ValueError(f"max_length={longest}: the model has positions for {positions} tokens")
        return self._texts(1, longest or self.checkpoint.longest, None)

    def _texts(self, which: int, longest: int, most: int | None) -> TextEncoder:
        from elasticranker.model.texts import TextEncoder

        # Elastic checkpoints were trained with prefixes as tokens of their own, sentence encoders with one text.
        how = "prompt" if "source" in self.checkpoint.provenance else "prefix"
        before: Any = {how: self.checkpoint.prefixes[which]}
        return TextEncoder(self.checkpoint.tokenizer, longest=longest, most=most, **before)

    @cached_property
    def speed(self) -> SpeedProfile:
        """How long one query alone takes here at every full width; measured when first asked for (a second or two)."""
        with self._lock:
            return self.__dict__.get("speed") or self._measure()

    def _measure(self) -> SpeedProfile:
        import time

        import numpy as np

        from elasticranker.model.speed import SpeedProfile
        from elasticranker.model.texts import bucket

        query, cost = " ".join(["a"] * TIMED_TOKENS), self.checkpoint.cost
        wide = sorted(subnet for subnet in self.subnets if subnet.width == 1)
        flops, seconds = [], []
        with bar(name="measuring speed", total=len(wide) * TIMED_RUNS, unit="runs") as moving:
            for subnet in wide:
                times = []
                for _ in range(TIMED_RUNS):
                    started = time.perf_counter()
                    rows = self.queries.tokens([query]).rows
                    self.engine.encode(rows, [subnet], self.queries)
                    times.append(time.perf_counter() - started)
                    moving.update()
                flops.append(float(cost.vector(bucket(rows[0]), subnet.depth, 1.0)))
                seconds.append(float(np.median(times[3:])))
        # A slow moment must not make a larger sub-network look faster than a smaller one.
        rising = np.maximum.accumulate(seconds) + 1e-9 * np.arange(len(seconds))
        return SpeedProfile(tuple(flops), tuple(float(s) for s in rising))
