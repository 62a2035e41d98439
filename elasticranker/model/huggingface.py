"""Cutting an encoder out of a Hugging Face checkpoint, and writing one back.

BERT, ELECTRA and the RoBERTa family (RoBERTa, XLM-R, CamemBERT) name their tensors alike, so one table serves all
three; what differs is the embedding projection (ELECTRA), the position offset (RoBERTa) and the head.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from elasticranker.model.configuration import family_of, read_config, shape_of
from elasticranker.model.encoder import Encoder, Shape
from elasticranker.model.hub import resolve
from elasticranker.model.readout import ClsReadout, InteractionReadout, SplitReadout
from elasticranker.model.weights import refuse_other_weights, tensor_names

_EMBEDDINGS = {
    "token": "embeddings.word_embeddings.weight",
    "position": "embeddings.position_embeddings.weight",
    "segment": "embeddings.token_type_embeddings.weight",
    "norm": "embeddings.LayerNorm.weight",
    "norm_bias": "embeddings.LayerNorm.bias",
    "projection": "embeddings_project.weight",
    "projection_bias": "embeddings_project.bias",
}
_LAYER = {
    "out": "attention.output.dense.weight",
    "out_bias": "attention.output.dense.bias",
    "norm1": "attention.output.LayerNorm.weight",
    "norm1_bias": "attention.output.LayerNorm.bias",
    "up": "intermediate.dense.weight",
    "up_bias": "intermediate.dense.bias",
    "down": "output.dense.weight",
    "down_bias": "output.dense.bias",
    "norm2": "output.LayerNorm.weight",
    "norm2_bias": "output.LayerNorm.bias",
}
_HEADS = {  # family: (dense layer, its activation, last layer)
    "bert": ("pooler.dense", "tanh", "classifier"),
    "electra": ("classifier.dense", "gelu", "classifier.out_proj"),
    "roberta": ("classifier.dense", "tanh", "classifier.out_proj"),
}
# What a file may have too much must not be part of what we read; buffers of old versions of transformers apart.
_READ = re.compile(r"(^|\.)(embeddings|embeddings_project|encoder|classifier)\.(?!(position_ids|token_type_ids)$)")


def has_head(source: str | Path) -> bool:
    """Is it a cross-encoder: has it a ranking head, or says that it should?"""
    config = read_config(source)
    return _classifies(config) or f"{_HEADS[family_of(config)][2]}.weight" in tensor_names(resolve(source))


def _classifies(config: Any) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or [])


def from_hugging_face(
    source: str | Path, *, keep_head: bool = True, split: bool = False, first_cross: int = 0
) -> tuple[Encoder, Any]:
    """Encoder with the weights of a Hugging Face checkpoint: every tensor is the checkpoint's.

    Args:
        source: a local folder or an id on the Hugging Face hub.
        keep_head: take a cross-encoder, whose head becomes the readout after its last layer; depth 0 gets the
            training-free similarity of embedding-layer states. Without it, take any encoder, leave a head aside, and
            put untrained readouts after every layer: a start for training.
        split: lay pairs out text by text, with attention between them hardly open (see `elasticranker.model.encoder`):
            a start for training that ranks as the backbone does as a bi-encoder.
        first_cross: the first layer (from 0) in which they see each other, in split layout.

    Returns:
        The encoder (float32, evaluation mode) and the Hugging Face configuration.

    Raises:
        ValueError: the model isn't supported, or the weights aren't whole; what is missing is named.
    """
    config = read_config(source)
    shape = shape_of(config)
    if keep_head and not _classifies(config):
        config.num_labels = 1  # as sentence-transformers takes it
    model = _load(source, config, keep_head=keep_head)
    if keep_head:
        readouts = {0: InteractionReadout(shape.hidden), shape.layers: _head(model, family_of(config), shape)}
    else:
        kind_of_readout = split_readout if split else interaction_readout
        readouts = {depth: kind_of_readout(shape, depth) for depth in range(shape.layers + 1)}
        shape = replace(shape, split=split, first_cross=first_cross)
    encoder = Encoder(shape, readouts)
    with torch.no_grad():
        for ours, theirs in body_tensors(encoder, model.base_model.state_dict()):
            ours.copy_(theirs.view_as(ours))
    return encoder.eval(), config


def interaction_readout(shape: Shape, depth: int) -> InteractionReadout:
    """An untrained readout of joint pairs."""
    return InteractionReadout(shape.hidden)


def split_readout(shape: Shape, depth: int) -> SplitReadout:
    """An untrained readout of split pairs after `depth` layers; at full depth the backbone's own vectors count."""
    readout = SplitReadout(shape.hidden, projected=depth < shape.layers)
    readout.start(depth / shape.layers)
    return readout


def _load(source: str | Path, config: Any, *, keep_head: bool) -> Any:
    """The Hugging Face model, whose tensors all come from the checkpoint; a bare encoder's pooler isn't read."""
    from safetensors import SafetensorError
    from transformers import AutoModel, AutoModelForSequenceClassification

    kind = AutoModelForSequenceClassification if keep_head else AutoModel
    try:
        with quiet():
            model, found = kind.from_pretrained(
                resolve(source),
                config=config,
                dtype=torch.float32,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are named below
            )
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{source} has no weights that can be read: {error}") from error
    missing = {name for name in found["missing_keys"] if keep_head or not name.startswith("pooler.")}
    unexpected = {name for name in found["unexpected_keys"] if _READ.search(name)}
    last = f"{_HEADS[family_of(config)][2]}.weight"
    if keep_head and last in missing and all(re.search(r"(^classifier|(^|\.)pooler)\.", name) for name in missing):
        raise ValueError(
            f"{source} is an encoder without a ranking head (it lacks {', '.join(sorted(missing))}): name a "
            "cross-encoder, or train it with `elasticranker train`"
        )
    refuse_other_weights(
        source,
        missing=missing,
        unexpected={name for name in unexpected if keep_head or not name.startswith("classifier.")},
        mismatched={
            name: f"{tuple(there)} in the file, {tuple(here)} by config.json"
            for name, there, here in found["mismatched_keys"]
        },
        remedy="get the checkpoint again, or save it with save_pretrained of the model that config.json names",
    )
    return model


def to_hugging_face(encoder: Encoder, config: Any, depth: int) -> Any:
    """A Hugging Face cross-encoder of an encoder's first `depth` layers at full width, with that exit's head.

    Args:
        encoder: the elastic encoder.
        config: the backbone's Hugging Face configuration.
        depth: of an exit with a `cls` readout.

    Returns:
        A `...ForSequenceClassification` (float32, evaluation mode) with the logits of `ClsReadout.logits`.

    Raises:
        ValueError: the exit's readout is not one that the family's head can express.
    """
    from transformers import AutoModelForSequenceClassification

    readout, family = encoder.exits[str(depth)], family_of(config)
    if not isinstance(readout, ClsReadout):
        raise ValueError(
            f"the exit after layer {depth} has an {readout.kind} readout, which no Hugging Face head can express: "
            "export it with --onnx (`export_onnx`)"
        )
    readout = _with_dense(readout, family)
    config = classifier_config(config, depth=depth, labels=readout.head.shape[0])
    model = AutoModelForSequenceClassification.from_config(config).float()  # made in the configuration's own dtype
    with torch.no_grad():
        for ours, theirs in body_tensors(encoder, model.base_model.state_dict(), depth):
            theirs.copy_(ours.reshape(theirs.shape))
        for ours, theirs in _head_tensors(readout, model, family):
            theirs.copy_(ours)
    return model.eval()


def classifier_config(config: Any, *, depth: int, labels: int) -> Any:
    """A copy of a backbone's configuration for a cross-encoder with `depth` layers and `labels` logits.

    sentence-transformers would put a sigmoid on a single logit; the entry for it keeps scores as they are.
    """
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING as CLASSIFIERS

    config = copy.deepcopy(config)
    config.num_hidden_layers = depth
    if config.num_labels != labels:
        config.num_labels = labels
    classifier: Any = CLASSIFIERS[type(config)]
    config.architectures = [classifier.__name__]
    config.dtype = "float32"
    config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity"}
    return config


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' bars and reports: what it would warn of (a head that is missing) is expected here."""
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _head(model: Any, family: str, shape: Shape) -> ClsReadout:
    readout = ClsReadout(shape.hidden, model.config.num_labels, pooler=_HEADS[family][1])
    with torch.no_grad():
        for ours, theirs in _head_tensors(readout, model, family):
            ours.copy_(theirs)
    return readout


@torch.no_grad()
def _with_dense(readout: ClsReadout, family: str) -> ClsReadout:
    """The same function with the dense layer and the activation that the family's head has."""
    activation = _HEADS[family][1]
    if readout.pooler == activation:
        return readout
    if readout.pooler is not None or activation != "gelu":
        had = f"a {readout.pooler} layer" if readout.pooler else "no layer between [CLS] and its logits"
        raise ValueError(
            f"this exit has {had}, but the head of every Hugging Face model of the {family} family has a {activation} "
            "layer there, which cannot express it exactly: export it with --onnx (`export_onnx`)"
        )
    labels, hidden = readout.head.shape
    made = ClsReadout(hidden, labels, pooler=activation)
    one = torch.eye(labels)
    for tensor in (made.dense, made.dense_bias, made.head):
        tensor.zero_()
    # gelu(z) - gelu(-z) = z, so two neurons carry a logit through.
    made.dense[: 2 * labels] = torch.cat([readout.head, -readout.head])
    made.head[:, : 2 * labels] = torch.cat([one, -one], dim=1)
    made.head_bias.copy_(readout.head_bias)
    return made


def _head_tensors(readout: ClsReadout, model: Any, family: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Every tensor of a head: ours, and the Hugging Face model's (sharing its memory)."""
    dense, _, last = _HEADS[family]
    prefix = f"{model.base_model_prefix}." if dense.startswith("pooler") else ""
    state = model.state_dict()
    yield readout.dense, state[f"{prefix}{dense}.weight"]
    yield readout.dense_bias, state[f"{prefix}{dense}.bias"]
    yield readout.head, state[f"{last}.weight"]
    yield readout.head_bias, state[f"{last}.bias"]


def body_tensors(
    encoder: Encoder, state: dict[str, Tensor], depth: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Every tensor of the embeddings and the first `depth` layers (default: all): ours by head, and Hugging Face's."""
    for ours, theirs in _EMBEDDINGS.items():
        if hasattr(encoder.embeddings, ours):
            yield getattr(encoder.embeddings, ours), state[theirs]
    for index in range(encoder.shape.layers if depth is None else depth):
        layer = encoder.layer(index)
        prefix = f"encoder.layer.{index}."
        for part, name in enumerate(("query", "key", "value")):
            yield layer.qkv[part], state[f"{prefix}attention.self.{name}.weight"]
            yield layer.qkv_bias[part], state[f"{prefix}attention.self.{name}.bias"]
        for ours, theirs in _LAYER.items():
            yield getattr(layer, ours), state[prefix + theirs]
