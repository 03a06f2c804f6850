"""Which JSON Schemas the simulator can follow. A provider refuses the others, and so does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Schema = Mapping[str, Any]


class MalformedSchema(ValueError):
    """A keyword of a schema has a value that it cannot have. The message says which."""


_COUNTS = ("minItems", "maxItems", "minLength", "maxLength")
_EXCLUSIVE = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return _is_number(value) and float(value).is_integer()


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


_KINDS: Mapping[str, tuple[Callable[[Any], bool], tuple[str, ...]]] = MappingProxyType(
    {
        "an object": (lambda value: isinstance(value, dict), ("properties", "$defs", "definitions")),
        "a list": (lambda value: isinstance(value, list), ("enum", "allOf", "anyOf", "oneOf", "prefixItems")),
        "a list of names": (_is_names, ("required",)),
        "a name, or a list of names": (lambda value: isinstance(value, str) or _is_names(value), ("type",)),
        "a text": (lambda value: isinstance(value, str), ("$ref", "format")),
        "a whole number from 0": (lambda value: _is_whole(value) and value >= 0, _COUNTS),
        "a number": (_is_number, ("minimum", "maximum")),
        "a number, or true or false as in draft 4": (lambda value: isinstance(value, (int, float)), tuple(_EXCLUSIVE)),
        "a number above 0": (lambda value: _is_number(value) and value > 0, ("multipleOf",)),
    }
)
"""What the values of keywords are."""

_KEYWORDS = {name: (kind, fits) for kind, (fits, names) in _KINDS.items() for name in names}


def sound(schema: Any) -> Schema:
    """Return a schema whose own keywords are looked at, not those within; what is no object says nothing, so {}.

    Whole numbers are integers in it, and draft 4's exclusive bounds are those of later drafts.

    Raises:
        MalformedSchema: a keyword has a value that it cannot have.
    """
    if not isinstance(schema, dict):
        return {}
    found = {name: value for name, value in schema.items() if value is not None or name not in _KEYWORDS}
    for name, value in found.items():
        if name in _KEYWORDS and not _KEYWORDS[name][1](value):
            raise MalformedSchema(f"In a JSON Schema of the request {name!r} is not {_KEYWORDS[name][0]}.")
    for name in _COUNTS:
        if name in found:
            found[name] = int(found[name])
    for name, bound in _EXCLUSIVE.items():
        if isinstance(found.get(name), bool):
            is_exclusive = found.pop(name)
            if is_exclusive and bound in found:
                found[name] = found.pop(bound)
    return found
