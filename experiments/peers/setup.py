"""What every system is made from: one checkpoint, its exports, and the threads that all may use."""

from __future__ import annotations

import dataclasses
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from elasticranker.planning.plan import Floats

if TYPE_CHECKING:
    from elasticranker.model.checkpoint import Checkpoint
    from elasticranker.ranker import ElasticRanker

Pairs = list[tuple[str, str]]
Scorer = Callable[[Pairs, int], Floats]  # pairs of query and text, and pairs a batch, to a score a pair
INT8 = "int8.onnx"


class Unavailable(Exception):
    """A system that cannot run here, and why."""


@dataclass(frozen=True)
class Setup:
    """Plain values, so that another process can be told.

    Attributes:
        model: the elastic checkpoint (or cross-encoder) that all systems run.
        exports: a folder of this bench's own, for the weights in other forms; each is written when it is first needed.
        threads: that every system computes with.
        max_length: most tokens of a pair.
        dtype: of our rows that aren't float32.
        batch_size: our padded tokens of a batch.
        device: where ours and sentence-transformers run; the others know the processor only.
        max_query_length: most tokens of a query.

    Example:
        >>> Setup("default", "exports", threads=2, max_length=256).ranker("25%")  # doctest: +SKIP
        ElasticRanker('default', budget='25%')
    """

    model: str
    exports: str
    threads: int
    max_length: int
    dtype: str = "auto"
    batch_size: int = 4096
    device: str | None = None
    max_query_length: int = 64

    def ranker(self, budget: str = "full", dtype: str | None = None) -> ElasticRanker:
        """Our ranker at one budget; `dtype` defaults to this setup's."""
        from elasticranker.ranker import ElasticRanker

        return ElasticRanker(
            self.model,
            budget=budget,
            dtype=dtype or self.dtype,
            max_length=self.max_length,
            max_query_length=self.max_query_length,
            device=self.device,
            trace=True,
            batch_size=self.batch_size,
        )

    def checkpoint(self) -> Checkpoint:
        """The checkpoint on the processor, told to cut pairs where this bench cuts them."""
        from elasticranker.model.checkpoint import load

        return dataclasses.replace(load(self.model), max_length=self.max_length)

    @property
    def split(self) -> bool:
        """Is the checkpoint in split layout, which other runtimes know as a bi-encoder alone?"""
        from elasticranker.model.hub import MANIFEST, resolve
        from elasticranker.model.manifest import read_manifest

        folder = Path(resolve(self.model))
        return (folder / MANIFEST).exists() and bool(read_manifest(folder)["shape"].get("split"))

    @property
    def on_processor(self) -> bool:
        """Does it run where the processor-only runtimes run?"""
        from elasticranker.model.loaded import choose_device

        return choose_device(self.device).type == "cpu"


def graph_folder(setup: Setup) -> Path:
    """The full model as an ONNX graph with its tokenizer, written once: of pairs, or of texts in split layout.

    Raises:
        ImportError: the packages of the extra `onnx` aren't installed.
    """
    from elasticranker.model.export import export_onnx
    from elasticranker.model.export_dense import export_vectors_onnx
    from elasticranker.model.graph import GRAPH

    folder = Path(setup.exports) / "onnx"
    if not (folder / GRAPH).exists():
        checkpoint = setup.checkpoint()
        write = export_vectors_onnx if checkpoint.encoder.shape.split else export_onnx
        write(checkpoint, folder, depth=checkpoint.encoder.shape.layers)
    return folder


def int8_graph(setup: Setup) -> Path:
    """The same graph with weights in int8 and activations quantised as they come (ONNX Runtime's dynamic int8)."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    folder = graph_folder(setup)
    if not (folder / INT8).exists():
        model = onnx.load(folder / "model.onnx")
        # Shapes inferred for float tensors; the quantiser trusts them for the tensors that it puts in their place.
        del model.graph.value_info[:]
        plain = folder / "without-shapes.onnx"
        onnx.save(model, plain)
        logging.disable(logging.WARNING)  # advice about a preprocessing that this graph doesn't need
        try:
            # Without VNNI a processor adds products of 8 bits in 16, which overflow; weights of 7 bits don't.
            quantize_dynamic(
                plain, folder / INT8, weight_type=QuantType.QInt8, per_channel=True, reduce_range=not _has_vnni()
            )
        finally:
            logging.disable(logging.NOTSET)
            plain.unlink()
    return folder / INT8


def _has_vnni() -> bool:
    """Does the processor multiply 8-bit numbers into 32-bit sums?"""
    import torch

    return bool(torch.cpu._is_vnni_supported())


def linked(source: Path, target: Path) -> None:
    """The file under another name, without a second copy where the disk allows."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
