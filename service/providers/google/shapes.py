"""Typed access to the values of an answer's JSON; a value of another type makes the answer malformed."""

from __future__ import annotations

from typing import Any

import orjson

from service.codec import AnswerError, dumps, parse
from service.errors import FailureKind, ProviderFailure

Json = dict[str, Any]


def malformed(what: str) -> ProviderFailure:
    """Return the failure for an answer that is not what it should be."""
    return ProviderFailure(FailureKind.MALFORMED, f"The provider's answer is malformed: {what}.")


def json_object(body: bytes) -> Json:
    """Return a body that has to be a JSON object.

    Raises:
        ProviderFailure: it is something else.
    """
    try:
        # of all numbers only those in a call's arguments go on as text, where one that was rounded would show
        value = parse(body) if b"functionCall" in body else orjson.loads(body)
    except (AnswerError, orjson.JSONDecodeError) as error:
        raise malformed("it is not JSON") from error
    if isinstance(value, list) and len(value) == 1:  # some front ends of Google's wrap errors in a list
        value = value[0]
    if not isinstance(value, dict):
        raise malformed("it is not a JSON object")
    return value


def get_object(value: Json, name: str) -> Json:
    """Return an object's field that is an object; empty when absent."""
    found = value.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise malformed(f"{name} is not an object")
    return found


def get_objects(value: Json, name: str) -> list[Json]:
    """Return an object's field that is a list of objects; empty when absent."""
    found = value.get(name)
    if found is None:
        return []
    if not isinstance(found, list):
        raise malformed(f"{name} is not a list")
    for item in found:
        if not isinstance(item, dict):
            raise malformed(f"{name} is not a list of objects")
    return found


def get_text(value: Json, name: str) -> str:
    """Return an object's field that is a string; empty when absent."""
    found = value.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise malformed(f"{name} is not a string")
    return found


def get_count(value: Json, name: str) -> int:
    """Return an object's field that is a count; 0 when absent."""
    found = value.get(name)
    if found is None:
        return 0
    if type(found) is not int or not 0 <= found < 2**31:
        raise malformed(f"{name} is not a count")
    return found


def get_number(value: Json, name: str) -> float:
    """Return an object's field that is a number; 0 when absent."""
    found = value.get(name)
    if found is None:
        return 0.0
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise malformed(f"{name} is not a number")
    return float(found)


def json_text(value: Any) -> str:
    """Return a part of an answer as JSON text."""
    try:
        return dumps(value).decode()
    except TypeError as error:
        raise malformed("it is nested too deep") from error
