"""Texts that UTF-8 can hold: for tokenizers, JSON and search engines."""

from __future__ import annotations


def encodable(text: str) -> str:
    """The text with lone surrogates, which Python and JSON may hold and UTF-8 may not, replaced."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
