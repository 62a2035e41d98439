"""Bars for whatever takes more than a moment, shown where somebody asked for them.

Who works for a person (a command, `verbose=True`, `progress=True`) opens `shown`; what is called inside it, however
deep, makes its bars with `bar` and `phase`. Elsewhere the same code says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_SHOWN = ContextVar("shown", default=False)


@contextmanager
def shown(wanted: bool = True) -> Iterator[None]:
    """Show the bars of what is called in the block on standard error, or hide them.

    Example:
        >>> with shown():
        ...     ranker.warm_up()  # doctest: +SKIP
    """
    token = _SHOWN.set(wanted)
    try:
        yield
    finally:
        _SHOWN.reset(token)


def is_shown() -> bool:
    """Did somebody ask for bars?"""
    return _SHOWN.get()


def bar(
    items: Iterable[Any] | None = None,
    *,
    name: str,
    total: int | None = None,
    unit: str,
    hidden: bool = False,
    **more: Any,
) -> tqdm:
    """A bar with a name, over some items or to be moved by hand (`update`).

    Args:
        items: what to go through.
        name: what is being done, such as "searching".
        total: of items; by default their number, where it is known.
        unit: one of them, such as "query".
        hidden: never show it.
        more: arguments of tqdm, such as `initial`.
    """
    from tqdm.auto import tqdm

    disable = hidden or not is_shown()
    return tqdm(items, desc=name, total=total, unit=f" {unit}", disable=disable, leave=None, **more)


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Show the name of one piece of work while it lasts, and how long it took."""
    with bar(name=name, total=1, unit="step", bar_format="{desc}: {percentage:3.0f}%|{bar}| [{elapsed}]") as whole:
        yield
        whole.update()


def part_of(whole: tqdm, size: int, extent: float) -> Callable[[float], None]:
    """Moves a bar by `size` in all, as work that was guessed to add up to `extent` gets done.

    Returns:
        What to call with the work done since the last call.
    """
    begun, done = whole.n, 0.0

    def advance(more: float) -> None:
        nonlocal done
        done += more
        share = min(1.0, done / extent) if extent > 0 else 1.0
        whole.update(begun + int(size * share) - whole.n)

    return advance
