"""What a family of Hugging Face encoders is: its sizes, and the names of its tensors and of its ranking head's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from elasticranker.model.encoder import Shape
from elasticranker.model.products import ACTIVATIONS
from elasticranker.model.readout import POOLERS


@dataclass(frozen=True)
class Head:
    """The ranking head of a family's `...ForSequenceClassification`.

    Attributes:
        dense: name of its dense layer; one that begins with `pooler` is part of the encoder.
        activation: of the dense layer.
        last: name of its last layer.
        norm: name of a layer norm behind the dense layer; none where empty.
        epsilon: of that norm.
        mean: does it read the mean of the states instead of the first?
    """

    dense: str
    activation: str
    last: str
    norm: str = ""
    epsilon: float | None = None
    mean: bool = False


def _first_layers(config: Any, depth: int) -> None:
    config.num_hidden_layers = depth


@dataclass(frozen=True)
class Family:
    """One family. Names are relative to the encoder, without its `base_model_prefix`.

    Attributes:
        types: `model_type` of the configurations that belong to it.
        shape: from a configuration to a `Shape`; refuses by name what isn't done.
        head: from a configuration to the head.
        body: tensors outside the layers, of `Encoder` by attribute: their names. What an encoder lacks is left out.
        layer: tensors of a layer, likewise; `{}` stands for its number. `qkv.0` is the first of three parts.
        shapes: the class that `shape` makes.
        cut: change a configuration to one of the first `depth` layers.
    """

    types: tuple[str, ...]
    shape: Callable[[Any], Shape]
    head: Callable[[Any], Head]
    body: Mapping[str, str]
    layer: Mapping[str, str]
    shapes: type[Shape]
    cut: Callable[[Any, int], None] = field(default=_first_layers)

    @property
    def roots(self) -> set[str]:
        """How the names of the tensors of its encoders begin."""
        return {name.partition(".")[0] for name in (*self.body.values(), *self.layer.values())}


def check_activation(name: str, value: str) -> str:
    """An activation of layers that is known here.

    Raises:
        ValueError: it isn't; `name` is what the configuration calls it.
    """
    if value not in ACTIVATIONS:
        raise ValueError(f"{name} {value!r} is not supported: one of {', '.join(ACTIVATIONS)}")
    return value


def check_pooler(name: str, value: str) -> str:
    """Likewise of a head's dense layer."""
    if value not in POOLERS:
        raise ValueError(f"{name} {value!r} is not supported: one of {', '.join(POOLERS)}")
    return value
