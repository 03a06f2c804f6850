"""Checks of whole messages that came over gRPC: the same rules, with the same paths, as JSON requests have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from service.codec.fault import Fault, JsonFault, missing, not_one_of
from service.codec.rules import Check, count_check, enum_names, value_check
from service.codec.schema import FieldSpec, Kind, MessageSpec, Shape, UnionSpec
from service.codec.text import deeper_than, loads
from service.codec.typos import nearest_name

# What `dumps` surely writes again, within whatever it stands in.
_DEEPEST = 200

Fields = Mapping[FieldDescriptor, tuple[str, Check]]


def compile_checks(schema: Mapping[str, MessageSpec], descriptors: Mapping[str, Descriptor]) -> Mapping[str, Check]:
    """Return a check of each message, by full name."""
    compiler = _Compiler(schema, descriptors, {})
    return {name: compiler.message(name) for name in schema}


@dataclass(frozen=True, slots=True)
class _Compiler:
    schema: Mapping[str, MessageSpec]
    descriptors: Mapping[str, Descriptor]
    done: dict[str, Check]

    def message(self, name: str) -> Check:
        if name not in self.done:
            spec = self.schema[name]
            union = spec.inline_union
            self.done[name] = self.object(spec, "") if union is None else self.inline_union(spec, union)
        return self.done[name]

    def object(self, spec: MessageSpec, discriminator: str) -> Check:
        """Return the check of a message. `discriminator` is a key of an enclosing union."""
        fields = self.descriptors[spec.full_name].fields_by_name
        checks: dict[FieldDescriptor, tuple[str, Check]] = {}
        required: list[tuple[str, frozenset[FieldDescriptor]]] = []
        for item in spec.items:
            for member in item.members:
                check = self.field(member, isinstance(item, UnionSpec))
                if check is not None:
                    checks[fields[member.name]] = (item.json_name, check)
            if item.required:
                required.append((item.json_name, frozenset(fields[member.name] for member in item.members)))
        if spec.extra is not None:
            checks[fields[spec.extra]] = ("", _extra_check(spec, discriminator))
        return _object_check(checks, tuple(required))

    def inline_union(self, spec: MessageSpec, union: UnionSpec) -> Check:
        fields = self.descriptors[spec.full_name].fields_by_name
        discriminator = union.discriminator
        members = {fields[each.name]: self.object(self.schema[each.message], discriminator) for each in union.members}

        def check(message: Message) -> None:
            for descriptor, value in message.ListFields():
                members[descriptor](value)
                return
            raise missing(discriminator)

        return check

    def field(self, field: FieldSpec, in_union: bool) -> Check | None:
        if in_union and field.kind is Kind.MESSAGE:
            wrapped = self.schema[field.message].wrapped_list
            if wrapped is not None:
                return _unwrapped(wrapped.name, self.field(wrapped, False))
        one = self.value(field)
        match field.shape:
            case Shape.LIST:
                return _list_check(one, count_check(field))
            case Shape.MAP:
                return None if one is None else _map_check(one)
        return one

    def value(self, field: FieldSpec) -> Check | None:
        match field.kind:
            case Kind.MESSAGE:
                return self.message(field.message)
            case Kind.RAW:
                return _raw_object if field.raw_object else _raw
            case Kind.ENUM:
                return _enum(enum_names(field))
            case Kind.NULL:
                return _null
        return value_check(field)


def _object_check(fields: Fields, required: tuple[tuple[str, frozenset[FieldDescriptor]], ...]) -> Check:
    def check(message: Message) -> None:
        listed = message.ListFields()
        for descriptor, value in listed:
            field = fields.get(descriptor)
            if field is not None:
                try:
                    field[1](value)
                except Fault as fault:
                    if field[0]:
                        fault.path.append(field[0])
                    raise
        if required:
            present = {descriptor for descriptor, _ in listed}
            for name, members in required:
                if members.isdisjoint(present):
                    raise missing(name)

    return check


def _extra_check(spec: MessageSpec, discriminator: str) -> Check:
    known = spec.json_names | {discriminator}
    nearest: Callable[[str], str | None] = nearest_name(spec.json_names) if spec.refuse_typos else lambda key: None

    def check(entries: Mapping[str, str]) -> None:
        for key, text in entries.items():
            if key in known:
                raise Fault("invalid_value", "is a known field, which must not be given as an extra one", key)
            near = nearest(key)
            if near is not None:
                raise Fault("unknown_parameter", f"is no known parameter; did you mean '{near}'?", key)
            _parsed(text, key)

    return check


def _unwrapped(name: str, check: Check | None) -> Check | None:
    return None if check is None else lambda message: check(getattr(message, name))


def _list_check(one: Check | None, count: Check | None) -> Check | None:
    if one is None:
        return count

    def check(values: Any) -> None:
        if count is not None:
            count(values)
        for index, value in enumerate(values):
            try:
                one(value)
            except Fault as fault:
                fault.path.append(index)
                raise

    return check


def _map_check(one: Check) -> Check:
    def check(entries: Mapping[str, Any]) -> None:
        for key, value in entries.items():
            try:
                one(value)
            except Fault as fault:
                fault.path.append(key)
                raise

    return check


def _enum(names: Mapping[int, str]) -> Check:
    def check(number: int) -> None:
        if number not in names:
            raise Fault("invalid_value", not_one_of(names.values(), str(number)))

    return check


def _null(number: int) -> None:
    if number != 0:
        raise Fault("invalid_value", "must be NULL_VALUE")


def _parsed(text: str, *path: str) -> Any:
    try:
        value = loads(text.encode())
    except JsonFault as fault:
        raise Fault("invalid_value", f"must be JSON text. {fault.message}", *path) from None
    if deeper_than(value, _DEEPEST):
        raise Fault("invalid_value", f"must not be nested more than {_DEEPEST} deep", *path)
    return value


def _raw(text: str) -> None:
    if _parsed(text) is None:
        raise Fault("invalid_value", "must be JSON text other than null")


def _raw_object(text: str) -> None:
    if type(_parsed(text)) is not dict:
        raise Fault("invalid_value", "must be the JSON text of an object")
