"""Small pieces of HTML for notebooks: a table, facts by name, a picture. Everything from outside is escaped."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

CELL = "text-align: left; vertical-align: top; padding: 2px 12px 2px 0; max-width: 60em"


def table(rows: Sequence[Sequence[str]], *, headed: bool = True) -> str:
    """Rows of cells as a table.

    Args:
        rows: texts; where `headed`, the first row holds the headings.
        headed: whether it does.
    """
    lines = [
        "<tr>" + "".join(f'<{tag} style="{CELL}">{escape(cell)}</{tag}>' for cell in row) + "</tr>"
        for tag, row in zip(["th" if headed else "td", *["td"] * len(rows)], rows, strict=False)
    ]
    return f"<table>{''.join(lines)}</table>"


def facts(named: Mapping[str, str]) -> str:
    """What is known of an object: a name and a text a line."""
    return table(list(named.items()), headed=False)


def image(png: bytes, description: str) -> str:
    """A PNG inside the page, with the words that stand for it where it isn't shown."""
    return f'<img alt="{escape(description)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def paragraph(text: str) -> str:
    """A line of prose."""
    return f"<p>{escape(text)}</p>"
