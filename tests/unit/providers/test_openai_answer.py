"""What the OpenAI dialect makes of answers: whole ones, and those that only pretend."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway.v1.chat_response_pb2 import ChatCompletion

from service import codec
from service.errors import FailureKind, ProviderFailure
from service.providers import DIALECTS
from tests.fakes.openai import completion


def decode(body: bytes) -> ChatCompletion:
    return DIALECTS["openai"].decode(body)


def failed(body: bytes) -> ProviderFailure:
    with pytest.raises(ProviderFailure) as caught:
        decode(body)
    return caught.value


def answer(message: dict[str, Any], **fields: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return json.dumps({"id": "x", "created": 1, "choices": [choice], **fields}).encode()


def test_an_answer_keeps_all_that_openai_says() -> None:
    body = completion(system_fingerprint="fp_1")

    decoded = decode(body)

    assert (decoded.native_response_id, decoded.id) == ("chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "")
    written = codec.to_json(decoded)
    given = json.loads(body)
    for name in ("created", "usage", "service_tier", "system_fingerprint"):
        assert json.loads(codec.dumps(written[name])) == given[name]
    (choice,) = json.loads(codec.dumps(written["choices"]))
    (expected,) = given["choices"]
    assert choice["message"]["content"] == expected["message"]["content"]
    assert (choice["finish_reason"], choice["logprobs"]) == ("stop", None)


def test_tool_calls_refusals_logprobs_audio_and_annotations() -> None:
    token = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}
    message = {
        "role": "assistant",
        "content": None,
        "refusal": "No.",
        "annotations": [
            {"type": "url_citation", "url_citation": {"start_index": 0, "end_index": 1, "url": "u", "title": "t"}}
        ],
        "audio": {"id": "a", "expires_at": 1, "data": "AA", "transcript": "t"},
        "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}],
    }
    logprobs = {"content": [token], "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "tool_calls"}

    (decoded,) = decode(completion(choices=[choice])).choices

    assert json.loads(codec.encode(decoded)) == choice


def test_several_choices() -> None:
    choices = [
        {"index": place, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        for place, text in enumerate("ab")
    ]

    assert [choice.message.content for choice in decode(completion(choices=choices)).choices] == ["a", "b"]


def test_unknown_fields_are_kept() -> None:
    body = json.loads(completion())
    body["prompt_filter_results"] = [{"prompt_index": 0}]
    body["choices"][0]["content_filter_results"] = {"hate": {"filtered": False}}
    body["usage"]["queue_time"] = 0.5

    decoded = decode(json.dumps(body).encode())

    assert json.loads(decoded.extra["prompt_filter_results"]) == [{"prompt_index": 0}]
    assert json.loads(decoded.choices[0].extra["content_filter_results"]) == {"hate": {"filtered": False}}
    assert decoded.usage.extra["queue_time"] == "0.5"


def test_an_answer_without_usage() -> None:
    assert not decode(answer({"content": "a"})).HasField("usage")


def test_reasoning_by_its_other_name() -> None:
    message = decode(answer({"content": "a", "reasoning": "hm", "reasoning_details": [{"x": 1}]})).choices[0].message

    assert message.reasoning_content == "hm"
    assert dict(message.extra) == {"reasoning_details": '[{"x":1}]'}


@pytest.mark.parametrize("other", [{"reasoning": None}, {"reasoning": {"a": 1}}, {"reasoning": "b"}])
def test_reasoning_content_is_not_replaced(other: dict[str, Any]) -> None:
    message = decode(answer({"content": "a", "reasoning_content": "hm", **other})).choices[0].message

    assert message.reasoning_content == "hm"


def test_tool_calls_without_ids_get_some() -> None:
    calls = [{"function": {"name": "f", "arguments": "{}"}}, {"function": {"name": "f", "arguments": "{}"}}]

    first, second = (decode(answer({"tool_calls": calls})).choices[0].message.tool_calls for _ in range(2))

    assert len({call.id for call in first}) == 2
    assert [call.id for call in first] == [call.id for call in second]
    assert all(call.id.startswith("call_") and len(call.id) <= 40 for call in first)
    assert json.loads(codec.encode(first[0]))["type"] == "function"


def test_what_is_the_gateways_to_say_is_not_taken_from_a_provider() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "server_tool_use": {}, "cost": {}}

    decoded = decode(answer({"content": "a"}, meta={"provider": "x"}, debug={"trace": []}, usage=usage))

    assert not decoded.HasField("meta")
    assert not decoded.HasField("debug")
    assert not decoded.usage.HasField("cost")
    assert not decoded.usage.HasField("server_tool_use")


@pytest.mark.parametrize(
    "fields",
    [
        {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "cost": 0.00014}},
        {"created": 1741569952123, "provider": {"name": "x"}},
        {"usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "server_tool_use": 1}, "meta": 1},
    ],
)
def test_other_types_than_openais_where_they_are_known(fields: dict[str, Any]) -> None:
    decoded = decode(answer({"content": "a"}, **fields))

    assert decoded.choices[0].message.content == "a"
    assert decoded.usage.total_tokens in (0, 3)


def test_a_content_of_parts() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm "}, {"type": "text", "text": "ah"}]}
    parts = [thinking, {"type": "text", "text": "4"}, {"type": "text", "text": "2"}, {"type": "reference"}]

    message = decode(answer({"content": parts})).choices[0].message

    assert (message.content, message.reasoning_content) == ("42", "hm ah")


@pytest.mark.parametrize("body", [b"", b"  \n", b"{}", b'{"choices": []}', b'{"choices": null, "usage": {}}'])
def test_nothing_is_no_answer(body: bytes) -> None:
    assert failed(body).kind is FailureKind.EMPTY


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"[]",
        b'"text"',
        b'{"choices": [',
        b'{"choices": {}}',
        b'{"choices": [null]}',
        b'{"choices": [{"index": 0, "finish_reason": "stop"}]}',
        b'{"choices": [{"index": "0", "message": {"content": "a"}}]}',
        b'{"choices": [{"message": {"content": 5}}]}',
        b'{"choices": [{"message": []}]}',
        b"\xff\xfe",
    ],
)
def test_garbage_is_no_answer(body: bytes) -> None:
    error = failed(body)

    assert error.kind is FailureKind.MALFORMED
    assert "<html>" not in error.message


@pytest.mark.parametrize(
    ("body", "kind", "message", "status", "code"),
    [
        (
            b'{"error": {"message": "Slow down", "code": 429, "metadata": {"provider_name": "x"}}}',
            FailureKind.RATE_LIMITED,
            "Slow down",
            429,
            None,
        ),
        (b'{"error": {"message": "Down", "code": 502}, "user_id": "u"}', FailureKind.SERVER, "Down", 502, None),
        (b'{"error": {"message": "Busy", "code": "503"}}', FailureKind.OVERLOADED, "Busy", 503, None),
        (
            b'{"error": {"message": "Oh", "type": "server_error", "code": null}, "choices": []}',
            FailureKind.SERVER,
            "Oh",
            None,
            None,
        ),
        (b'{"error": "no model loaded"}', FailureKind.SERVER, "no model loaded", None, None),
        (
            b'{"error": {"message": "Too long", "code": "context_length_exceeded"}}',
            FailureKind.CONTEXT_LENGTH,
            "Too long",
            None,
            "context_length_exceeded",
        ),
        (
            b'{"object": "error", "message": "Bad", "type": "BadRequestError", "param": null, "code": 400}',
            FailureKind.REJECTED,
            "Bad",
            400,
            None,
        ),
        (
            b'{"choices": [{"index": 0, "message": {"content": ""}, "finish_reason": "error",'
            b'"error": {"code": 502, "message": "Upstream"}}]}',
            FailureKind.SERVER,
            "Upstream",
            502,
            None,
        ),
        (
            b'{"choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "error"}]}',
            FailureKind.SERVER,
            "the provider broke off with an error",
            None,
            None,
        ),
    ],
)
def test_an_error_within_a_200(
    body: bytes, kind: FailureKind, message: str, status: int | None, code: str | None
) -> None:
    error = failed(body)

    assert (error.kind, error.message, error.status, error.code) == (kind, message, status, code)


def test_no_error_is_no_error() -> None:
    assert decode(answer({"content": "a"}, error=None)).choices


def test_a_message_without_a_role_is_the_assistants() -> None:
    body = b'{"id": "x", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}]}'
    assert decode(body).choices[0].message.role == "assistant"
