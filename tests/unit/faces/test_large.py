"""How many fields a large message may have."""

from __future__ import annotations

import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.content_pb2 import ROLE_USER, ChatMessage, ContentPart, ContentParts, TextPart
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from service.errors import GatewayError
from service.faces.large import LARGE_BYTES, check_fields

PADDING = "x" * LARGE_BYTES


def request(parts: int = 0, stops: int = 0) -> CreateChatCompletionRequest:
    """A large request with so many parts in one message, and so many stop sequences."""
    asked = CreateChatCompletionRequest(model=PADDING, temperature=0.5, seed=-1)
    texts = [ContentPart(text=TextPart(text="a")) for _ in range(parts)]
    asked.messages.append(ChatMessage(role=ROLE_USER, parts=ContentParts(parts=texts)))
    asked.stop_sequences.sequences.extend(["a"] * stops)
    asked.metadata["a"] = "b"
    return asked


def fields_of(message: Message) -> int:
    """How many fields there are, counted by protobuf."""
    count = 0
    for field, value in message.ListFields():
        entries = field.message_type is not None and field.message_type.GetOptions().map_entry
        values = list(value) if field.is_repeated else [value]
        count += 3 * len(values) if entries else len(values)  # an entry has a key and a value
        if field.message_type is not None and not entries:
            count += sum(map(fields_of, values))
    return count


def is_refused(body: bytes, most: int) -> bool:
    try:
        check_fields(body, CreateChatCompletionRequest.DESCRIPTOR, most)
    except GatewayError as error:
        return error.code == "request_too_large"
    return False


@given(st.integers(0, 30), st.integers(0, 30))
def test_fields_are_counted_wherever_they_are(parts: int, stops: int) -> None:
    asked = request(parts, stops)
    body, count = asked.SerializeToString(), fields_of(asked)
    assert not is_refused(body, count)
    assert is_refused(body, count - 1)


@given(st.binary(max_size=200))
def test_what_is_no_message_is_left_to_protobuf(tail: bytes) -> None:
    assert not is_refused(request().SerializeToString() + tail, 1000)


@pytest.mark.parametrize("before", [b"", b"\x08", b"\x0a"], ids=["tag", "number", "length"])
def test_a_number_without_end_takes_no_time(before: bytes) -> None:
    """Were it read to its end, it would be one of a million bytes: that took a minute, now a moment."""
    assert not is_refused(before + b"\xff" * (8 * LARGE_BYTES), 10)


@pytest.mark.parametrize("size", [0, LARGE_BYTES - 1])
def test_small_messages_are_not_counted(size: int) -> None:
    assert not is_refused(b"\x12\x00" * (size // 2), 0)
