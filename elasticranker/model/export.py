"""Exporting one sub-network of a checkpoint to other programs.

`export_hugging_face` writes an ordinary cross-encoder: choose it for exits with a `cls` readout, wherever PyTorch runs.
`export_onnx` writes a graph: choose it for every other sub-network, and for runtimes without PyTorch. Checkpoints in
split layout export what makes vectors of single texts: see `elasticranker.model.export_dense`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from elasticranker.files import writable_folder
from elasticranker.model.checkpoint import Checkpoint
from elasticranker.model.encoder import blank_after, padding_mask
from elasticranker.model.graph import Layers, refuse_absent, save_tokenizer, write_graph
from elasticranker.model.huggingface import classifier_config, quiet, to_hugging_face
from elasticranker.model.pairs import PairEncoder, Template
from elasticranker.model.readout import Segments, segments
from elasticranker.planning.plan import SubNet


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
    save_tokenizer(checkpoint, folder)
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
    longest = checkpoint.encoder.shape.positions - checkpoint.encoder.shape.position_offset
    template = PairEncoder(checkpoint.tokenizer, max_length=longest, max_query_length=1).template
    scorer = SubNetScorer(checkpoint, subnet, template)
    example = checkpoint.tokenizer(["a", "b c"], ["d e f", "g"], padding=True, return_tensors="pt")
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in example]
    config = classifier_config(checkpoint.config, depth=depth, labels=1)
    config.elasticranker = {"depth": depth, "width": width, "readout": scorer.readout.kind}
    given = {name: example[name] for name in names}
    return write_graph(scorer, checkpoint, folder, example=given, output="logits", longest=longest, config=config)


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
        self.layers = Layers([encoder.layer(index) for index in range(subnet.depth)], subnet.width)

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Tensor:
        """Scores `[B, 1]` of right-padded pairs `[B, T]`: token ids, attention mask and token types."""
        lengths = mask.sum(1)
        where = self.segments(ids, mask, types)
        hidden = self.embeddings(ids, torch.zeros_like(ids) if types is None else types, torch.float32)
        hidden = self.run_layers(hidden, self.layers(), padding_mask(blank_after(lengths, ids.shape[1]), torch.float32))
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
    """Refuse what isn't there, folders that an export would damage, prompts that would be lost, and split layout."""
    refuse_absent(checkpoint, subnet, folder)
    if checkpoint.prompt:
        raise ValueError(
            f"the checkpoint puts the prompt {checkpoint.prompt!r} before queries, which a plain model can't: put it "
            "there yourself, and clear `checkpoint.prompt` to export"
        )
    if checkpoint.encoder.shape.split:
        raise ValueError(
            "this checkpoint reads query and document side by side, each with positions of its own, which no tokenizer "
            "of another program lays out: what scores pairs can't be exported, what makes vectors of single texts can "
            "(`elasticranker.model.export_dense`)"
        )
