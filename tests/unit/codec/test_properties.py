"""What holds for every request: nothing is lost, and nothing but the gateway's own error comes out of garbage."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import ChatCompletionChunk
from hypothesis import given, settings
from hypothesis import strategies as st

from service.codec import AnswerError, decode, decode_request, encode, validate
from service.errors import GatewayError

NUMBERS = ["1", "1.0", "-0.0", "1e400", "9223372036854775808", "1180591620717411303424", "0.10000000000000000000001"]


class Verbatim(float):
    """A number that `json.dumps` writes as given."""

    def __new__(cls, text: str) -> Verbatim:
        number = super().__new__(cls, text)
        number.text = text
        return number

    text: str


def text_of(value: Any) -> str:
    """JSON text with keys in order and numbers verbatim."""
    match value:
        case Verbatim():
            return value.text
        case dict():
            return (
                "{"
                + ",".join(f"{json.dumps(key, ensure_ascii=False)}:{text_of(item)}" for key, item in value.items())
                + "}"
            )
        case list():
            return "[" + ",".join(map(text_of, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x7f"), max_size=8)
numbers = st.sampled_from(NUMBERS).map(Verbatim) | st.integers(-(2**70), 2**70).map(lambda each: Verbatim(str(each)))
values = st.recursive(
    st.none() | st.booleans() | words | numbers,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=8,
)
objects = st.dictionaries(words, values, max_size=4)
unknown = st.dictionaries(words.map(lambda word: "x-" + word), values, max_size=2).map(
    lambda fields: dict(sorted(fields.items()))
)


def record(
    required: dict[str, st.SearchStrategy[Any]], **optional: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with their fields in order of number and their unknown fields last, in order of name."""
    known = st.fixed_dictionaries(required, optional=optional).map(
        lambda value: {key: value[key] for key in (*required, *optional) if key in value}
    )
    return st.tuples(known, unknown).map(lambda both: both[0] | both[1])


parts = st.one_of(
    record({"type": st.just("text"), "text": words}),
    record({"type": st.just("image_url"), "image_url": record({"url": words}, detail=words)}),
    record({"type": st.just("input_audio"), "input_audio": record({"data": words}, format=st.just("wav"))}),
    record({"type": st.just("input_video"), "video_url": words | record({"url": words})}),
    record({"type": st.just("file"), "file": record({}, filename=words, file_id=words)}),
)
calls = record({"id": words, "type": st.just("function"), "function": record({}, name=words, arguments=words)})
messages = record(
    {"role": st.sampled_from(["system", "user", "assistant", "tool"])},
    content=st.none() | words | st.lists(parts, max_size=2),
    name=words,
    tool_calls=st.lists(calls, min_size=1, max_size=2),
)
functions = record({"name": words.filter(bool)}, description=words, parameters=objects, strict=st.booleans())
requests = record(
    {"model": words.filter(bool), "messages": st.lists(messages, min_size=1, max_size=2)},
    stream=st.booleans(),
    max_completion_tokens=st.integers(1, 2**31 - 1),
    temperature=st.sampled_from([0, 0.1, 1, 1.7]),
    seed=st.integers(-(2**63), 2**63 - 1),
    stop=words | st.lists(words, max_size=3),
    response_format=st.sampled_from(["text", "json_object"])
    | record({"type": st.just("json_schema"), "schema": objects}),
    tools=st.lists(record({"type": st.just("function"), "function": functions}), min_size=1, max_size=2),
    tool_choice=st.sampled_from(["auto", "gateway:datetime"])
    | record({"type": st.just("function"), "function": record({"name": words.filter(bool)})}),
    image_config=record({}, reference_images=st.lists(objects, min_size=1, max_size=2)),
)


@given(requests)
def test_json_to_message_to_json_loses_nothing(value: dict[str, Any]) -> None:
    message = decode_request(CreateChatCompletionRequest, text_of(value).encode(), max_depth=128)
    # The codec writes some characters escaped that Python does not, so texts are compared with strings normalised.
    assert normal(encode(message)) == normal(text_of(value).encode())


@given(requests)
def test_message_to_json_to_message_is_the_same(value: dict[str, Any]) -> None:
    message = decode_request(CreateChatCompletionRequest, text_of(value).encode(), max_depth=128)
    validate(message)
    assert decode_request(CreateChatCompletionRequest, encode(message), max_depth=128) == message
    assert decode(CreateChatCompletionRequest, encode(message)).tools == message.tools


def normal(body: bytes) -> str:
    return text_of(json.loads(body, parse_int=Verbatim, parse_float=Verbatim))


def depth(value: Any) -> int:
    """How many arrays and objects within each other a value has."""
    match value:
        case dict():
            return 1 + max(map(depth, value.values()), default=0)
        case list():
            return 1 + max(map(depth, value), default=0)
    return 0


@given(requests, st.integers(0, 12), st.integers(1, 16))
def test_a_request_is_as_deep_as_it_may_be_and_no_deeper(value: dict[str, Any], more: int, limit: int) -> None:
    for _ in range(more):
        value["x-deep"] = [value.get("x-deep", {})]
    body = text_of(value).encode()
    if depth(value) > limit:
        with pytest.raises(GatewayError, match=f"nested more than {limit} deep"):
            decode_request(CreateChatCompletionRequest, body, max_depth=limit)
    else:
        decode_request(CreateChatCompletionRequest, body, max_depth=limit)


@given(objects, st.integers(1, 8))
def test_too_deep_is_told_first(value: dict[str, Any], limit: int) -> None:
    with pytest.raises(GatewayError) as refused:
        decode_request(CreateChatCompletionRequest, text_of({"messages": value}).encode(), max_depth=limit)
    assert (refused.value.code == "invalid_json") == (depth(value) + 1 > limit)


garbage = st.binary(max_size=60) | values.map(lambda value: text_of(value).encode())
field_names = st.sampled_from([field.name for field in CreateChatCompletionRequest.DESCRIPTOR.fields])
wrong = st.dictionaries(field_names, values, max_size=4).map(lambda value: text_of(value).encode())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A good request with some bytes replaced."""
    body = bytearray(text_of(draw(requests)).encode())
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(body) - 1))
        body[start : start + draw(st.integers(0, 4))] = draw(
            st.binary(max_size=3) | st.sampled_from([b"null", b"1e999", b'"\\ud800"', b"[", b"{}", b"NaN", b"-"])
        )
        body += b" " if not body else b""
    return bytes(body)


@settings(max_examples=300)
@given(garbage | wrong | damaged())
def test_garbage_is_refused_with_the_gateways_own_error(body: bytes) -> None:
    with contextlib.suppress(GatewayError):
        validate(decode_request(CreateChatCompletionRequest, body, max_depth=128))
    with contextlib.suppress(AnswerError):
        encode(decode(CreateChatCompletionRequest, body))
    with contextlib.suppress(AnswerError):
        encode(decode(ChatCompletionChunk, body))
