"""JSON text to values and back, keeping every number that a double or 64 bits cannot hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import orjson

from service.codec.fault import AnswerError, JsonFault

Text = bytes | memoryview
"""A JSON text, in UTF-8."""

_BOM = b"\xef\xbb\xbf"
_TOO_DEEP = "The JSON text is nested too deep."
_EXACT_DIGITS = 15


class Literal(float):
    """A number that keeps the text it was written as. As a float it is the nearest one, or infinite."""

    __slots__ = ("text",)

    text: str

    def __new__(cls, text: str) -> Literal:
        """Make it from the text of a JSON number."""
        literal = super().__new__(cls, text)
        literal.text = text
        return literal


class Notes:
    """What is noted of values: of a whole one, or of all parts of one that are kept as raw text.

    `rounded`: there is a number that may have been rounded. `depth`: how many arrays and objects within each other the
    deepest has.
    """

    __slots__ = ("depth", "rounded")

    def __init__(self) -> None:
        self.rounded = False
        self.depth = 0

    def look_at(self, value: Any) -> None:
        """Note what a value holds."""
        try:
            depth = self._depth_of((value,))
        except RecursionError:
            self.depth, self.rounded = sys.maxsize, True  # as far as anybody could look
        else:
            if depth > self.depth:
                self.depth = depth

    def _depth_of(self, items: Iterable[Any]) -> int:
        deepest = 0
        for item in items:
            kind = type(item)
            if kind is dict or kind is list:
                depth = 1 + self._depth_of(item.values() if kind is dict else item)
                if depth > deepest:
                    deepest = depth
            elif kind is float:
                # Whole numbers are exact: one that 64 bits do not hold is read as a float.
                self.rounded = True
        return deepest


def dumps(value: Any) -> bytes:
    """Return the JSON text of a value: what `orjson.dumps` takes, and the numbers of `parse`.

    Raises:
        TypeError: the value has no JSON form, or is nested more than 254 deep.
    """
    return orjson.dumps(value, default=_fragment)


def strings(texts: Sequence[str], between: bytes) -> bytes:
    """Return the JSON texts of strings, one after the other with `between` between them."""
    # Indented, each has a line of its own: within a string a line break is escaped.
    return orjson.dumps(texts, option=orjson.OPT_INDENT_2)[4:-2].replace(b",\n  ", between)


def parse(body: bytes) -> Any:
    """Return the value of a JSON text. Numbers that a double or 64 bits cannot hold are kept as their text for `dumps`.

    Raises:
        AnswerError: it is not JSON.
    """
    try:
        value = loads(body)
        notes = Notes()
        notes.look_at(value)
        return loads_exactly(body) if notes.rounded else value
    except JsonFault as fault:
        raise AnswerError(fault.message) from None


def loads(body: Text) -> Any:
    """Return the value of a JSON text, quickly; numbers may be rounded to doubles.

    Raises:
        JsonFault: it is not JSON.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        # Numbers beyond a double are refused by orjson, and the other parser says better what is wrong.
        value = loads_exactly(body)
        _refuse_surrogates(value)
        return value


def loads_exactly(body: Text) -> Any:
    """Return the value of a JSON text, with each number that would be rounded as a `Literal`.

    Raises:
        JsonFault: it is not JSON.
    """
    text = bytes(body)
    if not text.strip():
        raise JsonFault("The JSON text is empty.")
    if text.startswith(_BOM):
        raise JsonFault("The JSON text begins with a byte order mark.")
    try:
        return _EXACT.decode(text.decode())
    except UnicodeDecodeError as error:
        raise JsonFault(f"The JSON text is not UTF-8 at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise JsonFault(f"The text is not JSON: {error.msg.lower()} at {where}.") from None
    except RecursionError:
        raise JsonFault(_TOO_DEEP) from None


def deeper_than(value: Any, limit: int) -> bool:
    """Say whether a value has more than `limit` arrays and objects within each other."""
    notes = Notes()
    notes.look_at(value)
    return notes.depth > limit


def raw_text(value: Any, notes: Notes) -> str:
    """Return the JSON text of a part of a parsed value.

    Raises:
        JsonFault: it is nested too deep.
    """
    try:
        text = orjson.dumps(value, default=_fragment)
    except TypeError:
        raise JsonFault(_TOO_DEEP) from None
    notes.look_at(value)
    return text.decode()


def _fragment(value: Any) -> orjson.Fragment:
    if isinstance(value, Literal):
        return orjson.Fragment(value.text)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _exact_int(text: str) -> int | Literal:
    if len(text) <= _EXACT_DIGITS:
        return int(text)
    literal = Literal(text)
    if abs(literal) < 2**65 and -(2**63) <= int(text) < 2**64:
        return int(text)
    return literal


def _exact_float(text: str) -> float:
    return float(text) if len(text) <= _EXACT_DIGITS and "e" not in text and "E" not in text else Literal(text)


def _refuse_constant(name: str) -> NoReturn:
    raise JsonFault(f"The text is not JSON: {name} is no JSON value.")


_EXACT = json.JSONDecoder(parse_int=_exact_int, parse_float=_exact_float, parse_constant=_refuse_constant)


def _refuse_surrogates(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise JsonFault("The JSON text has half a surrogate pair, which is no character.") from None
    except RecursionError:
        raise JsonFault(_TOO_DEEP) from None
