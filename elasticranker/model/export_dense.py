"""Exporting how a checkpoint in split layout reads one text alone, to programs that search by vectors.

`export_sentence_transformer` writes an ordinary bi-encoder: choose it wherever PyTorch runs. `export_vectors_onnx`
writes a graph: choose it for narrower widths, and for runtimes without PyTorch. What scores pairs in split layout no
other program lays out; for checkpoints in joint layout see `elasticranker.model.export`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from elasticranker.files import writable_folder, write_json, write_tensors
from elasticranker.model.checkpoint import Checkpoint
from elasticranker.model.configuration import family_of
from elasticranker.model.encoder import ElasticLayer, Encoder, blank_after, padding_mask
from elasticranker.model.graph import Layers, refuse_absent, save_tokenizer, write_graph
from elasticranker.model.huggingface import quiet, write_body
from elasticranker.model.own_layers import own_layers
from elasticranker.model.readout import SplitReadout
from elasticranker.planning.plan import SubNet

ONE_TEXT = "sentence_transformers.models."  # names that every version of the library reads


def plain_encoder(encoder: Encoder, config: Any, layers: Sequence[ElasticLayer] | None = None) -> Any:
    """A Hugging Face encoder (float32, evaluation mode; no head) of an encoder's body at full width.

    Args:
        encoder: whose weights; a reordered one computes what it did before.
        config: the backbone's Hugging Face configuration.
        layers: of the encoder, or in place of its own; by default all that it has.
    """
    from transformers import AutoModel

    family, config, count = family_of(config), copy.deepcopy(config), encoder.shape.layers
    if layers is not None:
        encoder, count = copy.deepcopy(encoder), len(layers)
        encoder.layers = nn.ModuleList(layers)
        family.cut(config, count)
    model = AutoModel.from_config(config).float()  # made in the configuration's own dtype
    with torch.no_grad():
        write_body(encoder, model.state_dict(), family, count)
    return model.eval()


def export_sentence_transformer(checkpoint: Checkpoint, folder: str | Path, *, depth: int) -> Path:
    """Write the sub-network of `depth` layers at full width as a bi-encoder of sentence-transformers.

    Its vectors are those of `ElasticDenser` with that sub-network: of every depth in one space, so that queries read by
    a shallow export search an index that a deep one made. The prefixes are its prompts `query` and `document`.

    Args:
        checkpoint: in split layout.
        folder: where to write; made if need be.
        depth: of an exit.

    Returns:
        The folder.

    Raises:
        ValueError: there is no such exit, it makes no vectors, or `folder` holds an elastic checkpoint.

    Example:
        >>> export_sentence_transformer(load("my-split"), "queries", depth=6)  # doctest: +SKIP
        >>> SentenceTransformer("queries").encode_query("what is diffusion")  # doctest: +SKIP
    """
    readout = _readout(checkpoint, SubNet(depth), folder)
    encoder = checkpoint.encoder
    layers = own_layers(encoder, readout, checkpoint.dense.kept(depth, encoder.shape.layers))
    model = plain_encoder(encoder, checkpoint.config, layers)
    folder, hidden = writable_folder(folder), encoder.shape.hidden
    with quiet():
        model.save_pretrained(folder)
    save_tokenizer(checkpoint, folder)
    steps = ["Transformer", "Pooling", *(["Dense"] if readout.projected else []), "Normalize"]
    places = ["" if place == 0 else f"{place}_{step}" for place, step in enumerate(steps)]
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": ONE_TEXT + step}
        for place, (path, step) in enumerate(zip(places, steps, strict=True))
    ]
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": checkpoint.longest, "do_lower_case": False})
    saved = {"prompts": _prompts(checkpoint), "similarity_fn_name": "cosine"}
    write_json(folder / "config_sentence_transformers.json", saved)
    pooling = writable_folder(folder / places[1])
    write_json(pooling / "config.json", {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True})
    if readout.projected:
        dense = writable_folder(folder / places[2])
        linear = {"in_features": hidden, "out_features": hidden, "bias": False}
        write_json(dense / "config.json", linear | {"activation_function": "torch.nn.modules.linear.Identity"})
        write_tensors(dense / "model.safetensors", {"linear.weight": readout.projection})
    return folder


def export_vectors_onnx(checkpoint: Checkpoint, folder: str | Path, *, depth: int, width: float = 1.0) -> Path:
    """Write any sub-network as an ONNX graph from texts to vectors, with the tokenizer's files beside it.

    Inputs, int64 `[batch, tokens]`, of right-padded texts with their prefixes: `input_ids`, `attention_mask`. Output:
    `vectors`, float32 `[batch, H]`, of length 1. Batch and length are free; `config.json` names the prefixes.

    Args:
        checkpoint: in split layout.
        folder: where to write; made if need be.
        depth: of an exit.
        width: one of the checkpoint's.

    Returns:
        The folder.

    Raises:
        ImportError: the packages of the extra `onnx` aren't installed.
        ValueError: there is no such sub-network, it makes no vectors, or `folder` holds an elastic checkpoint.

    Example:
        >>> export_vectors_onnx(load("my-split"), "small", depth=3, width=0.5)  # doctest: +SKIP
    """
    subnet = SubNet(depth, width)
    _readout(checkpoint, subnet, folder)
    config = copy.deepcopy(checkpoint.config)
    family_of(config).cut(config, depth)
    config.elasticranker = {"depth": depth, "width": width, "prefixes": _prompts(checkpoint)}
    texts = checkpoint.tokenizer(["a", "b c"], padding=True, return_tensors="pt")
    example = {name: texts[name] for name in ("input_ids", "attention_mask")}
    return write_graph(
        SubNetVectors(checkpoint, subnet),
        checkpoint,
        folder,
        example=example,
        output="vectors",
        longest=checkpoint.longest,
        config=config,
    )


class SubNetVectors(nn.Module):
    """A sub-network from what a tokenizer gives to vectors: the function that becomes a graph."""

    def __init__(self, checkpoint: Checkpoint, subnet: SubNet) -> None:
        super().__init__()
        encoder = checkpoint.encoder
        self.embeddings, self.run_layers = encoder.embeddings, encoder.run_layers
        self.readout = cast(SplitReadout, encoder.exits[str(subnet.depth)])
        kept = checkpoint.dense.kept(subnet.depth, encoder.shape.layers)
        self.layers = Layers(own_layers(encoder, self.readout, kept), subnet.width)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors `[B, H]` of right-padded texts `[B, T]`: token ids and attention mask."""
        blank = blank_after(mask.sum(1), ids.shape[1])
        hidden = self.embeddings(ids, torch.zeros_like(ids), torch.float32)
        hidden = self.run_layers(hidden, self.layers(), padding_mask(blank, torch.float32))
        return self.readout.pooled(hidden, ~blank[:, None])[:, 0]


def _prompts(checkpoint: Checkpoint) -> dict[str, str]:
    """What is put before a text, by its kind."""
    return dict(zip(("query", "document"), checkpoint.prefixes, strict=True))


def _readout(checkpoint: Checkpoint, subnet: SubNet, folder: str | Path) -> SplitReadout:
    refuse_absent(checkpoint, subnet, folder)
    readout = checkpoint.encoder.exits[str(subnet.depth)]
    if not isinstance(readout, SplitReadout):
        raise ValueError(
            f"the exit after layer {subnet.depth} makes no vectors of single texts: it scores pairs, and is exported "
            "by `elasticranker.model.export`"
        )
    return readout
