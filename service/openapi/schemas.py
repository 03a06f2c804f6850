"""Turns messages into JSON Schemas, as a client may write them and as it will read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from service.codec.rules import enum_names
from service.codec.schema import FieldSpec, Kind, MessageSpec, Shape, UnionSpec
from service.openapi.source import Source

Schema = dict[str, Any]

_SCALARS = frozenset({Kind.STRING, Kind.BOOL, Kind.INT, Kind.DOUBLE})
_NOT_NULL = ["object", "array", "string", "number", "boolean"]
_INT32 = 2**31 - 1


class Side(Enum):
    """Who wrote the JSON: a client, our codec, or Envoy's transcoder, which prints every field without presence."""

    INPUT = auto()
    OUTPUT = auto()
    TYPED = auto()


@dataclass(frozen=True, slots=True)
class Tag:
    """What says which member of a discriminated union an object is."""

    field: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """One side's messages: `names` gives each its component, `tags` those that are members of a union.

    `defaults` are by `<message>.<field>`.
    """

    source: Source
    side: Side
    names: Mapping[str, str]
    tags: Mapping[str, Tag]
    defaults: Mapping[str, Any]


def reachable(source: Source, roots: Sequence[str]) -> list[str]:
    """Return the full names of messages that the roots consist of, themselves first, in order of appearance."""
    found: dict[str, None] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = None
            waiting = [*_parts(source.messages[name]), *waiting]
    return list(found)


def member_tags(source: Source, names: Sequence[str]) -> dict[str, Tag]:
    """Return the tag of each message that is a member of a discriminated union."""
    return {
        member.message: Tag(union.discriminator, member.tags)
        for name in names
        if (union := source.messages[name].inline_union) is not None
        for member in union.members
    }


def component(view: View, full_name: str) -> Schema:
    """Return the schema of a message."""
    spec = view.source.messages[full_name]
    description = view.source.comments[full_name]
    if spec.inline_union is not None:
        return {"description": description, **_discriminated(view, spec.inline_union)}
    properties: dict[str, Schema] = {}
    required: list[str] = []
    tag = view.tags.get(full_name)
    if tag is not None:
        properties[tag.field] = _constant(tag)
        required.append(tag.field)
    for item in spec.items:
        properties[item.json_name] = _property(view, spec, item)
        if _is_required(view, item):
            required.append(item.json_name)
        if view.side is Side.INPUT:
            properties.update(_aliases(item, properties[item.json_name]))
    schema: Schema = {"description": description, "type": "object"}
    if required:
        schema["required"] = required
    if properties:
        schema["properties"] = properties
    return {**schema, "additionalProperties": spec.extra is not None}


def _parts(spec: MessageSpec) -> list[str]:
    return [member.message for item in spec.items for member in item.members if member.kind is Kind.MESSAGE]


def _is_required(view: View, item: FieldSpec | UnionSpec) -> bool:
    """Whether the JSON always has the item. What a client must give has no other names: a schema could not say it."""
    if view.side is Side.INPUT:
        if item.required and item.aliases:
            raise TypeError(f"{item.name}: a required field with aliases")
        return item.required
    if isinstance(item, UnionSpec):
        return False
    if view.side is Side.TYPED:
        return not item.explicit and (item.shape is not Shape.ONE or item.kind in _SCALARS)
    always = item.write_null or item.write_empty
    return always or (not item.explicit and item.shape is Shape.ONE and item.kind in _SCALARS)


def _property(view: View, spec: MessageSpec, item: FieldSpec | UnionSpec) -> Schema:
    name = f"{spec.full_name}.{item.name}"
    nullable = (
        not item.required
        if view.side is Side.INPUT
        else isinstance(item, FieldSpec) and (item.write_null or item.nullable)
    )
    schema = _union(view, item) if isinstance(item, UnionSpec) else _field(view, item)
    if nullable:
        schema = _nullable(schema)
    meanings = "".join(_meanings(view, member) for member in item.members)
    schema = {"description": view.source.comments[name] + meanings, **schema}
    if name in view.defaults:
        schema["default"] = view.defaults[name]
    return schema


def _aliases(item: FieldSpec | UnionSpec, schema: Schema) -> Iterator[tuple[str, Schema]]:
    for place, alias in enumerate(item.aliases):
        better = " and ".join(f"`{name}`" for name in (item.json_name, *item.aliases[:place]))
        text = f"Alias of `{item.json_name}`. It loses against {better}."
        yield alias, {**schema, "description": text, "x-alias-of": item.json_name}


def _field(view: View, field: FieldSpec) -> Schema:
    one = _value(view, field)
    if field.shape is Shape.ONE:
        return one
    if field.shape is Shape.MAP:
        return {"type": "object", "additionalProperties": one}
    schema: Schema = {"type": "array", "items": one}
    if view.side is Side.INPUT:
        _limit(schema, "minItems", field.rules.min_items)
        _limit(schema, "maxItems", field.rules.max_items)
    return schema


def _value(view: View, field: FieldSpec) -> Schema:
    match field.kind:
        case Kind.MESSAGE:
            return {"$ref": f"#/components/schemas/{view.names[field.message]}"}
        case Kind.RAW:
            return {"type": "object"} if field.raw_object else {"type": list(_NOT_NULL)}
        case Kind.BOOL:
            return {"type": "boolean"}
        case Kind.INT:
            return _integer(view, field)
        case Kind.DOUBLE:
            return _limited(view, field, {"type": "number"})
        case Kind.ENUM:
            # Providers may answer with newer values, which are handed on.
            return {"type": "string"} | ({"enum": _names(field)} if view.side is Side.INPUT else {})
        case Kind.STRING:
            return _string(view, field)
    raise TypeError(f"{field.name}: a {field.kind} alone has no schema")


def _string(view: View, field: FieldSpec) -> Schema:
    schema: Schema = {"type": "string"}
    if view.side is Side.INPUT:
        if field.rules.allowed:
            schema["enum"] = list(field.rules.allowed)
        _limit(schema, "minLength", field.rules.min_length)
        _limit(schema, "maxLength", field.rules.max_length)
    return schema


def _integer(view: View, field: FieldSpec) -> Schema:
    wide = field.high > _INT32 and field.low < 0
    if wide and view.side is Side.TYPED:
        raise TypeError(f"{field.name}: the transcoder writes 64 bits as a string")
    schema = _limited(view, field, {"type": "integer", "format": "int64" if field.high > _INT32 else "int32"})
    if view.side is Side.INPUT:
        schema["minimum"] = max(field.low, schema.get("minimum", field.low))
        schema["maximum"] = min(field.high, schema.get("maximum", field.high))
    return schema


def _limited(view: View, field: FieldSpec, schema: Schema) -> Schema:
    if view.side is Side.INPUT:
        _limit(schema, "minimum", field.rules.minimum)
        _limit(schema, "maximum", field.rules.maximum)
    return schema


def _limit(schema: Schema, key: str, value: float | None) -> None:
    if value is not None:
        schema[key] = int(value) if float(value).is_integer() else value


def _union(view: View, union: UnionSpec) -> Schema:
    return {"oneOf": [_member(view, member) for member in union.members]}


def _member(view: View, member: FieldSpec) -> Schema:
    if member.kind is Kind.NULL:
        return {"type": "null"}
    if member.kind is Kind.MESSAGE:
        wrapped = view.source.messages[member.message].wrapped_list
        if wrapped is not None:
            return _field(view, wrapped)
    return _field(view, member)


def _discriminated(view: View, union: UnionSpec) -> Schema:
    refs = {tag: _value(view, member) for member in union.members for tag in member.tags}
    return {
        "oneOf": [_value(view, member) for member in union.members],
        "discriminator": {
            "propertyName": union.discriminator,
            "mapping": {tag: ref["$ref"] for tag, ref in refs.items()},
        },
    }


def _constant(tag: Tag) -> Schema:
    if len(tag.values) == 1:
        return {"type": "string", "const": tag.values[0]}
    return {"type": "string", "enum": list(tag.values)}


def _nullable(schema: Schema) -> Schema:
    null = {"type": "null"}
    if "$ref" in schema:
        return {"anyOf": [schema, null]}
    if "oneOf" in schema:
        return schema if null in schema["oneOf"] else {**schema, "oneOf": [*schema["oneOf"], null]}
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    schema = {**schema, "type": [*types, "null"]}
    return {**schema, "enum": [*schema["enum"], None]} if "enum" in schema else schema


def _names(field: FieldSpec) -> list[str]:
    return list(enum_names(field).values())


def _meanings(view: View, field: FieldSpec) -> str:
    """Return what each value of an enum means, as a list."""
    if field.kind is not Kind.ENUM or field.enum is None:
        return ""
    comments = view.source.comments
    lines = [f"- `{name}`: {comments[f'{field.enum.full_name}.{n}']}" for n, name in enum_names(field).items()]
    return "\n\n" + "\n".join(lines)
