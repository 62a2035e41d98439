"""Sub-networks and plans in words, the same wherever one is shown: in notebooks, `explain` and `elasticranker info`."""

from __future__ import annotations

from collections.abc import Sequence

from elasticranker.planning.subnet import SubNet

_PARTS = {3 / 4: "three quarters", 2 / 3: "two thirds", 1 / 2: "half", 1 / 3: "third", 1 / 4: "quarter", 1 / 5: "fifth"}
_PARTS |= {1 / 10: "tenth", 1 / 20: "twentieth"}
NEAR = 0.04  # how far from a part what is called by its name may be


def percent(share: float) -> str:
    """A share as people read it: "25 %", "0.5 %"."""
    return f"{100 * share:.2g} %" if share < 0.1 else f"{100 * share:.0f} %"


def in_words(subnet: SubNet | None, layers: int | None = None) -> str:
    """What scored a candidate.

    Args:
        subnet: the sub-network; None for none.
        layers: of the whole model, which is then called by its name.

    Example:
        >>> in_words(SubNet(3, 0.5)), in_words(SubNet(0, tokens=48)), in_words(SubNet(12), 12)
        ('3 layers at 50 % width', 'the embeddings alone of 48 tokens', 'all 12 layers')
    """
    if subnet is None:
        return "nothing"
    if layers and subnet == SubNet(layers):
        return f"all {layers} layers"
    width = "" if subnet.width == 1 else f" at {percent(subnet.width)} width"
    layered = f"{subnet.depth} layer{'s' if subnet.depth > 1 else ''}{width}"
    whole = "the embeddings alone" if subnet.depth == 0 else layered
    return whole if subnet.tokens is None else f"{whole} of {subnet.tokens} tokens"


def reached_in_words(reached: Sequence[tuple[SubNet, int]], candidates: int, layers: int) -> str:
    """How far a plan gets.

    Args:
        reached: sub-networks in the plan's order, and how many of the candidates each scores.
        candidates: how many there are.
        layers: of the whole model.

    Example:
        >>> reached_in_words([(SubNet(1), 100), (SubNet(3), 33), (SubNet(12), 1)], 100, 12)
        'all candidates by 1 layer, the best third by 3 layers, the best one by all 12 layers'
    """
    parts = []
    for place, (subnet, count) in enumerate(reached):
        order = "best" if place else "first"  # nothing has been scored before the first stage
        parts.append(f"{_some(count, candidates, order)} by {in_words(subnet, layers)}")
    return ", ".join(parts) if parts else "nothing can be afforded"


def _some(count: int, candidates: int, order: str) -> str:
    if count == candidates:
        return "all candidates"
    if count == 1:
        return f"the {order} one"
    share = count / candidates
    named = min(_PARTS, key=lambda part: abs(part - share) / part)
    return f"the {order} {_PARTS[named] if abs(named - share) <= NEAR * named else percent(share)}"
