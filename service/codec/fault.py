"""What is wrong with a JSON value, and where; the path is built only while a failure unwinds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType, NoneType
from typing import Any

_STEP_CHARACTERS = 64

_KIND_NAMES: Mapping[type, str] = MappingProxyType(
    {str: "a string", bool: "a boolean", dict: "an object", list: "an array", NoneType: "null"}
)


class AnswerError(ValueError):
    """A provider's answer that is not JSON, not an object, or has a known field of a wrong type. Says where."""


class Fault(Exception):
    """A mistake in a value. `code` is the error's code; `text` follows the quoted path: `must be a string, not null`.

    `path` holds the steps to the value from the innermost outwards: names and list indexes.
    """

    def __init__(self, code: str, text: str, *path: str | int) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.path: list[str | int] = list(path)

    @property
    def param(self) -> str | None:
        """The path as clients read it, e.g. `messages[2].content[0].image_url.url`; None for the whole value."""
        joined = "".join(
            f"[{step}]" if isinstance(step, int) else f".{step[:_STEP_CHARACTERS]}" for step in reversed(self.path)
        )
        return joined.removeprefix(".") or None

    @property
    def message(self) -> str:
        """The mistake as a sentence."""
        param = self.param
        subject = "The JSON value" if param is None else _quoted(param)
        end = "" if self.text.endswith((".", "?")) else "."
        return f"{subject} {self.text}{end}"


class UnknownName(Fault):
    """A string that is none of an enum's."""


class JsonFault(Fault):
    """A text that is not JSON, or nested too deep. `text` is the whole sentence."""

    def __init__(self, text: str) -> None:
        super().__init__("invalid_json", text)

    @property
    def message(self) -> str:
        """The mistake as a sentence."""
        return self.text


def wrong_type(expected: str, value: Any) -> Fault:
    """Return the fault of a value of a wrong JSON type. `expected` is with its article: `a string`."""
    return Fault("invalid_type", f"must be {expected}, not {_KIND_NAMES.get(type(value), 'a number')}")


def missing(*path: str | int) -> Fault:
    """Return the fault of a required value that is not there."""
    return Fault("missing_required_parameter", "is required", *path)


def not_one_of(names: Iterable[str], value: str) -> str:
    """Return the text of a fault: what is allowed, and what (the beginning of it) was given."""
    return f"must be one of {', '.join(map(_quoted, names))}, not {_quoted(value[:_STEP_CHARACTERS])}"


def _quoted(name: str) -> str:
    return f"'{name}'"
