"""Exporting one sub-network of a checkpoint to other programs.

`export_hugging_face` writes an ordinary cross-encoder: choose it for exits with a `cls` readout, wherever PyTorch runs.
`export_onnx` writes a graph: choose it for every other sub-network, and for runtimes without PyTorch.
"""

from __future__ import annotations

import copy
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from elasticranker.extras import missing
from elasticranker.files import writable_folder
from elasticranker.model.checkpoint import Checkpoint
from elasticranker.model.encoder import blank_after, padding_mask
from elasticranker.model.hub import MANIFEST
from elasticranker.model.huggingface import classifier_config, quiet, to_hugging_face
from elasticranker.model.pairs import PairEncoder, Template
from elasticranker.model.readout import Segments, segments
from elasticranker.planning.plan import SubNet

OPSET = 18  # ONNX Runtime 1.14 (2023) and later; what torch's exporter writes without conversion
GRAPH = "model.onnx"


def export_hugging_face(checkpoint: Checkpoint, folder: str | Path, *, depth: int) -> Path:
    """Write the first `depth` layers at full width and that exit's head as a plain Hugging Face cross-encoder.

    `AutoModelForSequenceClassification` and sentence-transformers' `CrossEncoder` load it and give the exit's logits
    (with two labels, ours is their difference).

    Args:
        checkpoint: the checkpoint.
        folder: where to write; made if need be.
        depth: of an exit with a `cls` readout.

    Returns:
        The folder.

    Raises:
        ValueError: there is no such exit, a Hugging Face head cannot express its readout, the checkpoint has a prompt,
            or `folder` holds an elastic checkpoint.

    Example:
        >>> export_hugging_face(load("my-checkpoint"), "plain", depth=6)  # doctest: +SKIP
    """
    _check(checkpoint, SubNet(depth), folder)
    model = to_hugging_face(checkpoint.encoder, checkpoint.config, depth)
    folder = writable_folder(folder)
    _save_tokenizer(checkpoint, folder)
    with quiet():
        model.save_pretrained(folder)
    return folder


def export_onnx(checkpoint: Checkpoint, folder: str | Path, *, depth: int, width: float = 1.0) -> Path:
    """Write any sub-network as an ONNX graph, with the tokenizer's files and a configuration beside it.

    Inputs, int64 `[batch, tokens]`, as the tokenizer lays right-padded pairs out: `input_ids`, `attention_mask` and,
    where the tokenizer gives them, `token_type_ids`. Output: `logits`, float32 `[batch, 1]`, the sub-network's scores.
    Batch and length are free.

    Args:
        checkpoint: the checkpoint.
        folder: where to write; made if need be.
        depth: of an exit.
        width: one of the checkpoint's.

    Returns:
        The folder.

    Raises:
        ImportError: the packages of the extra `onnx` aren't installed.
        ValueError: there is no such sub-network, the checkpoint has a prompt, or `folder` holds an elastic checkpoint.

    Example:
        >>> export_onnx(load("default"), "small", depth=3, width=0.5)  # doctest: +SKIP
    """
    subnet = SubNet(depth, width)
    _check(checkpoint, subnet, folder)
    try:
        import onnxscript  # noqa: F401 (what torch.onnx writes graphs with)
        from onnx_ir.passes.common import ClearMetadataAndDocStringPass
    except ImportError as error:
        raise missing("ONNX export", "onnx", error) from error
    folder = writable_folder(folder)
    longest = checkpoint.encoder.shape.positions - checkpoint.encoder.shape.position_offset
    template = PairEncoder(checkpoint.tokenizer, max_length=longest, max_query_length=1).template
    scorer = SubNetScorer(checkpoint, subnet, template).eval()
    # Two pairs, not one: the exporter would take a batch of one for a constant.
    example = checkpoint.tokenizer(["a", "b c"], ["d e f", "g"], padding=True, return_tensors="pt")
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in example]
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tokens", max=longest)
    with torch.no_grad(), _quiet_exporter():
        program: Any = torch.onnx.export(
            scorer,
            tuple(example[name] for name in names),
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=tuple({0: batch, 1: tokens} for _ in names),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    ClearMetadataAndDocStringPass()(program.model)  # it holds this machine's paths
    program.save(folder / GRAPH)
    config = classifier_config(checkpoint.config, depth=depth, labels=1)
    config.elasticranker = {"depth": depth, "width": width, "readout": scorer.readout.kind}
    config.save_pretrained(folder)
    _save_tokenizer(checkpoint, folder)
    # transformers 5 leaves this file out, and runtimes that do without transformers (FlashRank) read it.
    special = json.dumps(checkpoint.tokenizer.special_tokens_map, indent=2)
    (folder / "special_tokens_map.json").write_text(special, encoding="utf-8")
    return folder


class SubNetScorer(nn.Module):
    """A sub-network from what a tokenizer gives to scores: the function that becomes a graph."""

    def __init__(self, checkpoint: Checkpoint, subnet: SubNet, template: Template) -> None:
        super().__init__()
        encoder = checkpoint.encoder
        self.template = template
        self.embeddings = encoder.embeddings
        self.final = encoder.final
        self.readout = encoder.exits[str(subnet.depth)]
        self.run_layers = encoder.run_layers
        cut = encoder.weights(subnet.width, torch.float32)[: subnet.depth]
        self.cut = {id(layer): layer for layer in cut}  # each of the shared ones once
        self.order = [list(self.cut).index(id(layer)) for layer in cut]
        self.layers = nn.ModuleList(
            nn.ParameterDict({name: nn.Parameter(tensor.contiguous()) for name, tensor in layer.tensors().items()})
            for layer in self.cut.values()
        )

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
        """Scores `[B, 1]` of right-padded pairs `[B, T]`: token ids, attention mask and token types."""
        lengths = mask.sum(1)
        where = self.segments(ids, mask, types)
        hidden = self.embeddings(ids, torch.zeros_like(ids) if types is None else types, torch.float32)
        layers = [cast(nn.ParameterDict, layer) for layer in self.layers]
        made = [replace(cut, **dict(layer.items())) for cut, layer in zip(self.cut.values(), layers, strict=True)]
        weights = [made[which] for which in self.order]
        hidden = self.run_layers(hidden, weights, padding_mask(blank_after(lengths, ids.shape[1]), torch.float32))
        return self.readout(hidden if self.final is None else self.final(hidden), where)[:, None]

    def segments(self, ids: Tensor, mask: Tensor, types: Tensor | None) -> Segments:
        """Where the texts stand: by token types, which differ, or else by the first separators between them."""
        shape, tokens = self.template, ids.shape[1]
        start, between = len(shape.before), len(shape.between)
        if types is not None and shape.first_type != shape.second_type:
            query_ends = (mask * (types == shape.first_type)).sum(1) - between
        else:
            position = torch.arange(tokens - between + 1, device=ids.device)
            found = position >= start
            for offset, separator in enumerate(shape.between):
                found = found & (ids[:, offset : tokens - between + 1 + offset] == separator)
            query_ends = torch.where(found, position, tokens).amin(1)
        after = len(shape.after)
        return segments(start, query_ends, query_ends + between, mask.sum(1) - after, tokens, tokens, after)


def _check(checkpoint: Checkpoint, subnet: SubNet, folder: str | Path) -> None:
    """Refuse sub-networks that aren't there, prompts that would be lost, and folders that an export would damage."""
    if checkpoint.prompt:
        raise ValueError(
            f"the checkpoint puts the prompt {checkpoint.prompt!r} before queries, which a plain model can't: put it "
            "there yourself, and clear `checkpoint.prompt` to export"
        )
    if subnet.depth not in checkpoint.encoder.depths:
        depths = ", ".join(map(str, checkpoint.encoder.depths))
        raise ValueError(f"depth={subnet.depth}: the checkpoint has exits after layers {depths}")
    if subnet not in checkpoint.subnets:
        widths = ", ".join(f"{s.width:g}" for s in reversed(checkpoint.subnets) if s.depth == subnet.depth)
        raise ValueError(f"width={subnet.width:g}: at depth {subnet.depth} the checkpoint has width {widths}")
    if checkpoint.encoder.shape.split:
        raise ValueError(
            "this checkpoint reads query and document side by side, each with positions of its own, which no tokenizer "
            "of another program lays out: it can't be exported"
        )
    if (Path(folder) / MANIFEST).exists():
        raise ValueError(f"{folder} holds an elastic checkpoint, which an export would overwrite: name another folder")


def _save_tokenizer(checkpoint: Checkpoint, folder: Path) -> None:
    """The tokenizer's files, with the length at which the checkpoint cuts pairs as the one at which others do."""
    tokenizer = copy.deepcopy(checkpoint.tokenizer)
    if checkpoint.max_length is not None:
        tokenizer.model_max_length = checkpoint.max_length
    tokenizer.save_pretrained(folder)


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
