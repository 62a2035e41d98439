"""`GET /docs`: the OpenAPI document as one page to read, without scripts, so that it needs no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

STYLE = """body{font:16px/1.5 sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:.5rem 0}td,th{border:1px solid #bbb;padding:.2rem .6rem;text-align:left}
td,th{vertical-align:top}code{white-space:pre-wrap}"""
Schema = Mapping[str, Any]


def docs_page(document: Schema) -> str:
    """The page for an OpenAPI document.

    Args:
        document: what `FastAPI.openapi()` gives.

    Returns:
        HTML that refers to nothing but `/openapi.json` beside it.
    """
    title = escape(document["info"]["title"])
    head = f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    about = f"<h1>{title} {escape(document['info']['version'])}</h1><p>{escape(document['info']['description'])}</p>"
    machine = '<p>For machines: <a href="openapi.json">openapi.json</a>.</p>'
    routes = (
        part
        for path, methods in document["paths"].items()
        for method, route in methods.items()
        for part in _route(f"{method.upper()} {path}", route, document)
    )
    return "\n".join([head, about, machine, *routes, "</html>"])


def _route(name: str, route: Schema, document: Schema) -> Iterator[str]:
    yield f"<h2><code>{escape(name)}</code></h2><p>{escape(route.get('description', ''))}</p>"
    content = route.get("requestBody", {}).get("content", {})
    for form in _forms(content.get("application/json", {}).get("schema", {}), document):
        yield f"<p>{escape(form.get('description', 'The body.'))}</p>"
        needed = form.get("required", [])
        fields = form["properties"].items()
        yield _table(
            ("field", "type", "meaning"),
            [
                (name + (" (required)" if name in needed else ""), _kind(field, document), _meaning(field))
                for name, field in fields
            ],
        )
    yield _table(
        ("status", "meaning", "headers"),
        [
            (status, answer["description"], ", ".join(answer.get("headers", {})))
            for status, answer in route["responses"].items()
        ],
    )


def _forms(schema: Schema, document: Schema) -> list[Schema]:
    """The kinds of object that a body may be."""
    schema = _resolved(schema, document)
    choices = schema.get("oneOf") or schema.get("anyOf") or []
    return [form for choice in choices for form in _forms(choice, document)] or (
        [schema] if "properties" in schema else []
    )


def _resolved(schema: Schema, document: Schema) -> Schema:
    """What a reference such as `#/components/schemas/Rank` points to."""
    if "$ref" not in schema:
        return schema
    found = document
    for part in schema["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def _kind(schema: Schema, document: Schema) -> str:
    """A type in words; that every optional field may be null goes without saying."""
    schema = _resolved(schema, document)
    if "anyOf" in schema:
        return " or ".join(_kind(choice, document) for choice in schema["anyOf"] if choice.get("type") != "null")
    kind = str(schema.get("type", "anything"))
    return f"{kind} of {_kind(schema['items'], document)}" if "items" in schema else kind


def _meaning(schema: Schema) -> str:
    """A field's description, also where it is that of its only kind beside null."""
    return str(schema.get("description") or schema.get("anyOf", [{}])[0].get("description", ""))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["<table>", "<tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table>"])
