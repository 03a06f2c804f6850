"""Renders the OpenAPI document as one HTML page that needs nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from service.openapi.document import Document
from service.openapi.operations import error_rows
from service.openapi.prose import prose
from service.openapi.rows import Group, Row, Schema, object_rows

_FOLDER = Path(__file__).parent
_TOKEN = re.compile(
    r'(?P<k>"(?:[^"\\]|\\.)*"(?=:))|(?P<s>"(?:[^"\\]|\\.)*")|(?P<n>-?\d[\d.eE+-]*)|(?P<w>true|false|null)'
)

_FIRST_CALL = """\
curl "$GATEWAY/v1/chat/completions" \\
  -H "Authorization: Bearer $KEY" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "openai/gpt-5-nano", "messages": [{"role": "user", "content": "Hello"}]}'"""


def render_page(document: Document) -> str:
    """Return the page. Its own policy lets it load and run nothing but what stands in it."""
    style = (_FOLDER / "page.css").read_text(encoding="utf-8")
    script = (_FOLDER / "page.js").read_text(encoding="utf-8")
    hashes = f"style-src {_hash(style)}; script-src {_hash(script)}"
    policy = f"default-src 'none'; {hashes}; img-src data:; base-uri 'none'"
    info = document["info"]
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(info['title'])}</title>",
            '<link rel="icon" href="data:,">',
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            '<div class="layout">',
            *_navigation(document),
            "<main>",
            f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>",
            prose(info["description"]),
            '<p>The same as <a href="/openapi.json">OpenAPI 3.1</a>.</p>',
            _example(escape(_FIRST_CALL)),
            *_operations(document),
            *_errors(),
            *_headers(document),
            "</main>",
            "</div>",
            f"<script>{script}</script>",
            "</body>",
            "</html>",
            "",
        )
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _by_tag(document: Document) -> Iterator[tuple[str, list[tuple[str, str, Mapping[str, Any]]]]]:
    """Yield each tag with its operations: verb, path and what the document says."""
    every = [(verb, path, each) for path, verbs in document["paths"].items() for verb, each in verbs.items()]
    for tag in document["tags"]:
        yield tag["name"], [(verb, path, each) for verb, path, each in every if tag["name"] in each["tags"]]


def _navigation(document: Document) -> Iterator[str]:
    yield "<nav>"
    for tag, operations in _by_tag(document):
        yield f"<strong>{escape(tag)}</strong>"
        for _, path, operation in operations:
            yield f'<a href="#{operation["operationId"]}">{escape(path)}</a>'
    yield '<strong>Reference</strong><a href="#errors">Errors</a><a href="#headers">Headers</a></nav>'


def _operations(document: Document) -> Iterator[str]:
    for tag, operations in _by_tag(document):
        yield f"<h2>{escape(tag)}</h2>"
        for verb, path, operation in operations:
            yield from _operation(document, verb, path, operation)


def _operation(document: Document, verb: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    chip = '<span class="chip">no key</span>' if operation.get("security") == [] else ""
    yield f'<section class="operation" id="{operation["operationId"]}">'
    yield f'<header><span class="verb {verb}">{verb.upper()}</span><code>{escape(path)}</code>{chip}'
    yield f"{prose(operation['summary'] + '.')}</header>"
    if "description" in operation:
        yield prose(operation["description"])
    if "parameters" in operation:
        yield "<h3>Parameters</h3>"
        yield from _fields([_parameter(document, each) for each in operation["parameters"]])
    for media in operation.get("requestBody", {}).get("content", {}).values():
        yield "<h3>Request</h3>"
        yield from _examples(media)
        yield from _schema(document, media["schema"], "Fields of the request")
    yield "<h3>Answer</h3>"
    yield from _answers(document, operation["responses"])
    yield "</section>"


def _answers(document: Document, responses: Mapping[str, Any]) -> Iterator[str]:
    for media_type, media in responses["200"]["content"].items():
        yield prose(f"`200` `{media_type}`")
        yield from _examples(media)
        yield from _schema(document, media["schema"], "Fields of the answer")
    errors = [status for status in responses if status.isdigit() and status != "200"]
    if errors:
        links = ", ".join(f"<code>{status}</code>" for status in errors)
        yield f'<p><a href="#errors">Errors</a>: {links}</p>'


def _parameter(document: Document, parameter: Mapping[str, Any]) -> Row:
    if "$ref" in parameter:
        parameter = document["components"]["parameters"][parameter["$ref"].rpartition("/")[2]]
    limits = "more than 0" if "exclusiveMinimum" in parameter["schema"] else ""
    kind = f"{parameter['schema']['type']}, {parameter['in']}"
    required = parameter.get("required", False)
    return Row(parameter["name"], parameter["name"], (), kind, limits, None, required, parameter["description"], ())


def _schema(document: Document, schema: Schema, title: str) -> Iterator[str]:
    rows = object_rows(document["components"]["schemas"], schema)
    if rows:
        yield (
            f"<details open><summary>{title}</summary>"
            if "request" in title
            else f"<details><summary>{title}</summary>"
        )
        yield from _fields(rows)
        yield "</details>"


def _fields(rows: Sequence[Row]) -> Iterator[str]:
    yield '<div class="fields">'
    for row in rows:
        yield from _field(row)
    yield "</div>"


def _field(row: Row) -> Iterator[str]:
    required = ' <span class="required">required</span>' if row.required else ""
    aliases = "".join(f"<small>also <code>{escape(name)}</code></small>" for name in row.aliases)
    limits = f"<small>{prose(row.limits, inline=True)}</small>" if row.limits else ""
    default = (
        f"<small>default <code>{escape(json.dumps(row.default))}</code></small>" if row.default is not None else ""
    )
    yield f'<div class="field"><div class="name"><code>{escape(row.name)}</code>{required}{aliases}</div>'
    yield f'<div class="kind">{escape(row.kind)}{limits}{default}</div>'
    yield f'<div class="text">{prose(row.description)}</div>'
    if row.groups:
        yield from _nested(row.groups)
    yield "</div>"


def _nested(groups: Sequence[Group]) -> Iterator[str]:
    names = [row.name for group in groups for row in group.rows]
    shown = ", ".join(dict.fromkeys(names[:4])) + (", …" if len(names) > 4 else "")
    yield f'<details class="nested"><summary>{escape(shown)}</summary>'
    for group in groups:
        if group.label:
            text = f"With {group.label}: {group.description}"
            yield f'<div class="variant">{prose(text, inline=True)}</div>'
        if group.rows:
            yield from _fields(group.rows)
    yield "</details>"


def _examples(media: Mapping[str, Any]) -> Iterator[str]:
    for place, example in enumerate(media.get("examples", {}).values()):
        value = example["value"]
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        opened = " open" if place == 0 and not isinstance(value, str) else ""
        yield f"<details{opened}><summary>{escape(example['summary'])}</summary>"
        yield _example(escape(text) if isinstance(value, str) else _coloured(text))
        yield "</details>"


def _example(html: str) -> str:
    return f'<div class="example"><pre tabindex="0"><code>{html}</code></pre></div>'


def _coloured(text: str) -> str:
    """Return JSON text as HTML with its tokens marked."""
    html, end = "", 0
    for match in _TOKEN.finditer(text):
        html += escape(text[end : match.start()]) + f'<span class="{match.lastgroup}">{escape(match[0])}</span>'
        end = match.end()
    return html + escape(text[end:])


def _errors() -> Iterator[str]:
    yield '<h2 id="errors">Errors</h2>'
    cells = [(f"`{code}`", http, f"`{kind}`", text) for code, http, kind, _, text in error_rows()]
    yield from _table(("code", "HTTP", "type", "when"), cells)


def _headers(document: Document) -> Iterator[str]:
    yield '<h2 id="headers">Headers of answers</h2>'
    cells = [(f"`{name}`", each["description"]) for name, each in document["components"]["headers"].items()]
    yield from _table(("header", "what it says"), cells)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield '<div class="scroll"><table><thead><tr>'
    yield "".join(f"<th>{escape(each)}</th>" for each in head)
    yield "</tr></thead><tbody>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{prose(cell, inline=True)}</td>" for cell in row) + "</tr>"
    yield "</tbody></table></div>"
