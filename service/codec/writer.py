"""Writers of messages as JSON values, compiled from the specs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import copysign
from typing import Any

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from service.codec.rules import enum_names
from service.codec.schema import FieldSpec, Kind, MessageSpec, Shape, UnionSpec

Writer = Callable[[Any], Any]
"""Takes a message, or the value of a field, and returns a value that `dumps` takes."""

_EXACT_FLOAT = 2.0**53
_ABSENT = object()
_ZEROS: Mapping[Kind, Any] = {Kind.STRING: "", Kind.BOOL: False, Kind.INT: 0, Kind.DOUBLE: 0}


def compile_writers(schema: Mapping[str, MessageSpec], descriptors: Mapping[str, Descriptor]) -> Mapping[str, Writer]:
    """Return a writer of each message, by full name."""
    compiler = _Compiler(schema, descriptors, {})
    return {name: compiler.message(name) for name in schema}


@dataclass(frozen=True, slots=True)
class _Compiler:
    schema: Mapping[str, MessageSpec]
    descriptors: Mapping[str, Descriptor]
    done: dict[str, Writer]

    def message(self, name: str) -> Writer:
        if name not in self.done:
            spec = self.schema[name]
            union = spec.inline_union
            self.done[name] = self.object(spec) if union is None else self.inline_union(spec, union)
        return self.done[name]

    def object(self, spec: MessageSpec) -> Writer:
        fields = self.descriptors[spec.full_name].fields_by_name
        writers: dict[FieldDescriptor, tuple[str | None, Writer | None]] = {}
        for item in spec.items:
            for member in item.members:
                writers[fields[member.name]] = (item.json_name, self.field(member, isinstance(item, UnionSpec)))
        if spec.extra is not None:
            writers[fields[spec.extra]] = (None, _spliced_map)
        return _object_writer(writers, _template(spec))

    def inline_union(self, spec: MessageSpec, union: UnionSpec) -> Writer:
        fields = self.descriptors[spec.full_name].fields_by_name
        members = {fields[each.name]: (each.tags[0], self.message(each.message)) for each in union.members}
        discriminator = union.discriminator

        def write(message: Message) -> dict[str, Any]:
            for descriptor, value in message.ListFields():
                tag, write_member = members[descriptor]
                return {discriminator: tag, **write_member(value)}
            return {}

        return write

    def field(self, field: FieldSpec, in_union: bool) -> Writer | None:
        """Return the writer of a field's value; None where the value is written as it is."""
        if in_union and field.kind is Kind.MESSAGE:
            wrapped = self.schema[field.message].wrapped_list
            if wrapped is not None:
                return _unwrapped(wrapped.name, self.field(wrapped, False) or list)
        one = self.value(field)
        match field.shape:
            case Shape.LIST:
                return list if one is None else _list_writer(one)
            case Shape.MAP:
                return _map_writer(one or (lambda value: value))
        return one

    def value(self, field: FieldSpec) -> Writer | None:
        match field.kind:
            case Kind.MESSAGE:
                return self.message(field.message)
            case Kind.RAW:
                return _spliced
            case Kind.DOUBLE:
                return _number
            case Kind.ENUM:
                return enum_names(field).get
            case Kind.NULL:
                return lambda value: None
        return None


def _template(spec: MessageSpec) -> dict[str | None, Any]:
    """Return what is written when nothing is set. Fields that may be left out, but stand before one that may not, are
    there as _ABSENT to keep their place."""
    template: dict[str | None, Any] = {item.json_name: _unset(item) for item in spec.items}
    while template and next(reversed(template.values())) is _ABSENT:
        template.popitem()
    return template


def _unset(item: FieldSpec | UnionSpec) -> Any:
    if isinstance(item, UnionSpec):
        return _ABSENT
    if item.write_null:
        return None
    if item.write_empty:
        return [] if item.shape is Shape.LIST else {}
    if item.explicit or item.shape is not Shape.ONE:
        return _ABSENT
    return _ZEROS.get(item.kind, _ABSENT)


def _object_writer(
    writers: Mapping[FieldDescriptor, tuple[str | None, Writer | None]], template: dict[str | None, Any]
) -> Writer:
    placeholders = tuple(name for name, value in template.items() if value is _ABSENT)

    def write(message: Message) -> dict[str | None, Any]:
        out = template.copy() if template else {}
        for descriptor, value in message.ListFields():
            name, write_value = writers[descriptor]
            out[name] = value if write_value is None else write_value(value)
        for name in placeholders:
            if out[name] is _ABSENT:
                del out[name]
        if None in out:
            out.update(out.pop(None))
        return out

    return write


def _unwrapped(name: str, write: Writer) -> Writer:
    return lambda message: write(getattr(message, name))


def _list_writer(one: Writer) -> Writer:
    return lambda values: [one(value) for value in values]


def _map_writer(one: Writer) -> Writer:
    # A map's own order differs from run to run, which would spoil the provider's prompt cache.
    return lambda entries: {key: one(entries[key]) for key in sorted(entries)}


def _number(value: float) -> float | int:
    """Return whole numbers as integers, so that what came as `1` goes as `1`."""
    if value.is_integer() and -_EXACT_FLOAT < value < _EXACT_FLOAT:
        whole = int(value)
        return whole if whole or copysign(1.0, value) > 0 else value
    return value


def _spliced(text: str) -> orjson.Fragment:
    """Return JSON text to be written verbatim, but in one line: a line break would end a server-sent event's data."""
    if "\n" in text or "\r" in text:
        text = text.replace("\n", " ").replace("\r", " ")
    return orjson.Fragment(text)


_spliced_map = _map_writer(_spliced)
