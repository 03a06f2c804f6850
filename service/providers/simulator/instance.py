"""A valid instance of a JSON Schema, always the same one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_DEEP = 6
"""From this depth on only what is required is made, so that schemas that contain themselves come to an end."""
_TOO_DEEP = 32

_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "date": "2026-01-01",
        "date-time": "2026-01-01T00:00:00Z",
        "time": "00:00:00Z",
        "duration": "PT1S",
        "email": "simulator@example.com",
        "hostname": "example.com",
        "ipv4": "192.0.2.1",
        "ipv6": "2001:db8::1",
        "uri": "https://example.com/",
        "uri-reference": "https://example.com/",
        "uuid": "00000000-0000-4000-8000-000000000000",
        "binary": "",
    }
)

Schema = Mapping[str, Any]


def instance(schema: Any, text: str = "simulated", root: Schema | None = None, depth: int = 0) -> Any:
    """Return an instance of a schema; where any string will do, it is `text`.

    Knows `$ref` within the schema, `const`, `enum`, `anyOf`, `oneOf`, `allOf`, objects, arrays, ranges of numbers and
    lengths, and formats; not `pattern`.
    """
    if not isinstance(schema, dict) or depth > _TOO_DEEP:
        return None
    root = schema if root is None else root

    def within(inner: Any) -> Any:
        return instance(inner, text, root, depth + 1)

    if "$ref" in schema:
        return within({**_resolved(schema["$ref"], root), **{k: v for k, v in schema.items() if k != "$ref"}})
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if schema.get("allOf"):
        return within(_merged(schema, root))
    for name in ("anyOf", "oneOf"):
        if schema.get(name):
            return within(_alternative(schema[name], depth))
    match _kind(schema, depth):
        case "object":
            return _object(schema, within, depth)
        case "array":
            return _array(schema, within, depth)
        case "string":
            return _string(schema, text)
        case "integer" | "number" as kind:
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
    return text


def _kind(schema: Schema, depth: int) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        if depth >= _DEEP and "null" in kind:
            return "null"
        return next((str(each) for each in kind if each != "null"), "null")
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema else "array" if "items" in schema else None


def _resolved(ref: str, root: Schema) -> Schema:
    found: Any = root
    for part in ref.removeprefix("#").split("/")[1:]:
        found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}


def _merged(schema: Schema, root: Schema) -> Schema:
    """Return a schema with those of its `allOf` in it."""
    merged: dict[str, Any] = {name: value for name, value in schema.items() if name != "allOf"}
    for part in schema["allOf"]:
        if not isinstance(part, dict):
            continue
        whole = _resolved(part["$ref"], root) if "$ref" in part else part
        properties = {**merged.get("properties", {}), **whole.get("properties", {})}
        required = [*merged.get("required", ()), *whole.get("required", ())]
        merged = {**whole, **merged}
        if properties:
            merged |= {"properties": properties, "required": required}
    return merged


def _alternative(alternatives: Any, depth: int) -> Any:
    """Return the first alternative that is not null; deep down null, if it is one of them."""
    null = next((each for each in alternatives if isinstance(each, dict) and each.get("type") == "null"), None)
    if depth >= _DEEP and null is not None:
        return null
    return next((each for each in alternatives if each is not null), null)


def _object(schema: Schema, within: Any, depth: int) -> dict[str, Any]:
    required = schema.get("required", ())
    properties: Schema = schema.get("properties", {})
    return {name: within(inner) for name, inner in properties.items() if name in required or depth < _DEEP} | {
        name: "simulated" for name in required if name not in properties
    }


def _array(schema: Schema, within: Any, depth: int) -> list[Any]:
    fixed = [within(inner) for inner in schema.get("prefixItems", ())]
    least = schema.get("minItems", 0 if depth >= _DEEP or fixed or schema.get("maxItems") == 0 else 1)
    items = schema.get("items", {})
    return fixed + [within(items) for _ in range(len(fixed), least)]


def _string(schema: Schema, text: str) -> str:
    made = _FORMATS.get(schema.get("format", ""), text)
    return made.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength")]


def _number(schema: Schema, *, whole: bool) -> float:
    """Return the first of some likely numbers that is in range; 0, if none is."""
    step = schema.get("multipleOf", 1 if whole else None)
    lows = [schema[name] for name in ("minimum", "exclusiveMinimum") if name in schema]
    highs = [schema[name] for name in ("maximum", "exclusiveMaximum") if name in schema]
    candidates: list[float] = [0]
    for low in lows:
        least = math.ceil(low / (step or 1)) * (step or 1)
        candidates += [least, least + (step or 1), low]
    for high in highs:
        most = math.floor(high / (step or 1)) * (step or 1)
        candidates += [most, most - (step or 1), high]
    candidates += [(low + high) / 2 for low in lows for high in highs]
    number = next((each for each in candidates if _fits(each, schema, step)), 0)
    return int(number) if whole else number


def _fits(number: float, schema: Schema, step: float | None) -> bool:
    return bool(
        number >= schema.get("minimum", number)
        and number <= schema.get("maximum", number)
        and number > schema.get("exclusiveMinimum", -math.inf)
        and number < schema.get("exclusiveMaximum", math.inf)
        and (step is None or math.isclose(number / step, round(number / step)))
    )
