"""Readers of single JSON values: strings, numbers, enums and raw JSON text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service.codec.fault import Fault, UnknownName, not_one_of, wrong_type
from service.codec.rules import enum_names
from service.codec.schema import FieldSpec, Kind
from service.codec.text import Notes, raw_text

Reader = Callable[[Any, Notes], Any]
"""Takes a JSON value, returns what a message's constructor takes for it. Raises Fault."""

# Up to here every whole number has a double of its own, so that a float written for an int is exact.
_EXACT_FLOAT = 2.0**53


def string(value: Any, notes: Notes) -> str:
    """Read a string."""
    if type(value) is str:
        return value
    raise wrong_type("a string", value)


def boolean(value: Any, notes: Notes) -> bool:
    """Read a boolean."""
    if value is True or value is False:
        return value
    raise wrong_type("a boolean", value)


def double(value: Any, notes: Notes) -> float:
    """Read a number, which may come out infinite."""
    if type(value) is float or type(value) is int or isinstance(value, float):
        return float(value)
    raise wrong_type("a number", value)


def raw(value: Any, notes: Notes) -> str:
    """Read anything but null as JSON text."""
    if value is None:
        raise wrong_type("any value", value)
    return raw_text(value, notes)


def raw_object(value: Any, notes: Notes) -> str:
    """Read an object as JSON text."""
    if type(value) is not dict:
        raise wrong_type("an object", value)
    return raw_text(value, notes)


def whole_number(field: FieldSpec) -> Reader:
    """Return the reader of a field of whole numbers: integers, and floats that are exactly one."""
    low, high = field.low, field.high

    def read(value: Any, notes: Notes) -> int:
        if type(value) is int:
            if low <= value <= high:
                return value
            raise _beyond(low, high)
        if not isinstance(value, float):
            raise wrong_type("an integer", value)
        if not -_EXACT_FLOAT <= value <= _EXACT_FLOAT:
            raise _beyond(low, high)
        if not value.is_integer():
            raise Fault("invalid_type", "must be an integer, not a fraction")
        return read(int(value), notes)

    return read


def truncated_number(field: FieldSpec) -> Reader:
    """Return the reader of a field of whole numbers that cuts fractions off."""
    low, high = field.low, field.high

    def read(value: Any, notes: Notes) -> int:
        if type(value) is not int and not isinstance(value, float):
            raise wrong_type("an integer", value)
        if not low <= value <= high:
            raise _beyond(low, high)
        return value if type(value) is int else int(value)

    return read


def enum(field: FieldSpec) -> Reader:
    """Return the reader of an enum field's strings. It raises UnknownName for a string that is none of them."""
    numbers = {name: number for number, name in enum_names(field).items()}

    def read(value: Any, notes: Notes) -> int:
        try:
            return numbers[value]
        except (KeyError, TypeError):
            if type(value) is str:
                raise UnknownName("invalid_value", not_one_of(numbers, value)) from None
            raise wrong_type("a string", value) from None

    return read


def scalar(field: FieldSpec, integers: Callable[[FieldSpec], Reader]) -> Reader:
    """Return the reader of one value of a field that holds no message. `integers` makes the reader of whole numbers."""
    match field.kind:
        case Kind.STRING:
            return string
        case Kind.RAW:
            return raw_object if field.raw_object else raw
        case Kind.BOOL:
            return boolean
        case Kind.INT:
            return integers(field)
        case Kind.DOUBLE:
            return double
        case Kind.ENUM:
            return enum(field)
    raise TypeError(f"{field.name}: a {field.kind} is no scalar")


def _beyond(low: int, high: int) -> Fault:
    return Fault("out_of_range", f"must be an integer from {low} to {high}")
