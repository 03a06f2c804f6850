"""What the descriptors and the JSON options say of each message, as plain values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from gateway.v1 import chat_request_pb2, chat_response_pb2, content_pb2, json_pb2, tools_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, OneofDescriptor


class Kind(StrEnum):
    """What one value of a field is. RAW is a string that holds JSON text; NULL is the null of a union."""

    STRING = "string"
    RAW = "raw"
    BOOL = "bool"
    INT = "int"
    DOUBLE = "double"
    ENUM = "enum"
    MESSAGE = "message"
    NULL = "null"


class Shape(StrEnum):
    """How many values a field has. A MAP has string keys."""

    ONE = "one"
    LIST = "list"
    MAP = "map"


@dataclass(frozen=True, slots=True)
class EnumSpec:
    """An enum's JSON strings by number; the number 0 means "not given" and has none."""

    full_name: str
    names: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Rules:
    """What is allowed in a field. Range, length and `allowed` are for each value, item counts for the whole list."""

    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    min_length: int | None = None
    max_length: int | None = None
    min_items: int | None = None
    max_items: int | None = None
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """A field. `low` and `high` are the limits of an INT's type; `message` is the full name of a MESSAGE's type.

    `explicit` fields know unset from zero. `raw_object`: the RAW text must be an object. `tags` are the discriminator's
    values that select this member of a discriminated union; the first is written.
    """

    name: str
    number: int
    json_name: str
    aliases: tuple[str, ...]
    kind: Kind
    shape: Shape
    explicit: bool
    rules: Rules
    low: int = 0
    high: int = 0
    enum: EnumSpec | None = None
    message: str = ""
    raw_object: bool = False
    write_null: bool = False
    nullable: bool = False
    write_empty: bool = False
    tags: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[FieldSpec, ...]:
        """The message's fields that hold the JSON value: this one."""
        return (self,)

    @property
    def required(self) -> bool:
        """Whether the JSON value must be given."""
        return self.rules.required


@dataclass(frozen=True, slots=True)
class Refusal:
    """Values of a discriminator, by their beginning, that are refused with a code of their own."""

    prefix: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class UnionSpec:
    """A oneof that is one JSON value, or with a `discriminator` a whole JSON object."""

    name: str
    json_name: str
    aliases: tuple[str, ...]
    discriminator: str
    refusals: tuple[Refusal, ...]
    required: bool
    members: tuple[FieldSpec, ...]


@dataclass(frozen=True, slots=True)
class MessageSpec:
    """A message: its fields and unions in order of field number, and the map that keeps unknown fields, if any."""

    full_name: str
    items: tuple[FieldSpec | UnionSpec, ...]
    extra: str | None
    refuse_typos: bool

    @property
    def inline_union(self) -> UnionSpec | None:
        """The discriminated union that is all this message consists of, if it is such a message."""
        for item in self.items:
            if isinstance(item, UnionSpec) and item.discriminator:
                return item
        return None

    @property
    def wrapped_list(self) -> FieldSpec | None:
        """The repeated field that is all this message consists of: in a union, the message is that array."""
        match self.items:
            case (FieldSpec(shape=Shape.LIST) as field,) if self.extra is None:
                return field
        return None

    @property
    def json_names(self) -> frozenset[str]:
        """All names that are read, aliases included."""
        return frozenset(name for item in self.items for name in (item.json_name, *item.aliases) if name)


_KINDS: Mapping[int, Kind] = MappingProxyType(
    {
        FieldDescriptor.TYPE_STRING: Kind.STRING,
        FieldDescriptor.TYPE_BOOL: Kind.BOOL,
        FieldDescriptor.TYPE_INT32: Kind.INT,
        FieldDescriptor.TYPE_INT64: Kind.INT,
        FieldDescriptor.TYPE_UINT32: Kind.INT,
        FieldDescriptor.TYPE_DOUBLE: Kind.DOUBLE,
        FieldDescriptor.TYPE_ENUM: Kind.ENUM,
        FieldDescriptor.TYPE_MESSAGE: Kind.MESSAGE,
    }
)
_LIMITS: Mapping[int, tuple[int, int]] = MappingProxyType(
    {
        FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
        FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
        FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    }
)
_NULL = "google.protobuf.NullValue"


def message_spec(descriptor: Descriptor) -> MessageSpec:
    """Read a message's descriptor and options.

    Raises:
        TypeError: the message holds something that has no JSON form here (bytes, a oneof that is no union).
    """
    extra = next((field.name for field in descriptor.fields if _options(field).unknown_fields), None)
    items: list[FieldSpec | UnionSpec] = []
    seen: set[str] = set()
    for field in sorted(descriptor.fields, key=lambda each: each.number):
        oneof = _union_of(field)
        if oneof is None:
            if field.name != extra:
                items.append(_field_spec(field))
        elif oneof.name not in seen:
            seen.add(oneof.name)
            items.append(_union_spec(oneof))
    if any(isinstance(item, UnionSpec) and item.discriminator for item in items) and (len(items) > 1 or extra):
        raise TypeError(f"{descriptor.full_name}: a discriminated union must be alone in its message")
    options = descriptor.GetOptions().Extensions[json_pb2.message_json]
    return MessageSpec(descriptor.full_name, tuple(items), extra, options.refuse_typos)


def _options(field: FieldDescriptor) -> json_pb2.FieldJson:
    return field.GetOptions().Extensions[json_pb2.json]


def _union_of(field: FieldDescriptor) -> OneofDescriptor | None:
    """Return the oneof that the field is a member of; the one that `optional` makes is none."""
    oneof = field.containing_oneof
    if oneof is None or oneof.name.startswith("_"):
        return None
    if not oneof.GetOptions().HasExtension(json_pb2.union):
        raise TypeError(f"{oneof.full_name}: a oneof needs the option (union)")
    return oneof


def _union_spec(oneof: OneofDescriptor) -> UnionSpec:
    options = oneof.GetOptions().Extensions[json_pb2.union]
    return UnionSpec(
        name=oneof.name,
        json_name=options.name,
        aliases=tuple(options.aliases),
        discriminator=options.discriminator,
        refusals=tuple(Refusal(each.prefix, each.code, each.message) for each in options.refusals),
        required=options.required,
        members=tuple(_field_spec(field) for field in sorted(oneof.fields, key=lambda each: each.number)),
    )


def _field_spec(field: FieldDescriptor) -> FieldSpec:
    options = _options(field)
    shape, value = Shape.ONE, field
    if field.is_repeated:
        shape = Shape.LIST
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            shape, value = Shape.MAP, field.message_type.fields_by_name["value"]
    kind = _KINDS.get(value.type)
    if kind is None:
        raise TypeError(f"{field.full_name}: this type has no JSON form")
    enum = _enum_spec(value.enum_type) if value.enum_type is not None else None
    if options.raw:
        kind = Kind.RAW
    elif enum is not None and enum.full_name == _NULL:
        kind = Kind.NULL
    low, high = _LIMITS.get(value.type, (0, 0))
    return FieldSpec(
        name=field.name,
        number=field.number,
        json_name=options.name or field.name,
        aliases=tuple(options.aliases),
        kind=kind,
        shape=shape,
        explicit=field.has_presence,
        rules=_rules(options),
        low=low,
        high=high,
        enum=enum,
        message=value.message_type.full_name if value.message_type is not None else "",
        raw_object=options.raw_kind == json_pb2.RAW_KIND_OBJECT,
        write_null=options.write_null,
        nullable=options.nullable,
        write_empty=options.write_empty,
        tags=tuple(options.tags),
    )


def _rules(options: json_pb2.FieldJson) -> Rules:
    return Rules(
        required=options.required,
        minimum=options.minimum if options.HasField("minimum") else None,
        maximum=options.maximum if options.HasField("maximum") else None,
        min_length=options.min_length if options.HasField("min_length") else None,
        max_length=options.max_length if options.HasField("max_length") else None,
        min_items=options.min_items if options.HasField("min_items") else None,
        max_items=options.max_items if options.HasField("max_items") else None,
        allowed=tuple(options.allowed),
    )


def _enum_spec(enum: EnumDescriptor) -> EnumSpec:
    prefix = "".join(f"_{letter}" if letter.isupper() else letter.upper() for letter in enum.name).lstrip("_") + "_"
    names = {
        value.number: value.GetOptions().Extensions[json_pb2.json_value] or value.name.removeprefix(prefix).lower()
        for value in enum.values
        if value.number != 0
    }
    return EnumSpec(enum.full_name, MappingProxyType(names))


def _descriptors() -> Iterator[Descriptor]:
    for module in (content_pb2, tools_pb2, chat_request_pb2, chat_response_pb2):
        yield from module.DESCRIPTOR.message_types_by_name.values()


DESCRIPTORS: Mapping[str, Descriptor] = MappingProxyType({each.full_name: each for each in _descriptors()})
"""The messages that the codec reads and writes, by full name."""

SCHEMA: Mapping[str, MessageSpec] = MappingProxyType({name: message_spec(each) for name, each in DESCRIPTORS.items()})
"""What is known of each of them."""


def depth(schema: Mapping[str, MessageSpec], name: str) -> int:
    """Return how many arrays and objects within each other a message's JSON has at most, without what is in raw text.

    At times one or two more: of a union that stands for an object both are counted.
    """
    inner = (
        (member.shape is not Shape.ONE) + (depth(schema, member.message) if member.kind is Kind.MESSAGE else 0)
        for item in schema[name].items
        for member in item.members
    )
    return 1 + max(inner, default=0)
