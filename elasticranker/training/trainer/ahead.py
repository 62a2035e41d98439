"""Work prepared one or two steps ahead in a thread, so that a GPU doesn't wait for its next batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def ahead(make: Callable[[int], T], start: int, stop: int, *, steps: int = 2) -> Iterator[T]:
    """`make(start)`, ..., `make(stop - 1)` in order, each made in a thread while earlier ones are in use.

    Args:
        make: a function of the number alone; it is never called twice at the same time.
        start: the first number.
        stop: the number after the last.
        steps: how many are made ahead.

    Example:
        >>> list(ahead(lambda number: number * number, 2, 5))
        [4, 9, 16]
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as thread:
        waiting = deque(thread.submit(make, number) for number in range(start, min(start + steps, stop)))
        try:
            for number in range(start, stop):
                made = waiting.popleft().result()
                if number + steps < stop:
                    waiting.append(thread.submit(make, number + steps))
                yield made
        finally:
            for future in waiting:
                future.cancel()
