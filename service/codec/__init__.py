"""JSON to messages and back, compiled once from the descriptors and their JSON options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar, cast

from google.protobuf.message import Message

from service.codec.checker import compile_checks
from service.codec.fault import AnswerError, Fault, JsonFault
from service.codec.policy import LENIENT, STRICT
from service.codec.reader import compile_readers
from service.codec.schema import DESCRIPTORS, SCHEMA, depth
from service.codec.text import Notes, Text, deeper_than, dumps, loads, loads_exactly, parse, strings
from service.codec.values import Reader
from service.codec.writer import compile_writers
from service.errors import GatewayError

__all__ = [
    "AnswerError",
    "decode",
    "decode_request",
    "dumps",
    "encode",
    "field_names",
    "parse",
    "strings",
    "to_json",
    "validate",
]

M = TypeVar("M", bound=Message)
C = TypeVar("C", bound=Callable[[Any], Any] | Reader)


def _by_descriptor(compiled: Mapping[str, C]) -> Mapping[object, C]:
    return MappingProxyType({DESCRIPTORS[name]: each for name, each in compiled.items()})


_STRICT = _by_descriptor(compile_readers(SCHEMA, STRICT))
_LENIENT = _by_descriptor(compile_readers(SCHEMA, LENIENT))
_WRITERS = _by_descriptor(compile_writers(SCHEMA, DESCRIPTORS))
_CHECKS = _by_descriptor(compile_checks(SCHEMA, DESCRIPTORS))
_DEPTHS: Mapping[object, int] = MappingProxyType({DESCRIPTORS[name]: depth(SCHEMA, name) for name in SCHEMA})
"""How deep each message's JSON may be nested, but for what is kept as raw text. A number too high only costs a walk."""
_JSON_NAMES = MappingProxyType(
    {
        DESCRIPTORS[spec.full_name].fields_by_name[field.name]: item.json_name
        for spec in SCHEMA.values()
        for item in spec.items
        for field in item.members
    }
)


def decode_request(cls: type[M], body: Text, *, max_depth: int) -> M:
    """Return the message that a client's JSON text means.

    `max_depth`: arrays and objects within each other, the outermost included.

    Raises:
        GatewayError: the text is not JSON, or breaks a rule; `param` is the path of the field as the client wrote it.
    """
    try:
        return cls(**_read_request(cls.DESCRIPTOR, body, max_depth))
    except Fault as fault:
        raise GatewayError(fault.code, fault.message, param=fault.param) from None


def validate(message: Message) -> None:
    """Check a message that came over gRPC by the rules that JSON requests are checked by.

    Raises:
        GatewayError: it breaks one; `param` is the JSON path of the field.
    """
    try:
        _CHECKS[message.DESCRIPTOR](message)
    except Fault as fault:
        raise GatewayError(fault.code, fault.message, param=fault.param) from None


def decode(cls: type[M], body: bytes) -> M:
    """Return the message that a provider's JSON text means.

    No rules are checked. Null is absent, unknown fields and unknown enum strings go into `extra` where there is one,
    fractions of whole numbers are cut off.

    Raises:
        AnswerError: the text is not JSON or not an object, or a known field has a wrong type.
    """
    try:
        value = loads(body)
        return cls(**_read(_LENIENT[cls.DESCRIPTOR], body, value, Notes()))
    except Fault as fault:
        raise AnswerError(fault.message) from None


def encode(message: Message) -> bytes:
    """Return a message as JSON text, in one line."""
    return dumps(_WRITERS[message.DESCRIPTOR](message))


def to_json(message: Message) -> dict[str, Any]:
    """Return a message as a JSON object for `dumps`: fields in order of number, raw ones as fragments of text."""
    return cast("dict[str, Any]", _WRITERS[message.DESCRIPTOR](message))


def field_names(message: Message) -> Sequence[str]:
    """Return the JSON names of the fields that are set in a message; nested and unknown ones are not among them."""
    return [name for field, _ in message.ListFields() if (name := _JSON_NAMES.get(field)) is not None]


def _read_request(descriptor: object, body: Text, max_depth: int) -> dict[str, Any]:
    value = loads(body)
    notes = Notes()
    try:
        if type(value) is not dict:
            raise JsonFault("The JSON text is not an object.")
        fields = _read(_STRICT[descriptor], body, value, notes)
    except Fault:
        _check_depth(value, max_depth)  # is told first
        raise
    if notes.depth + _DEPTHS[descriptor] > max_depth:
        _check_depth(value, max_depth)
    return fields


def _check_depth(value: Any, limit: int) -> None:
    if deeper_than(value, limit):
        raise JsonFault(f"The JSON text is nested more than {limit} deep.")


def _read(read: Reader, body: Text, value: Any, notes: Notes) -> dict[str, Any]:
    """Read a parsed body; once more, parsed exactly, where a raw text may hold a number that was rounded."""
    fields: dict[str, Any] = read(value, notes)
    if notes.rounded:
        fields = read(loads_exactly(body), notes)
    return fields
