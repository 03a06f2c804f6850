"""The rules of a field, compiled into checks that both faces share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service.codec.fault import Fault, not_one_of
from service.codec.schema import FieldSpec, Kind

Check = Callable[[Any], None]
"""Raises a Fault without a path when the value breaks a rule."""


def value_check(field: FieldSpec) -> Check | None:
    """Return the check of one value of the field, already of the right type; None where anything is allowed.

    An enum's `allowed` is not checked here: it is compiled into the table of its names (see `enum_names`).
    """
    rules = field.rules
    match field.kind:
        case Kind.STRING if rules.allowed:
            return _allowed(rules.allowed)
        case Kind.STRING if rules.min_length is not None or rules.max_length is not None:
            return _between(rules.min_length, rules.max_length, len, "must have a length of")
        case Kind.DOUBLE:
            return _finite(_between(rules.minimum, rules.maximum, float, "must be"))
        case Kind.INT if rules.minimum is not None or rules.maximum is not None:
            return _between(rules.minimum, rules.maximum, int, "must be")
    return None


def count_check(field: FieldSpec) -> Check | None:
    """Return the check of how many items a repeated field has, given the list; None where any count is allowed."""
    rules = field.rules
    if rules.min_items is None and rules.max_items is None:
        return None
    return _between(rules.min_items, rules.max_items, len, "must have a number of items of")


def enum_names(field: FieldSpec) -> dict[int, str]:
    """Return the JSON strings, by number, that are allowed in an enum field."""
    assert field.enum is not None
    allowed = field.rules.allowed
    return {number: name for number, name in field.enum.names.items() if not allowed or name in allowed}


def _allowed(names: tuple[str, ...]) -> Check:
    known = frozenset(names)

    def check(value: str) -> None:
        if value not in known:
            raise Fault("invalid_value", not_one_of(names, value))

    return check


def _between(low: float | None, high: float | None, size: Callable[[Any], float], subject: str) -> Check:
    def check(value: Any) -> None:
        measured = size(value)
        if low is not None and measured < low:
            raise Fault("out_of_range", f"{subject} at least {low:g}, not {measured}")
        if high is not None and measured > high:
            raise Fault("out_of_range", f"{subject} at most {high:g}, not {measured}")

    return check


def _finite(within: Check) -> Check:
    def check(value: float) -> None:
        if not abs(value) < float("inf"):
            raise Fault("out_of_range", "must be a finite number")
        within(value)

    return check
