"""A valid instance of a JSON Schema, always the same one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import chain, repeat
from types import MappingProxyType
from typing import Any

from service.providers.simulator.budget import VALUE, Budget
from service.providers.simulator.schema import Schema, sound

_DEEP = 6
"""From this depth on only what is required is made, so that schemas that contain themselves come to an end."""
_TOO_DEEP = 32

_MOST_ITEMS = 1000
"""Of an array: `minItems` may ask for billions."""
_MOST_PADDING = 10_000
"""The characters that a string is filled up to: `minLength` may ask for more than there is memory."""

_TOO_LARGE = 2**63
"""For an integer that is written as such."""

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

Within = Callable[[Any], Any]


def instance(schema: Any, budget: Budget, text: str = "simulated", root: Schema | None = None, depth: int = 0) -> Any:
    """Return an instance of a schema; where any string will do, it is `text`.

    Knows `$ref` within the schema, `const`, `enum`, `anyOf`, `oneOf`, `allOf`, objects, arrays, ranges of numbers and
    lengths, and formats; not `pattern`. What is beyond the budget is null, empty or left out.

    Raises:
        MalformedSchema: a keyword has a value that it cannot have.
    """
    if not isinstance(schema, dict) or depth > _TOO_DEEP or not budget.spend(VALUE + _entries(schema)):
        return None
    schema = sound(schema)
    root = schema if root is None else root
    deep = depth >= _DEEP or budget.scarce

    def within(inner: Any) -> Any:
        return instance(inner, budget, text, root, depth + 1)

    if "$ref" in schema:
        return within({**_resolved(schema["$ref"], root, budget), **{k: v for k, v in schema.items() if k != "$ref"}})
    if "const" in schema:
        return budget.buy(schema["const"])
    if schema.get("enum"):
        return budget.buy(schema["enum"][0])
    if schema.get("allOf"):
        return within(_merged(schema, root, budget))
    for name in ("anyOf", "oneOf"):
        if schema.get(name):
            return within(_alternative(schema[name], deep))
    match _kind(schema, deep):
        case "object":
            return _object(schema, within, deep, budget)
        case "array":
            return _array(schema, within, deep, budget)
        case "string":
            return budget.buy(_string(schema, text)) or ""
        case "integer" | "number" as kind:
            return _number(schema, whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
    return budget.buy(text)


def _entries(schema: Schema) -> int:
    """Return how many entries of a schema there are to look at."""
    return len(schema) + sum(len(value) for value in schema.values() if isinstance(value, (dict, list)))


def _kind(schema: Schema, deep: bool) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        if deep and "null" in kind:
            return "null"
        return next((str(each) for each in kind if each != "null"), "null")
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema else "array" if "items" in schema else None


def _resolved(ref: str, root: Schema, budget: Budget) -> Schema:
    if not budget.spend(len(ref)):
        return {}
    found: Any = root
    for part in ref.removeprefix("#").split("/", _TOO_DEEP)[1:]:
        found = found.get(part.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
    return found if isinstance(found, dict) else {}


def _merged(schema: Schema, root: Schema, budget: Budget) -> Schema:
    """Return a schema with those of its `allOf` in it."""
    merged: dict[str, Any] = {name: value for name, value in schema.items() if name != "allOf"}
    properties: dict[str, Any] = dict(merged.get("properties", {}))
    required: list[str] = list(merged.get("required", ()))
    for part in schema["allOf"]:
        own = sound(part)
        whole = sound(_resolved(own["$ref"], root, budget)) if "$ref" in own else own
        if not budget.spend(_entries(whole)):
            break
        properties |= whole.get("properties", {})
        required += whole.get("required", ())
        for name, value in whole.items():
            merged.setdefault(name, value)
    return {**merged, "properties": properties, "required": required} if properties else merged


def _alternative(alternatives: Any, deep: bool) -> Any:
    """Return the first alternative that is not null; deep down null, if it is one of them."""
    null = next((each for each in alternatives if isinstance(each, dict) and each.get("type") == "null"), None)
    if deep and null is not None:
        return null
    return next((each for each in alternatives if each is not null), null)


def _object(schema: Schema, within: Within, deep: bool, budget: Budget) -> dict[str, Any]:
    properties: Schema = schema.get("properties", {})
    required = dict.fromkeys(schema.get("required", ()))
    made: dict[str, Any] = {}
    for name in chain(properties, (name for name in required if name not in properties)):
        if deep and name not in required:
            continue
        if not budget.spend(len(name)):
            break
        made[name] = within(properties.get(name, {"const": "simulated"}))
    return made


def _array(schema: Schema, within: Within, deep: bool, budget: Budget) -> list[Any]:
    fixed = schema.get("prefixItems", ())
    least = schema.get("minItems", 0 if deep or fixed or schema.get("maxItems") == 0 else 1)
    made: list[Any] = []
    for inner in chain(fixed, repeat(schema.get("items", {}), min(least, _MOST_ITEMS) - len(fixed))):
        if budget.overdrawn:
            break
        made.append(within(inner))
    return made


def _string(schema: Schema, text: str) -> str:
    made = _FORMATS.get(schema.get("format", ""), text)
    return made.ljust(min(schema.get("minLength", 0), _MOST_PADDING), ".")[: schema.get("maxLength")]


def _number(schema: Schema, *, whole: bool) -> float:
    """Return the first of some likely numbers that is in range; 0, if none is."""
    step = schema.get("multipleOf", 1 if whole else None)
    unit = step or 1
    lows = [schema[name] for name in ("minimum", "exclusiveMinimum") if name in schema]
    highs = [schema[name] for name in ("maximum", "exclusiveMaximum") if name in schema]
    candidates: list[float] = [0]
    for low in lows:
        least = _multiple(low, unit, math.ceil)
        candidates += [least, least + unit, low]
    for high in highs:
        most = _multiple(high, unit, math.floor)
        candidates += [most, most - unit, high]
    candidates += [(low + high) / 2 for low in lows for high in highs]
    number = next((each for each in candidates if _fits(each, schema, step)), 0)
    if abs(number) >= _TOO_LARGE:
        return float(number)
    return int(number) if whole else number


def _multiple(bound: float, unit: float, rounded: Callable[[float], int]) -> float:
    """Return the multiple of a unit beside a bound; the bound where there is none."""
    count = bound / unit
    return rounded(count) * unit if math.isfinite(count) else bound


def _is_multiple(number: float, step: float) -> bool:
    count = number / step
    return math.isfinite(count) and math.isclose(count, round(count))


def _fits(number: float, schema: Schema, step: float | None) -> bool:
    return bool(
        number >= schema.get("minimum", number)
        and number <= schema.get("maximum", number)
        and number > schema.get("exclusiveMinimum", -math.inf)
        and number < schema.get("exclusiveMaximum", math.inf)
        and math.isfinite(number)
        and (step is None or _is_multiple(number, step))
    )
