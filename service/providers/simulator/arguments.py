"""Arguments of a function call, taken from the words of the user."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice, product
from types import MappingProxyType
from typing import Any

from service.providers.simulator.budget import VALUE, Budget
from service.providers.simulator.instance import instance
from service.providers.simulator.schema import Schema, sound

_MOST_CALLS = 8

_SEARCHED_CHARACTERS = 4000
"""So much of the end of a text is searched, in at most 2 ms for each kind of value."""
_MOST_WORDS = 8
"""Longer values of an `enum` are not found: for each word more there are as many phrases more as the text has words."""

_ZONE = re.compile(r"\b[A-Z][A-Za-z]+(?:/[A-Z][A-Za-z0-9_+-]*[A-Za-z0-9])+|\b(?:UTC|GMT)\b")
_NAME = r"[A-Z][\w'.-]*\w(?: [A-Z][\w'.-]*\w)*"
_PLACE = re.compile(rf"\b(?:in|at|for|near|from|to|of)\s+(?P<places>{_NAME}(?:(?:, | and |, and ){_NAME})*)")
_BETWEEN_PLACES = re.compile(r", and | and |, ")
_QUOTED = re.compile(r"[\"“]([^\"“”]+)[\"”]")
# With more digits an integer may not fit into the 64 bits that JSON is written with.
_NUMBER = re.compile(r"(?<![\w/.:-])-?\d{1,18}(?:\.\d+)?(?![\w/:-])")
_WORD = re.compile(r"\w+")

_BY_NAME: Mapping[str, Callable[[str], list[str]]] = MappingProxyType(
    {
        r"time_?zone|tz|zone": _ZONE.findall,
        r"e?_?mail": re.compile(r"(?<![\w.+-])[\w.+-]+@[\w-]+(?:\.[\w-]+)+").findall,
        r"ur[il]|link": re.compile(r"https?://[^\s\"'<>]+[\w/]").findall,
        r"date|day": re.compile(r"\b\d{4}-\d{2}-\d{2}\b").findall,
        r"city|cities|location|place|town|country|region": lambda text: _places(text),
    }
)
"""How the values of a string parameter are found in a text, by a word of its name."""

_NAMED = tuple((re.compile(rf"(?:^|_)(?:{word})s?(?:_|$)"), find) for word, find in _BY_NAME.items())


class Said:
    """What the user said, searched for values: its end only, and once for all parameters that look for the same."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._searched = text[-_SEARCHED_CHARACTERS:]
        self._found: dict[Callable[[str], list[str]], Sequence[str]] = {}

    @cached_property
    def numbers(self) -> Sequence[str]:
        """All numbers."""
        return _NUMBER.findall(self._searched)

    @cached_property
    def phrases(self) -> frozenset[str]:
        """All words and short sequences of words, in lower case."""
        text = self._searched.lower()
        spans = [word.span() for word in _WORD.finditer(text)]
        return frozenset(
            text[begin:end] for place, (begin, _) in enumerate(spans) for _, end in spans[place : place + _MOST_WORDS]
        )

    def strings(self, name: str) -> Sequence[str]:
        """Return the values for a string parameter of that name."""
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
        find = next((find for pattern, find in _NAMED if pattern.search(words)), _quoted)
        if find not in self._found:
            self._found[find] = list(dict.fromkeys(find(self._searched)))
        return self._found[find]


def fill(parameters: Any, said: Said, budget: Budget) -> list[dict[str, Any]]:
    """Return the arguments of one call, or of several where the text names several values of one parameter.

    `parameters` is the function's JSON Schema. A required parameter always gets a value, unless it is beyond the
    budget, which pays for each value once.

    Raises:
        MalformedSchema: a keyword of the schema has a value that it cannot have.
    """
    schema = sound(parameters)
    properties: Mapping[str, Any] = schema.get("properties", {})
    required = set(schema.get("required", ()))
    numbers = iter(said.numbers)
    found: dict[str, Sequence[Any]] = {}
    for name, inner in properties.items():
        if not budget.spend(VALUE + len(name)):
            break
        property_schema = sound(inner)
        values = budget.buy(_values(name, property_schema, said, numbers)[:_MOST_CALLS])
        if not values and name in required:
            values = [_required(name, property_schema, said.text, schema, budget)]
        if values:
            found[name] = values
    combinations = islice(product(*found.values()), _MOST_CALLS)
    return [dict(zip(found, values, strict=True)) for values in combinations]


def _values(name: str, schema: Schema, said: Said, numbers: Iterator[str]) -> Sequence[Any]:
    if schema.get("enum"):
        return [value for value in schema["enum"] if str(value).lower() in said.phrases]
    kinds = _kinds(schema)
    if "array" in kinds:
        values = _values(name, sound(schema.get("items")), said, numbers)
        return [values] if values else []
    if "string" in kinds:
        return said.strings(name)
    if kinds & {"integer", "number"}:
        number = next(numbers, None)
        if number is None:
            return []
        return [int(float(number)) if "integer" in kinds else float(number)]
    return []


def _kinds(schema: Schema) -> set[str]:
    """Return the types that a schema allows, those of `X | None` included."""
    kind = schema.get("type", ())
    kinds = {kind} if isinstance(kind, str) else set(kind)
    for each in schema.get("anyOf", ()):
        kinds |= _kinds(sound(each))
    return kinds


def _quoted(text: str) -> list[str]:
    return _QUOTED.findall(text)[:1]


def _places(text: str) -> list[str]:
    """Return the places that a text names: `Paris and Rome` are two, `Paris, France` is one."""
    lists = [match["places"] for match in _PLACE.finditer(_ZONE.sub(" ", text))]
    return [place for each in lists for place in (_BETWEEN_PLACES.split(each) if " and " in each else [each])]


def _required(name: str, schema: Schema, text: str, root: Schema, budget: Budget) -> Any:
    kinds = _kinds(schema)
    if "null" in kinds:
        return None
    return instance({**schema, "$defs": root.get("$defs", {})}, budget, text or name)
