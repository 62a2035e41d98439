"""Training by transformers leaves settings of accelerate behind, which our own trainer would stumble over."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def accelerate_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")  # put back afterwards, whatever it becomes
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION")
    yield
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
