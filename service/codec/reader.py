"""Readers of JSON objects, compiled from the specs: parsed JSON in, what a message's constructor takes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import length_hint
from types import MappingProxyType, NoneType
from typing import Any

from service.codec.fault import Fault, UnknownName, missing, not_one_of, wrong_type
from service.codec.policy import Keep, Policy
from service.codec.rules import Check
from service.codec.schema import FieldSpec, Kind, MessageSpec, Shape, UnionSpec
from service.codec.text import Notes
from service.codec.values import Reader, boolean, scalar, string

Special = Callable[[dict[str, Any], str, Any, dict[str, Any], Notes], None]
"""Reads a key that needs more than its value: the object, the key, the value, the message being read."""
Assign = Callable[[dict[str, Any], Any, Notes], None]
"""Reads a value that is not null into the message being read."""
Plain = tuple[type, str, Reader | None]
"""The type of JSON value that is taken as it is, the field, and what reads other values but null.

None for the last: they are left to the key's `Special`.
"""


def compile_readers(schema: Mapping[str, MessageSpec], policy: Policy) -> Mapping[str, Reader]:
    """Return a reader of each message, by full name. Messages that contain themselves are not supported."""
    compiler = _Compiler(schema, policy, {})
    return {name: compiler.message(name) for name in schema}


@dataclass(frozen=True, slots=True)
class _Compiler:
    schema: Mapping[str, MessageSpec]
    policy: Policy
    done: dict[str, Reader]

    def message(self, name: str) -> Reader:
        if name not in self.done:
            spec = self.schema[name]
            union = spec.inline_union
            self.done[name] = self.object(spec, "") if union is None else self.inline_union(union)
        return self.done[name]

    def object(self, spec: MessageSpec, discriminator: str) -> Reader:
        """Return the reader of a message. `discriminator` is a key of an enclosing union, read elsewhere."""
        unknown = self.policy.unknown(spec)
        plain: dict[str, Plain] = {}
        special: dict[str, Special] = {discriminator: _skip} if discriminator else {}
        for item in spec.items:
            # A string that an enum does not have may be one to keep.
            open_enum = isinstance(item, FieldSpec) and item.kind is Kind.ENUM and self.policy.unknown_names
            if isinstance(item, FieldSpec) and not (open_enum or item.aliases):
                read = self.field(item)
                plain[item.json_name] = (_TAKEN.get(read, _Nothing), item.name, read)
                continue
            if isinstance(item, UnionSpec):
                for member in item.members:
                    if member.kind is Kind.STRING and self.value(member) is string:
                        plain[item.json_name] = (str, member.name, None)
                assign = self.union(item)
                null = next((each.name for each in item.members if each.kind is Kind.NULL), "")
            else:
                assign, null = _assign(item.name, self.field(item)), ""
            keys = (item.json_name, *item.aliases)
            for place, key in enumerate(keys):
                special[key] = self.special(assign, keys[:place], null, unknown)
        return _object_reader(plain, special, unknown, self.policy.required(spec))

    def special(self, assign: Assign, better: tuple[str, ...], null: str, unknown: Keep) -> Special:
        """Return the reader of a key that loses against the `better` keys; `null` is the member that a null becomes."""
        unknown_names = self.policy.unknown_names
        if not (better or null or unknown_names):
            return _unless_null(assign)

        def read(obj: dict[str, Any], key: str, value: Any, out: dict[str, Any], notes: Notes) -> None:
            loses = bool(better) and any(obj.get(other) is not None for other in better)
            if value is None:
                if null and not loses:
                    out[null] = 0
                return
            try:
                assign({} if loses else out, value, notes)
            except UnknownName:
                if not unknown_names:
                    raise
                unknown(key, value, out, notes)

        return read

    def field(self, field: FieldSpec) -> Reader:
        one = self.value(field)
        match field.shape:
            case Shape.LIST:
                return _list_reader(one, self.policy.count_check(field))
            case Shape.MAP:
                return _map_reader(one)
        return one

    def value(self, field: FieldSpec) -> Reader:
        if field.kind is Kind.MESSAGE:
            return self.message(field.message)
        read, check = scalar(field, self.policy.integers), self.policy.value_check(field)
        return read if check is None else _checked(read, check)

    def union(self, union: UnionSpec) -> Assign:
        """Return the reader of a value whose JSON kind says which member it is."""
        kinds: dict[type, tuple[str, Reader]] = {}
        kind: type
        for member in union.members:
            match member.kind:
                case Kind.NULL:
                    continue
                case Kind.MESSAGE:
                    wrapped = self.schema[member.message].wrapped_list
                    kind = dict if wrapped is None else list
                    read = self.value(member) if wrapped is None else _wrapped(wrapped.name, self.field(wrapped))
                case _:
                    kind, read = str, self.value(member)
            if kind in kinds:
                raise TypeError(f"{union.name}: two members are the same kind of JSON value")
            kinds[kind] = (member.name, read)
        names = {str: "a string", list: "an array", dict: "an object", NoneType: "null"}
        expected = " or ".join(text for kind, text in names.items() if kind in kinds)

        def assign(out: dict[str, Any], value: Any, notes: Notes) -> None:
            member = kinds.get(type(value))
            if member is None:
                raise wrong_type(expected, value)
            out[member[0]] = member[1](value, notes)

        return assign

    def inline_union(self, union: UnionSpec) -> Reader:
        """Return the reader of an object whose discriminator says which member it is."""
        discriminator, refusals = union.discriminator, union.refusals
        members = {
            tag: (member.name, self.object(self.schema[member.message], discriminator))
            for member in union.members
            for tag in member.tags
        }

        def read(obj: Any, notes: Notes) -> dict[str, Any]:
            if type(obj) is not dict:
                raise wrong_type("an object", obj)
            tag = obj.get(discriminator)
            member = members.get(tag) if type(tag) is str else None
            if member is not None:
                return {member[0]: member[1](obj, notes)}
            if tag is None:
                fault = missing()
            elif type(tag) is not str:
                fault = wrong_type("a string", tag)
            else:
                refusal = next((each for each in refusals if tag.startswith(each.prefix)), None)
                fault = (
                    Fault("invalid_value", not_one_of(members, tag))
                    if refusal is None
                    else Fault(refusal.code, f"is refused: {refusal.message}")
                )
            fault.path.append(discriminator)
            raise fault

        return read


class _Nothing:
    """The type of no JSON value."""


_TAKEN: Mapping[Reader, type] = MappingProxyType({string: str, boolean: bool})
"""Readers that return what they are given, and of which type that is."""


def _skip(obj: dict[str, Any], key: str, value: Any, out: dict[str, Any], notes: Notes) -> None:
    return None


def _unless_null(assign: Assign) -> Special:
    def read(obj: dict[str, Any], key: str, value: Any, out: dict[str, Any], notes: Notes) -> None:
        if value is not None:
            assign(out, value, notes)

    return read


def _assign(name: str, read: Reader) -> Assign:
    def assign(out: dict[str, Any], value: Any, notes: Notes) -> None:
        out[name] = read(value, notes)

    return assign


def _checked(read: Reader, check: Check) -> Reader:
    def read_checked(value: Any, notes: Notes) -> Any:
        result = read(value, notes)
        check(result)
        return result

    return read_checked


def _wrapped(name: str, read: Reader) -> Reader:
    return lambda value, notes: {name: read(value, notes)}


def _list_reader(one: Reader, check: Check | None) -> Reader:
    def read(value: Any, notes: Notes) -> list[Any]:
        if type(value) is not list:
            raise wrong_type("an array", value)
        if check is not None:
            check(value)
        items = iter(value)
        try:
            return [one(item, notes) for item in items]
        except Fault as fault:
            fault.path.append(len(value) - length_hint(items) - 1)
            raise

    return read


def _map_reader(one: Reader) -> Reader:
    def read(value: Any, notes: Notes) -> dict[str, Any]:
        if type(value) is not dict:
            raise wrong_type("an object", value)
        entries: dict[str, Any] = {}
        key = ""
        try:
            for key, item in value.items():
                entries[key] = one(item, notes)
        except Fault as fault:
            fault.path.append(key)
            raise
        return entries

    return read


def _object_reader(
    plain: Mapping[str, Plain],
    special: Mapping[str, Special],
    unknown: Keep,
    required: tuple[tuple[str, frozenset[str]], ...],
) -> Reader:
    def read(obj: Any, notes: Notes) -> dict[str, Any]:
        if type(obj) is not dict:
            raise wrong_type("an object", obj)
        out: dict[str, Any] = {}
        key = ""
        try:
            for key, value in obj.items():
                field = plain.get(key)
                if field is not None:
                    kind, name, read_other = field
                    if type(value) is kind:
                        out[name] = value
                        continue
                    if read_other is not None:
                        if value is not None:
                            out[name] = read_other(value, notes)
                        continue
                handler = special.get(key)
                if handler is not None:
                    handler(obj, key, value, out, notes)
                else:
                    unknown(key, value, out, notes)
        except Fault as fault:
            fault.path.append(key)
            raise
        for name, members in required:
            if members.isdisjoint(out):
                raise missing(name)
        return out

    return read
