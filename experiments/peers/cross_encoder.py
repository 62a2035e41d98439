"""sentence-transformers' `CrossEncoder` over the very function that our full model computes.

The body is an ordinary Hugging Face model with the checkpoint's weights. Where its head stands the checkpoint's own
readout is called, since no Hugging Face head can express an interaction readout. Everything else (tokenisation,
sorting by length, batching, moving tensors) is the library's own.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from elasticranker.files import read_json, write_json, write_tensors
from elasticranker.model.checkpoint import Checkpoint
from elasticranker.model.encoder import Encoder
from elasticranker.model.export import SubNetScorer, export_hugging_face
from elasticranker.model.huggingface import quiet, untrained_head
from elasticranker.model.pairs import PairEncoder, Template
from elasticranker.model.readout import ClsReadout, make_readout
from elasticranker.planning.plan import Floats
from experiments.peers.bi_encoder import open_bi_encoder
from experiments.peers.setup import Pairs, Scorer, Setup

READOUT, KIND = "readout.safetensors", "readout.json"


def plain_copy(checkpoint: Checkpoint, folder: str | Path) -> Path:
    """Write a checkpoint's body as a plain Hugging Face cross-encoder, with its full depth's readout beside it.

    The plain model's own head is untrained: `open_cross_encoder` puts the readout in its place.

    Args:
        checkpoint: of any readout.
        folder: where to write.

    Returns:
        The folder.
    """
    shape = checkpoint.encoder.shape
    encoder = Encoder(shape, {shape.layers: untrained_head(checkpoint.config, shape.hidden, labels=1)})
    body = {name: value for name, value in checkpoint.encoder.state_dict().items() if not name.startswith("exits.")}
    encoder.load_state_dict(body, strict=False)
    folder = export_hugging_face(replace(checkpoint, encoder=encoder.eval()), folder, depth=shape.layers)
    readout = cast(nn.Module, checkpoint.encoder.exits[str(shape.layers)])
    labels = readout.head.shape[0] if isinstance(readout, ClsReadout) else 1
    kind = {"readout": readout.kind, "labels": labels} | getattr(readout, "options", {})
    write_tensors(folder / READOUT, readout.state_dict())
    write_json(folder / KIND, kind)
    return folder


def open_sentence_transformers(setup: Setup, dtype: str) -> Scorer:
    """What sentence-transformers makes of the full model: a `CrossEncoder`, or a bi-encoder in split layout.

    Args:
        setup: the weights and where to run.
        dtype: "float32" or "bfloat16".

    Raises:
        ImportError: sentence-transformers isn't installed.
    """
    return (open_bi_encoder if setup.split else open_cross_encoder)(setup, dtype)


def open_cross_encoder(setup: Setup, dtype: str) -> Scorer:
    """A `CrossEncoder` of the full model whose `predict` gives our scores.

    Args:
        setup: the weights and where to run.
        dtype: "float32" or "bfloat16", of the body; readouts are float32, as ours are.

    Raises:
        ImportError: sentence-transformers isn't installed.
    """
    from sentence_transformers import CrossEncoder

    folder = Path(setup.exports) / "plain"
    if not (folder / KIND).exists():
        with contextlib.redirect_stderr(io.StringIO()):  # a bar for one file
            plain_copy(setup.checkpoint(), folder)
    with quiet():
        model = CrossEncoder(
            str(folder),
            device=setup.device,
            max_length=setup.max_length,
            model_kwargs={"dtype": getattr(torch, dtype)},
        )
    template = PairEncoder(model.tokenizer, max_length=setup.max_length, max_query_length=1).template
    _read_with(cast(nn.Module, model.model), Head.load(folder, template))

    def score(pairs: Pairs, batch: int) -> Floats:
        scores = model.predict(pairs, batch_size=batch, show_progress_bar=False)
        return cast(Floats, scores.astype("float64"))

    return score


class Head(nn.Module):
    """A readout over a Hugging Face body's last hidden states.

    Args:
        readout: the checkpoint's.
        template: how the tokenizer lays pairs out.
    """

    def __init__(self, readout: nn.Module, template: Template) -> None:
        super().__init__()
        self.readout, self.template = readout, template

    @classmethod
    def load(cls, folder: Path, template: Template) -> Head:
        """The readout that `plain_copy` wrote."""
        from safetensors.torch import load_file

        state = load_file(folder / READOUT)
        hidden = state["head" if "head" in state else "cls"].shape[-1]
        readout = make_readout(hidden, **read_json(folder / KIND))
        readout.load_state_dict(state)
        return cls(readout.eval(), template)

    def forward(self, hidden: Tensor, ids: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        """Scores `[B, 1]` of hidden states `[B, T, H]`."""
        # The very function that exported graphs find the two texts by; all it needs of its object is the template.
        where = SubNetScorer.segments(cast(Any, self), ids, mask, types)
        return cast(Tensor, self.readout(hidden, where))[:, None]


def _read_with(model: nn.Module, head: Head) -> None:
    """Let a `...ForSequenceClassification` give `head`'s scores as its logits."""
    from transformers.modeling_outputs import SequenceClassifierOutput

    body = cast(nn.Module, model.base_model)
    head.to(next(body.parameters()).device)

    def forward(
        input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None, **_: Any
    ) -> SequenceClassifierOutput:
        given = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        hidden = body(input_ids=input_ids, attention_mask=attention_mask, **given).last_hidden_state
        return SequenceClassifierOutput(logits=head(hidden, input_ids, attention_mask, token_type_ids))

    model.forward = forward
