"""What a query may cost: parsed from what a person types, printed as a person would type it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import total_ordering

_FLOPS = {"flops": 1.0, "kflops": 1e3, "mflops": 1e6, "gflops": 1e9, "tflops": 1e12, "pflops": 1e15}
_SECONDS = {"us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0}
_PATTERN = re.compile(r"\s*([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-zµ%]+)\s*", re.IGNORECASE)
_KINDS = {
    "share": "a share of what the full model costs on the same candidates, at most, for every query",
    "flops": "floating point operations at most for every query, whatever its candidates",
    "time": "wall-clock time on this machine for every query; what is ranked by then is returned",
}
_HELP = "write a share of the full cost ('25%', 'full'), an amount ('20 GFLOPs') or a time ('50 ms')"


@total_ordering
@dataclass(frozen=True)
class Budget:
    """What each query may cost.

    Three kinds: a share of what the full model costs on the same candidates (`Budget("25%")`, `Budget("full")`),
    floating point operations whatever the candidates (`Budget("20 GFLOPs")`), or wall-clock time on this machine
    (`Budget("50 ms")`). Choose a share to compare systems, FLOPs for a bound that holds on every machine, and time for
    a service. Budgets of one kind compare by size; of different kinds they don't.

    Example:
        >>> Budget("25 %")
        Budget('25%')
        >>> Budget("5%") < Budget("full")
        True

    Args:
        text: what the user typed, or a `Budget`.

    Raises:
        ValueError: not a budget, not above zero, or a share above 100 %.
    """

    kind: str = field(init=False)
    value: float = field(init=False)

    def __init__(self, text: str | Budget) -> None:
        kind, value = (text.kind, text.value) if isinstance(text, Budget) else _parse(text)
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "value", value)

    @property
    def is_full(self) -> bool:
        """Is this the whole model on every candidate?"""
        return self.kind == "share" and self.value == 1.0

    def __str__(self) -> str:
        if self.is_full:
            return "full"
        if self.kind == "share":
            return f"{_short(self.value * 100)}%"
        if self.kind == "time":
            return f"{_short(self.value * 1e3)} ms" if self.value < 1 else f"{_short(self.value)} s"
        unit = next(
            (u for u in ("PFLOPs", "TFLOPs", "GFLOPs", "MFLOPs", "KFLOPs") if self.value >= _FLOPS[u.lower()]), "FLOPs"
        )
        return f"{_short(self.value / _FLOPS[unit.lower()])} {unit}"

    def __repr__(self) -> str:
        return f"Budget({str(self)!r})"

    @property
    def words(self) -> str:
        """What it is of, for those who read it: "25%: a share of what the full model costs ..."."""
        if self.is_full:
            return "full: the whole model on every candidate"
        return f"{self}: {_KINDS[self.kind]}"

    def _repr_html_(self) -> str:
        return f"<b>{self}</b>{self.words.removeprefix(str(self))}"

    def __lt__(self, other: object) -> bool:
        if not isinstance(other, Budget) or other.kind != self.kind:
            return NotImplemented
        return self.value < other.value


def _parse(text: object) -> tuple[str, float]:
    if not isinstance(text, str):
        raise ValueError(f"budget={text!r}{_meant(text)}: {_HELP}")
    if text.strip().lower() == "full":
        return "share", 1.0
    match = _PATTERN.fullmatch(text)
    unit = match[2].lower() if match else ""
    if match is None or unit not in {"%", *_FLOPS, *_SECONDS}:
        raise ValueError(f"budget={text!r}{_meant(text)}: {_HELP}")
    number = float(match[1])
    if number <= 0 or not math.isfinite(number):
        raise ValueError(f"budget={text!r} must be above zero: {_HELP}")
    if unit == "%":
        if number > 100:
            raise ValueError(f"budget={text!r} is more than the full model costs: the largest share is '100%'")
        return "share", number / 100
    if unit in _FLOPS:
        return "flops", number * _FLOPS[unit]
    return "time", number * _SECONDS[unit]


def _meant(text: object) -> str:
    """What somebody meant who gave a bare number: "25" and 0.25 are 25 %, what is more than 100 has some other unit."""
    try:
        number = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    if isinstance(text, bool) or not 0 < number <= 100:
        return " has no unit" if math.isfinite(number) and number > 100 else ""
    return f" has no unit (did you mean '{_short(100 * number if number < 1 else number)}%'?)"


def _short(number: float) -> str:
    """The shortest text of up to 12 digits that gives the number back."""
    return f"{number:.12g}"
