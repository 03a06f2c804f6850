"""What a provider's JSON becomes, and how answers are written."""

from __future__ import annotations

import pytest
from gateway.v1.chat_response_pb2 import ChatCompletion, ChatCompletionChunk, Choice, Meta, TokenLogprob, Usage
from gateway.v1.content_pb2 import ToolCall

from service.codec import AnswerError, decode, dumps, encode, field_names, to_json


def test_a_chunk_is_written_with_openais_nulls() -> None:
    chunk = decode(ChatCompletionChunk, b'{"id":"c","created":7,"choices":[{"index":0,"delta":{"content":"a"}}]}')
    assert encode(chunk) == (
        b'{"id":"c","nativeResponseId":null,"object":"","created":7,"model":"","provider":"",'
        b'"choices":[{"index":0,"delta":{"content":"a"},"logprobs":null,"finish_reason":null}]}'
    )


def test_a_last_delta_is_an_empty_object() -> None:
    chunk = ChatCompletionChunk()
    chunk.choices.add(finish_reason="stop")
    assert to_json(chunk)["choices"] == [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}]


def test_an_answer_is_written_with_openais_nulls() -> None:
    answer = decode(ChatCompletion, b'{"choices":[{"message":{"role":"assistant"}}]}')
    assert encode(answer) == (
        b'{"id":"","nativeResponseId":null,"object":"","created":0,"model":"","provider":"","choices":[{"index":0,'
        b'"message":{"role":"assistant","content":null,"refusal":null},"logprobs":null,"finish_reason":null}]}'
    )


def test_unset_fields_between_written_ones_leave_no_gap() -> None:
    assert encode(Meta(provider="p")) == (
        b'{"provider":"p","upstream_model":"","total_ms":0,"dropped_parameters":[],"attempts":[],"candidates":[]}'
    )
    assert encode(Meta(time_to_first_token_ms=1.5, total_ms=2)) == (
        b'{"provider":"","upstream_model":"","time_to_first_token_ms":1.5,"total_ms":2,'
        b'"dropped_parameters":[],"attempts":[],"candidates":[]}'
    )
    assert encode(Choice()) == b'{"index":0,"logprobs":null,"finish_reason":null}'


@pytest.mark.parametrize(
    ("value", "text"), [(1.0, b"1"), (-0.0, b"-0.0"), (0.5, b"0.5"), (1e300, b"1e+300"), (float("nan"), b"null")]
)
def test_doubles_are_written_as_short_as_they_are(value: float, text: bytes) -> None:
    assert encode(TokenLogprob(logprob=value)) == (
        b'{"token":"","logprob":' + text + b',"bytes":null,"top_logprobs":[]}'
    )


def test_verbatim_text_is_written_in_one_line() -> None:
    chunk = ChatCompletionChunk(moderation='{\r\n "a": "\\n"\n}', extra={"x": "[\n1]"})
    assert encode(chunk).endswith(b'"choices":[],"moderation":{   "a": "\\n" },"x":[ 1]}')


def test_unknown_fields_are_kept_in_a_steady_order() -> None:
    chunk = decode(ChatCompletionChunk, b'{"z":{"b":1,"a":null},"a":null,"choices":[{"delta":{"foo":[1.0]}}]}')
    assert dict(chunk.extra) == {"z": '{"b":1,"a":null}', "a": "null"}
    assert dict(chunk.choices[0].delta.extra) == {"foo": "[1.0]"}
    assert encode(chunk).endswith(b'"a":null,"z":{"b":1,"a":null}}')


def test_null_is_absent_everywhere() -> None:
    body = b'{"id":null,"choices":[{"delta":{"content":null,"tool_calls":null},"logprobs":null}],"usage":null}'
    chunk = decode(ChatCompletionChunk, body)
    assert not chunk.HasField("usage")
    assert not chunk.choices[0].delta.HasField("content")
    assert chunk.choices[0].HasField("delta")


def test_no_rule_holds_for_a_provider() -> None:
    call = decode(ToolCall, b'{"type":"function","function":{"name":""}}')
    assert not call.HasField("id")
    assert call.function.name == ""


def test_an_unknown_enum_string_is_an_unknown_field() -> None:
    call = decode(ToolCall, b'{"id":"1","type":"telepathy"}')
    assert dict(call.extra) == {"type": '"telepathy"'}
    assert encode(call) == b'{"id":"1","type":"telepathy"}'


def test_fractions_of_whole_numbers_are_cut_off() -> None:
    assert decode(ChatCompletion, b'{"created":1700000000.9}').created == 1700000000
    assert decode(Usage, b'{"prompt_tokens":12.0}').prompt_tokens == 12


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The JSON text is empty."),
        (b"<html>", "The text is not JSON: expecting value at line 1 column 1."),
        (b"[]", "The JSON value must be an object, not an array."),
        (b'{"id":5}', "'id' must be a string, not a number."),
        (b'{"choices":{}}', "'choices' must be an array, not an object."),
        (b'{"choices":[{"delta":{"content":1.5}}]}', "'choices[0].delta.content' must be a string, not a number."),
        (b'{"choices":[{"index":"0"}]}', "'choices[0].index' must be an integer, not a string."),
        (
            b'{"choices":[{"index":4294967296}]}',
            "'choices[0].index' must be an integer from -2147483648 to 2147483647.",
        ),
        (b'{"choices":[{"index":1e400}]}', "'choices[0].index' must be an integer from -2147483648 to 2147483647."),
        (b'{"choices":[null]}', "'choices[0]' must be an object, not null."),
        (b'{"created":true}', "'created' must be an integer, not a boolean."),
        (b'{"x":' + b"[" * 300 + b"]" * 300 + b"}", "The JSON text is nested too deep."),
    ],
)
def test_a_malformed_answer_says_where(body: bytes, message: str) -> None:
    with pytest.raises(AnswerError) as caught:
        decode(ChatCompletionChunk, body)
    assert str(caught.value) == message


def test_names_are_those_of_json_and_of_what_is_set() -> None:
    chunk = ChatCompletionChunk(native_response_id="", model="m", extra={"x": "1"})
    assert field_names(chunk) == ["nativeResponseId", "model"]


def test_a_value_may_be_put_into_another_one() -> None:
    usage = Usage(prompt_tokens=1, extra={"b": '{"z":1.0}'})
    expected = b'{"data":[{"prompt_tokens":1,"completion_tokens":0,"total_tokens":0,"b":{"z":1.0}}]}'
    assert dumps({"data": [to_json(usage)]}) == expected
