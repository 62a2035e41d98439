"""What exports have in common: what they refuse, layers as a graph holds them, and the graph's file."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from elasticranker.extras import missing
from elasticranker.files import writable_folder
from elasticranker.model.checkpoint import Checkpoint
from elasticranker.model.encoder import ElasticLayer, Weights
from elasticranker.model.hub import MANIFEST
from elasticranker.planning.plan import SubNet

OPSET = 18  # ONNX Runtime 1.14 (2023) and later; what torch's exporter writes without conversion
GRAPH = "model.onnx"


def refuse_absent(checkpoint: Checkpoint, subnet: SubNet, folder: str | Path) -> None:
    """Raise a ValueError for sub-networks that aren't there, and folders that an export would damage."""
    if subnet.depth not in checkpoint.encoder.depths:
        depths = ", ".join(map(str, checkpoint.encoder.depths))
        raise ValueError(f"depth={subnet.depth}: the checkpoint has exits after layers {depths}")
    if subnet not in checkpoint.subnets:
        widths = ", ".join(f"{s.width:g}" for s in reversed(checkpoint.subnets) if s.depth == subnet.depth)
        raise ValueError(f"width={subnet.width:g}: at depth {subnet.depth} the checkpoint has width {widths}")
    if (Path(folder) / MANIFEST).exists():
        raise ValueError(f"{folder} holds an elastic checkpoint, which an export would overwrite: name another folder")


def save_tokenizer(checkpoint: Checkpoint, folder: Path) -> None:
    """The tokenizer's files, with the length at which the checkpoint cuts as the one at which others do."""
    tokenizer = copy.deepcopy(checkpoint.tokenizer)
    if checkpoint.max_length is not None:
        tokenizer.model_max_length = checkpoint.max_length
    tokenizer.save_pretrained(folder)


class Layers(nn.Module):
    """Some layers at one width, as parameters that a graph holds once each.

    Args:
        layers: in the order in which they run.
        width: share of heads and neurons.
    """

    def __init__(self, layers: Sequence[ElasticLayer], width: float) -> None:
        super().__init__()
        self.cut = {id(layer): layer.cut(width, torch.float32) for layer in layers}  # each of the shared ones once
        self.order = [list(self.cut).index(id(layer)) for layer in layers]
        self.layers = nn.ModuleList(
            nn.ParameterDict({name: nn.Parameter(tensor.contiguous()) for name, tensor in layer.tensors().items()})
            for layer in self.cut.values()
        )

    def forward(self) -> list[Weights]:
        """What `Encoder.run_layers` takes."""
        layers = [cast(nn.ParameterDict, layer) for layer in self.layers]
        made = [replace(cut, **dict(layer.items())) for cut, layer in zip(self.cut.values(), layers, strict=True)]
        return [made[which] for which in self.order]


def write_graph(
    module: nn.Module,
    checkpoint: Checkpoint,
    folder: str | Path,
    *,
    example: Mapping[str, Tensor],
    output: str,
    longest: int,
    config: Any,
) -> Path:
    """Write a module as an ONNX graph, with a configuration and the tokenizer's files beside it.

    Args:
        module: takes int64 tensors `[batch, tokens]` and gives one tensor.
        checkpoint: whose tokenizer it reads with.
        folder: where to write; made if need be.
        example: an input by its name; two rows, since the exporter would take a batch of one for a constant.
        output: name of what it gives.
        longest: most tokens.
        config: a Hugging Face configuration.

    Returns:
        The folder.

    Raises:
        ImportError: the packages of the extra `onnx` aren't installed.
    """
    try:
        import onnxscript  # noqa: F401 (what torch.onnx writes graphs with)
        from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    except ImportError as error:
        raise missing("ONNX export", "onnx", error) from error
    folder = writable_folder(folder)
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens", max=longest)
    with torch.no_grad(), _quiet_exporter():
        program: Any = torch.onnx.export(
            module.eval(),
            tuple(example.values()),
            input_names=list(example),
            output_names=[output],
            dynamic_shapes=tuple({0: batch, 1: tokens} for _ in example),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    ClearMetadataAndDocStringPass()(program.model)  # it holds this machine's paths
    program.save(folder / GRAPH)
    config.save_pretrained(folder)
    save_tokenizer(checkpoint, folder)
    # transformers 5 leaves this file out, and runtimes that do without transformers (FlashRank) read it.
    special = json.dumps(checkpoint.tokenizer.special_tokens_map, indent=2)
    (folder / "special_tokens_map.json").write_text(special, encoding="utf-8")
    return folder


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Without the exporter's remarks about its own insides."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
