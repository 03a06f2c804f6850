"""The JSON Schema of a structured answer, within what Anthropic takes, as its own packages bring it there.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orjson import Fragment

from service.codec import dumps, parse
from service.providers.report import Report

_CONSTRAINTS = (
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "minProperties",
    "maxProperties",
)
"""Keywords that Anthropic refuses, but for a `minItems` of 0 or 1."""
_CHILDREN = ("items", "anyOf", "oneOf", "allOf", "properties", "$defs", "definitions")


def fit(schema: str, report: Report) -> Fragment | Any:
    """Return a schema as JSON-able value, verbatim where Anthropic takes it so; keys keep their order.

    Objects that do not say `additionalProperties` are closed, which Anthropic demands. Constraints that it refuses are
    told to the model in the description instead, and reported.
    """
    value = parse(schema.encode())
    return value if _fit(value, report) else Fragment(schema)


def _fit(node: Any, report: Report) -> bool:
    """Bring a schema and those within it into Anthropic's range, in place. Return whether anything changed."""
    if not isinstance(node, dict):
        return False
    changed = _close(node) | _describe_constraints(node, report)
    for child in _children(node):
        changed |= _fit(child, report)
    return changed


def _close(node: dict[str, Any]) -> bool:
    kind = node.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind)
    if not is_object or "additionalProperties" in node:
        return False
    node["additionalProperties"] = False
    return True


def _describe_constraints(node: dict[str, Any], report: Report) -> bool:
    names = [name for name in _CONSTRAINTS if name in node and not (name == "minItems" and node[name] in (0, 1))]
    if not names:
        return False
    text = ", ".join(f"{name}: {dumps(node.pop(name)).decode()}" for name in names)
    before = node.get("description")
    node["description"] = f"{before}\n\n{{{text}}}" if isinstance(before, str) else f"{{{text}}}"
    for name in names:
        report.drop(f"response_format.json_schema.schema[].{name}")
    return True


def _children(node: dict[str, Any]) -> Iterator[Any]:
    """Yield the schemas directly within a schema."""
    for name in _CHILDREN:
        match node.get(name):
            case list(children):
                yield from children
            case dict(child) if name == "items":
                yield child
            case dict(children):
                yield from children.values()
