"""The tables of docs/api.md, which stand there between markers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from service.openapi.document import Document
from service.openapi.meanings import LACKING
from service.openapi.operations import error_rows
from service.openapi.rows import Row, object_rows, walk

_MARKED = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def fill(text: str, document: Document) -> str:
    """Return a Markdown text with each block `<!-- generated: name -->` ... `<!-- end -->` made anew.

    Raises:
        KeyError: there is no table of that name.
    """
    tables = {"request": _request, "response": _response, "errors": _errors, "headers": _headers, "paths": _paths}
    return _MARKED.sub(lambda match: f"{match[1]}{tables[match[2]](document)}\n{match[3]}", text)


def _request(document: Document) -> str:
    rows = [
        (_name(row, labels), row.kind, row.limits, _default(row), _text(row.description), _lacking(row))
        for row, labels in walk(_rows(document, "CreateChatCompletionRequest"))
    ]
    return _table(("Field", "Type", "Range", "Default", "What it does", "Where a provider lacks it"), rows)


def _response(document: Document) -> str:
    """Return one table of both answers: what is in a chunk alone stands under its `delta`."""
    whole = [row for row, _ in walk(_rows(document, "ChatCompletion"))]
    known = {row.path for row in whole}
    chunk = [row for row, _ in walk(_rows(document, "ChatCompletionChunk")) if row.path not in known]
    rows = [
        (f"`{row.path}`", row.kind, "always" if row.required else "", _text(row.description), place)
        for place, part in (("", whole), ("chunks", chunk))
        for row in part
    ]
    return _table(("Field", "Type", "There", "What it is", "Only in"), rows)


def _errors(document: Document) -> str:
    rows = [(f"`{code}`", http, f"`{kind}`", grpc, text) for code, http, kind, grpc, text in error_rows()]
    return _table(("`code`", "HTTP", "`type`", "gRPC", "When"), rows)


def _headers(document: Document) -> str:
    rows = [(f"`{name}`", each["description"]) for name, each in document["components"]["headers"].items()]
    return _table(("Header", "What it says"), rows)


def _paths(document: Document) -> str:
    rows = [
        (f"`{verb.upper()} {path}`", operation["summary"], "no" if operation.get("security") == [] else "yes")
        for path, verbs in document["paths"].items()
        for verb, operation in verbs.items()
    ]
    return _table(("Path", "What it is", "Key"), rows)


def _rows(document: Document, schema: str) -> list[Row]:
    schemas = document["components"]["schemas"]
    return object_rows(schemas, schemas[schema])


def _name(row: Row, labels: Sequence[str]) -> str:
    aliases = f"<br>also `{'`, `'.join(row.aliases)}`" if row.aliases else ""
    place = f"<br>with {' or '.join(labels)}" if labels else ""
    return f"`{row.path}`{' **required**' if row.required else ''}{aliases}{place}"


def _default(row: Row) -> str:
    return "" if row.default is None else f"`{_json(row.default)}`"


def _json(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _lacking(row: Row) -> str:
    """Return what becomes of a field that a provider lacks; of fields within others, only what differs from those."""
    return LACKING[row.path] if "." not in row.path else LACKING.get(row.path, "")


def _text(description: str) -> str:
    """Return the first paragraph; the meanings of single values are in the OpenAPI document."""
    return description.split("\n\n")[0]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
