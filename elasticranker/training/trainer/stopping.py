"""Stopping at a good moment: signals become a wish that the loop grants after its step."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """While the `with` block runs, the first SIGTERM or SIGINT is only noted; a second one acts as usual.

    Attributes:
        asked: number of the signal that came, or None.

    Example:
        >>> with Stopping() as stopping:
        ...     while stopping.asked is None:
        ...         break  # one step of work
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self._usual: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():  # only there may handlers be set
            self._usual = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)
        self._usual = {}

    def _note(self, number: int, _: FrameType | None) -> None:
        self.asked = number
        self.__exit__()
