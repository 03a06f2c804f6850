"""The JSON Schema of a structured answer, within what Anthropic takes.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from orjson import Fragment

from service.codec import parse


def closed(schema: str) -> Fragment | Any:
    """Return a schema as JSON-able value: verbatim, unless an object in it does not say `additionalProperties`.

    Anthropic demands `additionalProperties: false` of every object. Keys keep their order.
    """
    value = parse(schema.encode())
    return value if _close(value) else Fragment(schema)


def _close(node: Any) -> bool:
    """Close every open object schema within a node, in place. Return whether there was one."""
    if not isinstance(node, dict):
        return False
    kind = node.get("type")
    is_object = kind == "object" or (isinstance(kind, list) and "object" in kind)
    was_open = is_object and "additionalProperties" not in node
    if was_open:
        node["additionalProperties"] = False
    for child in _children(node):
        was_open |= _close(child)
    return was_open


def _children(node: dict[str, Any]) -> Iterator[Any]:
    """Yield the schemas directly within a schema."""
    for name in ("items", "anyOf", "oneOf", "allOf", "properties", "$defs", "definitions"):
        match node.get(name):
            case list(children):
                yield from children
            case dict(child) if name == "items":
                yield child
            case dict(children):
                yield from children.values()
