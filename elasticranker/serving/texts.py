"""Texts that can be sent."""

from __future__ import annotations


def encodable(text: str) -> str:
    """The text with lone surrogates, which JSON may hold and UTF-8 may not, replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
