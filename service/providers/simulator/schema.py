"""Which JSON Schemas the simulator can follow. A provider refuses the others, and so does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Schema = Mapping[str, Any]


class MalformedSchema(ValueError):
    """A keyword of a schema has a value that it cannot have. The message says which."""


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


_KINDS: Mapping[str, tuple[Callable[[Any], bool], tuple[str, ...]]] = MappingProxyType(
    {
        "an object": (lambda value: isinstance(value, dict), ("properties", "$defs", "definitions")),
        "a list": (lambda value: isinstance(value, list), ("enum", "allOf", "anyOf", "oneOf", "prefixItems")),
        "a list of names": (_is_names, ("required",)),
        "a name, or a list of names": (lambda value: isinstance(value, str) or _is_names(value), ("type",)),
        "a text": (lambda value: isinstance(value, str), ("$ref", "format")),
        "a whole number from 0": (
            lambda value: isinstance(value, int) and value >= 0,
            ("minItems", "maxItems", "minLength", "maxLength"),
        ),
        # True and false are so, too: draft 4 has them.
        "a number": (
            lambda value: isinstance(value, (int, float)),
            ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
        ),
        "a number above 0": (lambda value: isinstance(value, (int, float)) and value > 0, ("multipleOf",)),
    }
)
"""What the values of keywords are."""

_KEYWORDS = {name: (kind, fits) for kind, (fits, names) in _KINDS.items() for name in names}


def sound(schema: Any) -> Schema:
    """Return a schema whose own keywords are looked at, not those within; what is no object says nothing, so {}.

    Raises:
        MalformedSchema: a keyword has a value that it cannot have.
    """
    if not isinstance(schema, dict):
        return {}
    for name, value in schema.items():
        if name in _KEYWORDS:
            kind, fits = _KEYWORDS[name]
            if value is not None and not fits(value):
                raise MalformedSchema(f"In a JSON Schema of the request {name!r} is not {kind}.")
    return {name: value for name, value in schema.items() if value is not None or name not in _KEYWORDS}
