"""Arguments of a function call, taken from the words of the user."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import islice, product
from types import MappingProxyType
from typing import Any

from service.providers.simulator.instance import instance

_MOST_CALLS = 8

_ZONE = re.compile(r"\b[A-Z][A-Za-z]+(?:/[A-Z][A-Za-z0-9_+-]*[A-Za-z0-9])+|\b(?:UTC|GMT)\b")
_NAME = r"[A-Z][\w'.-]*\w(?: [A-Z][\w'.-]*\w)*"
_PLACE = re.compile(rf"\b(?:in|at|for|near|from|to|of)\s+(?P<places>{_NAME}(?:(?:, | and |, and ){_NAME})*)")
_BETWEEN_PLACES = re.compile(r", and | and |, ")
_QUOTED = re.compile(r"[\"“]([^\"”]+)[\"”]")
_NUMBER = re.compile(r"(?<![\w/.:-])-?\d+(?:\.\d+)?(?![\w/:-])")

_BY_NAME: Mapping[str, Callable[[str], list[str]]] = MappingProxyType(
    {
        r"time_?zone|tz|zone": _ZONE.findall,
        r"e?_?mail": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+").findall,
        r"ur[il]|link": re.compile(r"https?://[^\s\"'<>]+[\w/]").findall,
        r"date|day": re.compile(r"\b\d{4}-\d{2}-\d{2}\b").findall,
        r"city|cities|location|place|town|country|region": lambda text: _places(text),
    }
)
"""How the values of a string parameter are found in a text, by a word of its name."""


def fill(parameters: Any, text: str) -> list[dict[str, Any]]:
    """Return the arguments of one call, or of several where the text names several values of one parameter.

    `parameters` is the function's JSON Schema, `text` what the user said. A required parameter always gets a value.
    """
    schema: Mapping[str, Any] = parameters if isinstance(parameters, dict) else {}
    properties: Mapping[str, Any] = schema.get("properties") or {}
    required = schema.get("required") or ()
    numbers = iter(_NUMBER.findall(text))
    found: dict[str, list[Any]] = {}
    for name, inner in properties.items():
        property_schema = inner if isinstance(inner, dict) else {}
        values = _values(name, property_schema, text, numbers)
        if not values and name in required:
            values = [_required(name, property_schema, text, schema)]
        if values:
            found[name] = values
    combinations = islice(product(*found.values()), _MOST_CALLS)
    return [dict(zip(found, values, strict=True)) for values in combinations]


def _values(name: str, schema: Mapping[str, Any], text: str, numbers: Any) -> list[Any]:
    if schema.get("enum"):
        return [value for value in schema["enum"] if re.search(rf"\b{re.escape(str(value))}\b", text, re.IGNORECASE)]
    kinds = _kinds(schema)
    if "array" in kinds:
        items = schema.get("items")
        values = _values(name, items if isinstance(items, dict) else {}, text, numbers)
        return [values] if values else []
    if "string" in kinds:
        return list(dict.fromkeys(_strings(name, text)))
    if kinds & {"integer", "number"}:
        number = next(numbers, None)
        if number is None:
            return []
        return [int(float(number)) if "integer" in kinds else float(number)]
    return []


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """Return the types that a schema allows, those of `X | None` included."""
    kind = schema.get("type")
    kinds = {kind} if isinstance(kind, str) else set(kind or ())
    for each in schema.get("anyOf") or ():
        kinds |= _kinds(each) if isinstance(each, dict) else set()
    return kinds


def _strings(name: str, text: str) -> list[str]:
    for pattern, find in _BY_NAME.items():
        if re.search(rf"(?:^|_)(?:{pattern})s?(?:_|$)", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()):
            return find(text)
    return _QUOTED.findall(text)[:1]


def _places(text: str) -> list[str]:
    """Return the places that a text names: `Paris and Rome` are two, `Paris, France` is one."""
    lists = [match["places"] for match in _PLACE.finditer(_ZONE.sub(" ", text))]
    return [place for each in lists for place in (_BETWEEN_PLACES.split(each) if " and " in each else [each])]


def _required(name: str, schema: Mapping[str, Any], text: str, root: Mapping[str, Any]) -> Any:
    kinds = _kinds(schema)
    if "null" in kinds:
        return None
    return instance({**schema, "$defs": root.get("$defs", {})}, text or name)
