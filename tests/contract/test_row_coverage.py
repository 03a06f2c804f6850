"""The contract table is whole: every field and every allowed value of the schema's request stands in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from google.protobuf.descriptor import Descriptor

from service.codec.schema import SCHEMA
from tests.contract.client import HI, typed
from tests.contract.everything import EVERYTHING
from tests.contract.test_alias_rows import ROWS as ALIAS_ROWS
from tests.contract.test_good_rows import ROWS as GOOD_ROWS


def messages_in(descriptor: Descriptor, found: dict[str, Descriptor]) -> dict[str, Descriptor]:
    """Return a message's descriptor and those of what stands in it, by full name."""
    if descriptor.full_name not in found and not descriptor.GetOptions().map_entry:
        found[descriptor.full_name] = descriptor
        for field in descriptor.fields:
            if field.message_type is not None:
                messages_in(field.message_type, found)
    return found


def set_in(message: Any) -> Iterator[tuple[str, Any]]:
    """Yield the full name and the value of everything that is set in a message."""
    for field, value in message.ListFields():
        values = value if field.is_repeated and not isinstance(value, Mapping) else [value]
        for each in values:
            yield field.full_name, each
            if field.message_type is not None and not isinstance(each, Mapping):
                yield from set_in(each)


def messages() -> Iterator[CreateChatCompletionRequest]:
    """Yield the good side of the table as messages."""
    for body in (EVERYTHING, *({"messages": HI, **row.given} for row in GOOD_ROWS)):
        message = typed(body)
        if message is not None:
            yield message


def test_every_field_and_every_value_of_an_enum_has_a_row() -> None:
    told = {(name, value) if isinstance(value, int) else (name, 0) for m in messages() for name, value in set_in(m)}
    names = {name for name, _ in told}
    fields = [
        field
        for descriptor in messages_in(CreateChatCompletionRequest.DESCRIPTOR, {}).values()
        for field in descriptor.fields
        if field.name != "extra"
    ]
    assert sorted(field.full_name for field in fields if field.full_name not in names) == []
    unspoken = [
        f"{field.full_name}: {value.name}"
        for field in fields
        if field.enum_type is not None
        for value in field.enum_type.values
        if value.number != 0 and (field.full_name, value.number) not in told
    ]
    # By name alone it is refused: it needs a schema.
    assert unspoken == ["gateway.v1.CreateChatCompletionRequest.response_format_type: RESPONSE_FORMAT_TYPE_JSON_SCHEMA"]


def test_every_other_name_has_a_row() -> None:
    """`aliases` of the schema's options, found in what clients give in the tables."""
    given = str([row.given for row in GOOD_ROWS]) + str([given for given, _ in ALIAS_ROWS])
    aliases = {alias for spec in SCHEMA.values() for item in spec.items for alias in item.aliases}
    assert len(aliases) > 15
    assert sorted(alias for alias in aliases if f"'{alias}'" not in given) == []
