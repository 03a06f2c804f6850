"""What the Anthropic dialect makes of recorded answers, whole and streamed, in chunks of any size."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from anthropic.types import Message, RawMessageStreamEvent
from gateway.v1.chat_response_pb2 import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from service.codec import dumps, to_json
from service.errors import FailureKind, ProviderFailure
from service.providers.anthropic import AnthropicDialect
from service.upstream.sse import Event, EventDecoder
from tests.unit.providers.anthropic_requests import HI, WEATHER, encode

DIALECT = AnthropicDialect()
RECORDINGS = Path(__file__).parents[2] / "recordings" / "anthropic"
BOTH = sorted(
    {path.stem for path in RECORDINGS.glob("unary/*.json")} & {path.stem for path in RECORDINGS.glob("stream/*.sse")}
)
NEWER = {"unknown", "error"}
"""Streams with what the types do not know."""
SIZES = [1, 2, 3, 7, 1000, 100_000]


def unary(name: str) -> ChatCompletion:
    return DIALECT.decode((RECORDINGS / "unary" / f"{name}.json").read_bytes())


def events(body: bytes, size: int = 100_000) -> Iterable[Event]:
    decoder = EventDecoder(1_000_000)
    for start in range(0, len(body), size):
        yield from decoder.feed(body[start : start + size])


def stream(name: str, size: int = 100_000) -> tuple[list[ChatCompletionChunk], bool]:
    decoder = DIALECT.stream_decoder()
    body = (RECORDINGS / "stream" / f"{name}.sse").read_bytes()
    return [chunk for event in events(body, size) for chunk in decoder.decode(event)], decoder.finished


def plain(message: Any) -> Any:
    """Return a message as a client reads it."""
    return json.loads(dumps(to_json(message)))


def spelled(chunks: list[ChatCompletionChunk]) -> dict[str, Any]:
    """Return what the chunks of one choice spell."""
    message: dict[str, Any] = {}
    calls: dict[int, dict[str, str]] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            for name in ("content", "reasoning_content"):
                if choice.delta.HasField(name):
                    message[name] = message.get(name, "") + getattr(choice.delta, name)
            for name, text in choice.delta.extra.items():
                for item in json.loads(text):
                    # OpenAI's clients put the items of a list together by their index.
                    assert item.pop("index") == len(message.setdefault(name, []))
                    message[name].append(item)
            for call in choice.delta.tool_calls:
                into = calls.setdefault(call.index, {"id": "", "name": "", "arguments": ""})
                into["id"] += call.id
                into["name"] += call.function.name
                into["arguments"] += call.function.arguments
    if calls:
        message["tool_calls"] = [calls[index] for index in sorted(calls)]
    return message


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("unary/*.json")), ids=lambda path: path.stem)
def test_answers_are_of_the_published_type(path: Path) -> None:
    Message.model_validate_json(path.read_bytes())


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("stream/*.sse")), ids=lambda path: path.stem)
def test_events_are_of_the_published_types(path: Path) -> None:
    known: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
    for event in events(path.read_bytes()):
        assert json.loads(event.data)["type"] == event.event
        if event.event != "ping" and path.stem not in NEWER:
            known.validate_json(event.data)


def test_a_text() -> None:
    assert plain(unary("text")) == {
        "id": "",
        "nativeResponseId": "msg_01XFDUDYJgAACzvnptvVoYEL",
        "object": "",
        "created": 0,
        "model": "",
        "provider": "",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello! How can I help you today? 👋", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 12,
            "total_tokens": 22,
            "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        },
        "service_tier": "default",
    }


def test_parallel_tools_keep_their_ids_and_their_numbers() -> None:
    choice = unary("tools").choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "I'll check both cities."
    assert [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls] == [
        (
            "toolu_01A09q90qw90lq917835lq9",
            "get_weather",
            '{"location":"Paris","days":3,"exact":12345678901234567890123}',
        ),
        ("toolu_01T1x1fJ34qAmk2tNTrN7Up6", "get_weather", '{"location":"London"}'),
    ]


def test_thinking_comes_back_with_its_signatures() -> None:
    completion = unary("thinking")
    message = completion.choices[0].message
    assert message.reasoning_content == "27 * 453: 27 * 400 = 10800, 27 * 53 = 1431."
    assert json.loads(message.extra["thinking_blocks"]) == [
        {
            "type": "thinking",
            "thinking": "27 * 453: 27 * 400 = 10800, 27 * 53 = 1431.",
            "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds0mYtnQ7Yw==",
        },
        {"type": "redacted_thinking", "data": "EmwKAhgBEgy3va3pzix"},
    ]
    assert completion.usage.completion_tokens_details.reasoning_tokens == 150


@pytest.mark.parametrize(
    ("name", "reason", "extra"),
    [
        ("text", "stop", {}),
        ("stop_sequence", "stop", {}),
        ("server_tool", "stop", {"native_finish_reason": "pause_turn"}),
        ("tools", "tool_calls", {}),
        ("length", "length", {}),
        ("context_window", "length", {"native_finish_reason": "model_context_window_exceeded"}),
        (
            "refusal",
            "content_filter",
            {
                "native_finish_reason": "refusal",
                "stop_details": {
                    "type": "refusal",
                    "category": "bio",
                    "explanation": "The request asks for dangerous laboratory methods.",
                },
            },
        ),
    ],
)
def test_finish_reasons(name: str, reason: str, extra: dict[str, Any]) -> None:
    choice = unary(name).choices[0]
    assert choice.finish_reason == reason
    assert {key: json.loads(text) for key, text in choice.extra.items()} == extra


def test_the_cache_is_part_of_the_input() -> None:
    completion = unary("cached")
    assert plain(completion.usage) == {
        "prompt_tokens": 2369,
        "completion_tokens": 9,
        "total_tokens": 2378,
        "prompt_tokens_details": {"cached_tokens": 2048, "cache_write_tokens": 300},
    }
    assert completion.service_tier == "priority"


def test_an_empty_answer_is_an_answer() -> None:
    message = unary("empty").choices[0].message
    assert message.HasField("content")
    assert message.content == ""


def test_what_the_schema_does_not_know_is_kept() -> None:
    citations = json.loads(unary("citations").choices[0].message.extra["citations"])
    assert [citation["cited_text"] for citation in citations] == ["Bees dance."]
    blocks = json.loads(unary("server_tool").choices[0].message.extra["content_blocks"])
    assert [(block["type"], block["input"]) for block in blocks] == [("server_tool_use", {"query": "bees"})]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("size", SIZES)
def test_a_stream_spells_the_whole_answer(name: str, size: int) -> None:
    chunks, finished = stream(name, size)
    whole = unary(name)
    message = whole.choices[0].message
    expected: dict[str, Any] = {
        field: getattr(message, field) for field in ("content", "reasoning_content") if message.HasField(field)
    }
    expected |= {field: json.loads(text) for field, text in message.extra.items()}
    if message.tool_calls:
        expected["tool_calls"] = [
            {"id": call.id, "name": call.function.name, "arguments": call.function.arguments}
            for call in message.tool_calls
        ]
    assert finished
    assert spelled(chunks) == {field: value for field, value in expected.items() if value != ""}
    assert chunks[0].choices[0].delta.role == "assistant"
    end, usage = chunks[-2:]
    assert (end.choices[0].finish_reason, end.choices[0].extra) == (
        whole.choices[0].finish_reason,
        whole.choices[0].extra,
    )
    assert usage.usage == whole.usage
    assert end.service_tier == whole.service_tier
    assert list(usage.choices) == []
    assert {chunk.native_response_id for chunk in chunks} == {whole.native_response_id}


def test_arguments_are_streamed_as_they_come() -> None:
    chunks, _ = stream("tools")
    deltas = [call for chunk in chunks for choice in chunk.choices for call in choice.delta.tool_calls]
    assert [(delta.index, delta.id, delta.type, delta.function.arguments) for delta in deltas] == [
        (0, "toolu_01A09q90qw90lq917835lq9", "function", ""),
        (0, "", "", '{"location":"Par'),
        (0, "", "", 'is","days":3,"exact":12345678901234567890123}'),
        (1, "toolu_01T1x1fJ34qAmk2tNTrN7Up6", "function", ""),
        (1, "", "", '{"location":'),
        (1, "", "", '"London"}'),
    ]


def test_a_call_without_arguments_has_empty_ones() -> None:
    assert spelled(stream("no_arguments")[0])["tool_calls"] == [
        {"id": "toolu_01GmVLjXwcM5CAmkKwvNqBqB", "name": "gateway_datetime", "arguments": "{}"}
    ]


def test_a_call_of_anthropics_own_tool_that_was_cut_short_ends_the_answer_and_does_not_break_it() -> None:
    begun = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}}
    sent: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "msg_1", "usage": {"input_tokens": 1, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": begun},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "input_json_delta", "partial_json": '{"query": "we'},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 5}},
        {"type": "message_stop"},
    ]
    decoder = DIALECT.stream_decoder()
    chunks = [chunk for each in sent for chunk in decoder.decode(Event(each["type"], json.dumps(each).encode()))]
    assert spelled(chunks)["content_blocks"] == [{**begun, "input": {"arguments": '{"query": "we'}}]
    assert chunks[-2].choices[0].finish_reason == "length"


def test_thinking_that_is_not_shown_keeps_its_signature() -> None:
    message = spelled(stream("omitted_thinking")[0])
    assert "reasoning_content" not in message
    assert [block["thinking"] for block in message["thinking_blocks"]] == [""]


def test_unknown_events_deltas_and_blocks_do_no_harm() -> None:
    chunks, finished = stream("unknown")
    assert finished
    assert spelled(chunks) == {"content": "Hello", "content_blocks": [{"type": "hologram", "frames": 2}]}


@pytest.mark.parametrize("size", SIZES)
def test_an_error_in_mid_stream_ends_it(size: int) -> None:
    decoder = DIALECT.stream_decoder()
    chunks: list[ChatCompletionChunk] = []
    *before, error = events((RECORDINGS / "stream" / "error.sse").read_bytes(), size)
    for event in before:
        chunks.extend(decoder.decode(event))
    with pytest.raises(ProviderFailure) as caught:
        decoder.decode(error)
    assert (caught.value.kind, caught.value.message) == (FailureKind.OVERLOADED, "Overloaded")
    assert spelled(chunks) == {"content": "Hello"}
    assert not decoder.finished


def test_a_cut_stream_has_neither_end_nor_usage() -> None:
    chunks, finished = stream("cut")
    assert not finished
    assert all(not choice.finish_reason for chunk in chunks for choice in chunk.choices)
    assert not any(chunk.HasField("usage") for chunk in chunks)


def test_nothing_counts_after_the_end() -> None:
    decoder = DIALECT.stream_decoder()
    for event in events((RECORDINGS / "stream" / "text.sse").read_bytes()):
        decoder.decode(event)
    assert decoder.decode(Event("message_stop", b'{"type":"message_stop"}')) == ()


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"type":"message_start"}',
        b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":7}}',
        b'{"type":"content_block_delta","index":4,"delta":{"type":"signature_delta","signature":"x"}}',
        b'{"type":"content_block_stop","index":4}',
        b'{"type":"message_stop"}',
    ],
)
def test_malformed_events(data: bytes) -> None:
    with pytest.raises(ProviderFailure) as caught:
        DIALECT.stream_decoder().decode(Event("message", data))
    assert caught.value.kind is FailureKind.MALFORMED


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"", FailureKind.EMPTY),
        (b" \n", FailureKind.EMPTY),
        (b"<html>", FailureKind.MALFORMED),
        (b"[]", FailureKind.MALFORMED),
        (b"{}", FailureKind.MALFORMED),
        (b'{"type":"message","id":"m","content":{},"stop_reason":"end_turn","usage":{}}', FailureKind.MALFORMED),
        (b'{"type":"message","id":"m","content":[],"stop_reason":null,"usage":{}}', FailureKind.MALFORMED),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', FailureKind.OVERLOADED),
        (b'{"type":"error","error":"no"}', FailureKind.MALFORMED),
    ],
)
def test_bodies_that_are_no_answer(body: bytes, kind: FailureKind) -> None:
    with pytest.raises(ProviderFailure) as caught:
        DIALECT.decode(body)
    assert caught.value.kind is kind
    assert "<html>" not in caught.value.message


def test_an_answer_with_thinking_and_a_call_goes_back_as_it_came() -> None:
    recorded = json.loads((RECORDINGS / "unary" / "thinking_tools.json").read_bytes())
    message = plain(unary("thinking_tools"))["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "rain"}
    body, sent = encode(messages=[*HI, message, result], tools=[WEATHER], reasoning={"effort": "low"})
    assert body["messages"][1]["content"] == recorded["content"]
    assert body["thinking"]["type"] == "enabled"
    assert sent.dropped == ()


@pytest.mark.parametrize("details", [{}, {"thinking_tokens": None}, None])
def test_details_of_usage_that_say_nothing_are_none(details: dict[str, Any] | None) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "output_tokens_details": details}
    text = {"type": "text", "text": "Hi"}
    answer = {"id": "m", "type": "message", "role": "assistant", "content": [text], "stop_reason": "end_turn"}
    found = DIALECT.decode(json.dumps({**answer, "usage": usage}).encode()).usage
    assert (found.completion_tokens, found.HasField("completion_tokens_details")) == (2, False)
