"""Cutting an encoder out of a Hugging Face checkpoint, and writing one back.

What a family calls its tensors stands in its file (`elasticranker.model.families`).
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
from torch import Tensor, nn

from elasticranker.model.configuration import family_of, read_config
from elasticranker.model.encoder import Encoder, Shape
from elasticranker.model.families.family import Family, Head
from elasticranker.model.hub import resolve
from elasticranker.model.modular import modules_of, read_modular_head
from elasticranker.model.readout import ClsReadout, InteractionReadout, SplitReadout
from elasticranker.model.weights import refuse_other_weights, tensor_names


def has_head(source: str | Path) -> bool:
    """Is it a cross-encoder: has it a ranking head, or says that it should?"""
    config = read_config(source)
    last = family_of(config).head(config).last
    return bool(_classifies(config) or modules_of(source) or f"{last}.weight" in tensor_names(resolve(source)))


def _classifies(config: Any) -> bool:
    return any(name.endswith("ForSequenceClassification") for name in config.architectures or [])


def from_hugging_face(
    source: str | Path,
    *,
    keep_head: bool = True,
    split: bool = False,
    first_cross: int = 0,
    document_start: int = 0,
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
        document_start: first position of a document, in split layout; above 0 the backbone ranks a little worse at the
            start, and lower layers that were trained in joint layout much better (`blending`).

    Returns:
        The encoder (float32, evaluation mode) and the Hugging Face configuration.

    Raises:
        ValueError: the model isn't supported, or the weights aren't whole; what is missing is named.
    """
    config = read_config(source)
    family = family_of(config)
    shape = family.shape(config)
    if split and not shape.splits:
        raise ValueError(
            f"split layout (layout='split', --layout split) lets positions restart, which a {config.model_type}'s "
            "attention doesn't know: use joint layout, or another backbone"
        )
    modules = modules_of(source)
    if keep_head and not _classifies(config):
        config.num_labels = 1  # as sentence-transformers takes it
    model = _load(source, config, keep_head=keep_head and not modules)
    readouts: dict[int, nn.Module]
    if keep_head:
        head = read_modular_head(source, shape.hidden) if modules else _head(model, family.head(config), shape)
        readouts = {0: InteractionReadout(shape.hidden), shape.layers: head}
    else:
        kind_of_readout = split_readout if split else interaction_readout
        readouts = {depth: kind_of_readout(shape, depth) for depth in range(shape.layers + 1)}
        shape = replace(shape, split=split, first_cross=first_cross, document_start=document_start)
    encoder = Encoder(shape, readouts)
    with torch.no_grad():
        state = model.base_model.state_dict()
        for ours, name in body_tensors(encoder, family):
            ours.copy_(state[name].view_as(ours))
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
    family = family_of(config)
    head = family.head(config)
    missing = {name for name in found["missing_keys"] if keep_head or not name.startswith("pooler.")}
    read = family.roots | (
        {head.dense.partition(".")[0], head.last.partition(".")[0]} - {"pooler"} if keep_head else set()
    )
    # What a file may have too much must not be part of what we read; buffers of old versions of transformers apart.
    known = re.compile(rf"(^|\.)({'|'.join(sorted(read))})\.(?!(position_ids|token_type_ids)$)")
    unexpected = {name for name in found["unexpected_keys"] if known.search(name)}
    ranking = re.compile(rf"(^|\.)({'|'.join(name for name in (head.dense, head.norm, head.last) if name)})\.")
    if keep_head and f"{head.last}.weight" in missing and all(map(ranking.search, missing)):
        raise ValueError(
            f"{source} is an encoder without a ranking head (it lacks {', '.join(sorted(missing))}): name a "
            "cross-encoder, or train it with `elasticranker train`"
        )
    refuse_other_weights(
        source,
        missing=missing,
        unexpected=unexpected,
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
    readout = _as_in(family.head(config), readout, config.model_type)
    config = classifier_config(config, depth=depth, labels=readout.head.shape[0])
    model = AutoModelForSequenceClassification.from_config(config).float()  # made in the configuration's own dtype
    with torch.no_grad():
        write_body(encoder, model.base_model.state_dict(), family, depth)
        for ours, theirs in _head_tensors(readout, model, family.head(config)):
            theirs.copy_(ours)
    return model.eval()


def classifier_config(config: Any, *, depth: int, labels: int) -> Any:
    """A copy of a backbone's configuration for a cross-encoder with `depth` layers and `labels` logits.

    sentence-transformers would put a sigmoid on a single logit; the entry for it keeps scores as they are.
    """
    from transformers import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING as CLASSIFIERS

    config = copy.deepcopy(config)
    family_of(config).cut(config, depth)
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


def untrained_head(config: Any, hidden: int, labels: int) -> ClsReadout:
    """A readout of the form that the head of a configuration's family has."""
    head = family_of(config).head(config)
    bias = not head.norm or bool(config.classifier_bias)
    return ClsReadout(hidden, labels, head.activation, norm=head.epsilon, bias=bias, mean=head.mean)


def _head(model: Any, head: Head, shape: Shape) -> ClsReadout:
    readout = untrained_head(model.config, shape.hidden, model.config.num_labels)
    with torch.no_grad():
        for ours, theirs in _head_tensors(readout, model, head):
            ours.copy_(theirs)
    return readout


@torch.no_grad()
def _as_in(head: Head, readout: ClsReadout, model_type: str) -> ClsReadout:
    """The same function with the dense layer and the activation that the family's head has."""
    form = readout.pooler, readout.epsilon, readout.mean
    if form == (head.activation, head.epsilon, head.mean):
        return readout
    if form != (None, None, False) or head.activation == "tanh" or head.norm or head.mean:
        had = f"a {readout.pooler} layer" if readout.pooler else "no layer between [CLS] and its logits"
        had += " and a norm" * (readout.epsilon is not None) + " over mean states" * readout.mean
        theirs = f"a {head.activation} layer" + " and a norm" * bool(head.norm) + " over mean states" * head.mean
        raise ValueError(
            f"this exit has {had}, but the head of this {model_type} in Hugging Face has {theirs} there, which "
            "cannot express it exactly: export it with --onnx (`export_onnx`)"
        )
    labels, hidden = readout.head.shape
    made = ClsReadout(hidden, labels, pooler=head.activation)
    one = torch.eye(labels)
    made.dense.zero_()  # as its bias and the last layer are
    # gelu(z) - gelu(-z) = z, as of relu, so two neurons carry a logit through.
    made.dense[: 2 * labels] = torch.cat([readout.head, -readout.head])
    made.head[:, : 2 * labels] = torch.cat([one, -one], dim=1)
    made.head_bias.copy_(readout.head_bias)
    return made


def _head_tensors(readout: ClsReadout, model: Any, head: Head) -> Iterator[tuple[Tensor, Tensor]]:
    """Every tensor of a head: ours, and the Hugging Face model's (sharing its memory)."""
    prefix = f"{model.base_model_prefix}." if head.dense.startswith("pooler") else ""
    state = model.state_dict()
    yield readout.dense, state[f"{prefix}{head.dense}.weight"]
    if head.norm:
        yield readout.norm, state[f"{head.norm}.weight"]
    for bias, name in ((readout.dense_bias, f"{prefix}{head.dense}.bias"), (readout.norm_bias, f"{head.norm}.bias")):
        if bias is not None and name in state:
            yield bias, state[name]
        elif bias is not None and bias.any():
            raise ValueError(
                f"this exit's head has a bias where its Hugging Face model has none ({name}), which cannot express it: "
                "export it with --onnx (`export_onnx`)"
            )
    yield readout.head, state[f"{head.last}.weight"]
    yield readout.head_bias, state[f"{head.last}.bias"]


def body_tensors(encoder: Encoder, family: Family, depth: int | None = None) -> Iterator[tuple[Tensor, str]]:
    """Every tensor of the embeddings and the first `depth` layers (default: all): ours by head, and its name there."""
    for path, name in family.body.items():
        if (tensor := _at(encoder, path)) is not None:
            yield tensor, name
    shape = encoder.shape
    for which in sorted({shape.own(index) for index in range(shape.layers if depth is None else depth)}):
        for path, name in family.layer.items():
            if (tensor := _at(encoder.layers[which], path)) is not None:
                yield tensor, name.format(which)


def _at(module: Any, path: str) -> Any:
    """What an attribute's path leads to; None where there is none."""
    for part in path.split("."):
        module = module[int(part)] if part.isdigit() else getattr(module, part, None)
    return module


def write_body(encoder: Encoder, state: dict[str, Tensor], family: Family, depth: int | None = None) -> None:
    """Copy the first `depth` layers (default: all) into the state of a Hugging Face encoder.

    Raises:
        ValueError: layers that share a tensor there differ in it.
    """
    written: dict[str, Tensor] = {}
    for ours, name in body_tensors(encoder, family, depth):
        if not torch.equal(written.setdefault(name, ours), ours):
            raise ValueError(
                f"its layers no longer agree in {name}, of which Hugging Face has one for all (heads were reordered "
                "for narrower widths): export it with --onnx (`export_onnx`)"
            )
        state[name].copy_(ours.reshape(state[name].shape))
