"""What the OpenAI dialect makes of streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway.v1.chat_response_pb2 import ChatCompletionChunk
from hypothesis import given
from hypothesis import strategies as st

from service import codec
from service.errors import FailureKind, ProviderFailure
from service.providers import DIALECTS, StreamDecoder
from service.upstream.sse import Event, EventDecoder
from tests.fakes.openai import chunk

# As recorded in OpenAI's reference, with usage asked for.
RECORDED = b"".join(
    b"data: " + data + b"\n\n"
    for data in (
        chunk({"role": "assistant", "content": ""}, system_fingerprint="fp_44", usage=None),
        chunk({"content": "Hé"}, usage=None, obfuscation="abc"),
        chunk({"content": "llo\u2028"}, usage=None),
        chunk({}, "stop", usage=None),
        chunk({}, choices=[], usage={"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}),
        b"[DONE]",
    )
)
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def stream_decoder() -> StreamDecoder:
    return DIALECTS["openai"].stream_decoder()


def read(decoder: StreamDecoder, *data: bytes | dict[str, Any]) -> list[ChatCompletionChunk]:
    events = (Event("message", each if isinstance(each, bytes) else json.dumps(each).encode()) for each in data)
    return [found for event in events for found in decoder.decode(event)]


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content for found in chunks for choice in found.choices)


def calls(*deltas: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
    return {"id": "r", "choices": [{"index": 0, "delta": {"tool_calls": deltas}, "finish_reason": finish_reason}]}


def joined(chunks: list[ChatCompletionChunk]) -> dict[int, tuple[str, str, str]]:
    """Id, name and arguments of each tool call, put together as OpenAI's own clients do: by appending."""
    found: dict[int, tuple[str, str, str]] = {}
    for each in chunks:
        for choice in each.choices:
            for delta in choice.delta.tool_calls:
                call_id, name, arguments = found.get(delta.index, ("", "", ""))
                function = delta.function
                found[delta.index] = (call_id + delta.id, name + function.name, arguments + function.arguments)
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000, 100_000])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_recorded_stream(size: int, end: bytes) -> None:
    stream = RECORDED.replace(b"\n", end)
    events, decoder = EventDecoder(100_000), stream_decoder()

    chunks = [
        found
        for at in range(0, len(stream), size)
        for event in events.feed(stream[at : at + size])
        for found in decoder.decode(event)
    ]

    assert text_of(chunks) == "Héllo\u2028"
    assert [found.native_response_id for found in chunks] == ["chatcmpl-123"] * 5
    assert (chunks[0].id, chunks[0].created, chunks[0].system_fingerprint) == ("", 1694268190, "fp_44")
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[1].obfuscation == "abc"
    assert [found.choices[0].finish_reason for found in chunks if found.choices] == ["", "", "", "stop"]
    assert (chunks[-1].usage.total_tokens, len(chunks[-1].choices)) == (21, 0)
    assert decoder.finished


def test_done_alone_is_no_end() -> None:
    decoder = stream_decoder()

    read(decoder, chunk({"content": "a"}), b"[DONE]")

    assert not decoder.finished


def test_a_finish_reason_is_an_end_without_done() -> None:
    decoder = stream_decoder()

    read(decoder, chunk({"content": "a"}, "length"))

    assert decoder.finished


def test_nothing_is_no_end() -> None:
    decoder = stream_decoder()

    assert read(decoder, b"", b"[DONE]", b" [DONE] ") == []
    assert not decoder.finished


def test_an_empty_finish_reason_is_none() -> None:
    decoder = stream_decoder()

    (found,) = read(decoder, {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": ""}]})

    assert not found.choices[0].HasField("finish_reason")
    assert not decoder.finished


def test_several_choices_end_one_by_one() -> None:
    decoder = stream_decoder()

    def choice(index: int, text: str, reason: str | None = None) -> dict[str, Any]:
        return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": reason}]}

    chunks = read(decoder, choice(0, "a"), choice(1, "b"), choice(0, "c", "stop"))
    assert not decoder.finished
    chunks += read(decoder, choice(0, "late"), choice(1, "d", "stop"))
    assert decoder.finished
    assert text_of(chunks) == "abcd"


def test_an_end_that_comes_twice_is_told_once() -> None:
    decoder = stream_decoder()

    chunks = read(decoder, chunk({"content": "a"}), chunk({}, "stop"), chunk({}, "stop"), chunk({"content": "late"}))

    assert text_of(chunks) == "a"
    assert [found.choices[0].finish_reason for found in chunks] == ["", "stop"]


@pytest.mark.parametrize("choices", [[], [{"index": 0, "delta": {}, "finish_reason": "stop"}]])
def test_usage_after_the_end(choices: list[dict[str, Any]]) -> None:
    decoder = stream_decoder()

    chunks = read(decoder, chunk({}, "stop"), {"choices": choices, "usage": USAGE})

    assert (chunks[-1].usage.total_tokens, len(chunks[-1].choices)) == (3, 0)


def test_usage_in_the_last_chunk_with_a_price_in_it() -> None:
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "stop", "native_finish_reason": "stop"}

    (found,) = read(stream_decoder(), {"id": "gen-1", "choices": [choice], "usage": {**USAGE, "cost": 0.00014}})

    assert found.usage.total_tokens == 3
    assert found.choices[0].extra["native_finish_reason"] == '"stop"'


def test_what_a_chunk_without_choices_says_comes_with_the_next() -> None:
    decoder = stream_decoder()

    chunks = read(
        decoder,
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0}]},
        {"choices": [{"index": 0, "delta": {"content": "a"}}]},
        {"choices": [{"index": 0, "delta": {"content": "b"}}]},
    )

    assert [dict(found.extra) for found in chunks] == [{"prompt_filter_results": '[{"prompt_index":0}]'}, {}]


def test_reasoning_by_its_other_name() -> None:
    (found,) = read(stream_decoder(), {"choices": [{"index": 0, "delta": {"reasoning": "hm", "content": ""}}]})

    assert found.choices[0].delta.reasoning_content == "hm"
    assert not found.choices[0].delta.extra


def test_tool_calls_as_openai_sends_them() -> None:
    decoder = stream_decoder()

    chunks = read(
        decoder,
        calls({"index": 0, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": ""}}),
        calls({"index": 0, "function": {"arguments": '{"x"'}}),
        calls({"index": 1, "id": "call_b", "type": "function", "function": {"name": "g", "arguments": ""}}),
        calls({"index": 0, "function": {"arguments": ":1}"}}, {"index": 1, "function": {"arguments": "{}"}}),
        calls(finish_reason="tool_calls"),
    )

    assert joined(chunks) == {0: ("call_a", "f", '{"x":1}'), 1: ("call_b", "g", "{}")}
    assert chunks[0].choices[0].delta.tool_calls[0].type == "function"
    assert json.loads(codec.encode(chunks[1].choices[0].delta.tool_calls[0])) == {
        "index": 0,
        "function": {"arguments": '{"x"'},
    }


UNNUMBERED: dict[str, list[dict[str, Any]]] = {
    "one chunk a call": [
        calls({"id": "a", "function": {"name": "f", "arguments": "{}"}}),
        calls({"id": "b", "function": {"name": "f", "arguments": "[]"}}),
    ],
    "all in a chunk": [
        calls(
            {"id": "a", "function": {"name": "f", "arguments": "{}"}},
            {"id": "b", "function": {"name": "f", "arguments": "[]"}},
        )
    ],
    "in pieces": [
        calls({"id": "a", "function": {"name": "f"}}),
        calls({"function": {"arguments": "{"}}),
        calls({"function": {"arguments": "}"}}),
        calls({"id": "b", "function": {"name": "f"}}),
        calls({"function": {"arguments": "["}}),
        calls({"function": {"arguments": "]"}}),
    ],
    "numbered from 1": [
        calls({"index": 1, "id": "a", "function": {"name": "f", "arguments": "{"}}),
        calls({"index": 1, "function": {"arguments": "}"}}),
        calls({"index": 2, "id": "b", "function": {"name": "f", "arguments": "[]"}}),
    ],
    "id, type and name again and again": [
        calls({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "{"}}),
        calls({"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": "}"}}),
        calls({"index": 1, "id": "b", "type": "function", "function": {"name": "f", "arguments": "["}}),
        calls({"index": 1, "id": "b", "type": "function", "function": {"name": "f", "arguments": "]"}}),
    ],
    "a new id with each piece": [
        calls({"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}),
        calls({"index": 0, "id": "other", "function": {"arguments": "}"}}),
        calls({"index": 1, "id": "b", "function": {"name": "f", "arguments": "["}}),
        calls({"index": 1, "id": "another", "function": {"name": "", "arguments": "]"}}),
    ],
}


@pytest.mark.parametrize("case", UNNUMBERED)
def test_tool_calls_as_others_send_them(case: str) -> None:
    chunks = read(stream_decoder(), *UNNUMBERED[case])

    assert joined(chunks) == {0: ("a", "f", "{}"), 1: ("b", "f", "[]")}
    types = [delta.type for found in chunks for delta in found.choices[0].delta.tool_calls if delta.type]
    assert types == ["function", "function"]


def test_tool_calls_without_ids_get_some() -> None:
    first = {"function": {"name": "f", "arguments": "{}"}}

    found = joined(read(stream_decoder(), calls(first, first), calls({"function": {"arguments": " "}})))

    assert [(name, arguments) for _, name, arguments in found.values()] == [("f", "{}"), ("f", "{} ")]
    assert len({call_id for call_id, _, _ in found.values()}) == 2
    assert all(call_id.startswith("call_") and len(call_id) <= 40 for call_id, _, _ in found.values())


def test_custom_tool_calls() -> None:
    chunks = read(
        stream_decoder(),
        calls({"index": 0, "id": "a", "type": "custom", "custom": {"name": "c", "input": "x"}}),
        calls({"index": 0, "custom": {"input": "y"}}),
    )

    deltas = [found.choices[0].delta.tool_calls[0] for found in chunks]
    assert [json.loads(codec.encode(delta)) for delta in deltas] == [
        {"index": 0, "id": "a", "type": "custom", "custom": {"name": "c", "input": "x"}},
        {"index": 0, "custom": {"input": "y"}},
    ]


def test_a_content_of_parts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "a"}]

    (found,) = read(stream_decoder(), {"choices": [{"index": 0, "delta": {"content": parts}}]})

    assert (found.choices[0].delta.content, found.choices[0].delta.reasoning_content) == ("a", "hm")


@pytest.mark.parametrize(
    ("event", "kind", "message"),
    [
        (Event("message", b'{"error": {"message": "Oh", "code": 502}}'), FailureKind.SERVER, "Oh"),
        (Event("message", b'{"error": {"message": "Oh", "type": "rate_limit_error"}}'), FailureKind.RATE_LIMITED, "Oh"),
        (Event("error", b'{"message": "Oh", "type": "overloaded_error"}'), FailureKind.OVERLOADED, "Oh"),
        (Event("error", b"text"), FailureKind.SERVER, "the provider sent an error event"),
        (
            Event("message", b'{"object": "error", "message": "Oh", "type": "BadRequestError", "code": 400}'),
            FailureKind.REJECTED,
            "Oh",
        ),
        (
            Event(
                "message",
                b'{"id": "gen-1", "error": {"code": 502, "message": "Oh"},'
                b'"choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}',
            ),
            FailureKind.SERVER,
            "Oh",
        ),
    ],
)
def test_an_error_in_mid_stream(event: Event, kind: FailureKind, message: str) -> None:
    decoder = stream_decoder()
    read(decoder, chunk({"content": "a"}))

    with pytest.raises(ProviderFailure) as caught:
        decoder.decode(event)

    assert (caught.value.kind, caught.value.message) == (kind, message)
    assert not decoder.finished


@pytest.mark.parametrize("data", [b"{", b"[]", b"null", b"text", b'{"choices": 5}', b'{"choices": [{"index": "a"}]}'])
def test_a_malformed_event(data: bytes) -> None:
    with pytest.raises(ProviderFailure) as caught:
        stream_decoder().decode(Event("message", data))

    assert caught.value.kind is FailureKind.MALFORMED


def test_unknown_events_and_fields_are_no_error() -> None:
    (found,) = stream_decoder().decode(Event("x", b'{"new": 1, "choices": [{"index": 0, "delta": {"new": 2}}]}'))

    assert found.extra["new"] == "1"
    assert found.choices[0].delta.extra["new"] == "2"


TEXTS = st.one_of(st.text(), st.sampled_from(['"content":"', '"', "\\", '","content":"x', "\u2028\n\r", "\x00", ""]))


@st.composite
def text_events(draw: st.DrawFn) -> bytes:
    """An event with text most of the time, as one of two providers writes it, and sometimes with something else."""
    delta: dict[str, Any] = {"content": draw(TEXTS)}
    fields: dict[str, Any] = {}
    finish_reason = None
    match draw(st.integers(0, 40)):
        case 0:
            delta["role"] = "assistant"
        case 1:
            delta["reasoning"] = draw(TEXTS)
        case 2:
            fields["obfuscation"] = draw(TEXTS)
        case 3:
            fields["usage"] = USAGE
        case 4:
            finish_reason = draw(st.sampled_from(["stop", "length"]))
        case 5:
            delta = {}
        case 6:
            delta["content"] = None
    index = draw(st.sampled_from([0, 0, 0, 0, 0, 0, 1]))
    value = {"id": "r", "choices": [{"index": index, "delta": delta, "finish_reason": finish_reason}]}
    separators = draw(st.sampled_from([None, None, None, None, (",", ":")]))
    return json.dumps(value | fields, separators=separators, ensure_ascii=draw(st.booleans())).encode()


@given(st.lists(text_events(), max_size=10))
def test_an_event_means_the_same_whatever_came_before(events: list[bytes]) -> None:
    """No two events are alike when each has some more space within: then none is read from the one before."""
    unlike = [b"{" + b" " * (place + 1) + event[1:] for place, event in enumerate(events)]
    assert read(stream_decoder(), *events) == read(stream_decoder(), *unlike)


@pytest.mark.parametrize(
    "second",
    [
        b'{"id":"r","choices":[{"index":0,"delta":{"content":"a\x01b"}}]}',
        b'{"id":"r","choices":[{"index":0,"delta":{"content":"\xff"}}]}',
        b'{"id":"r","choices":[{"index":0,"delta":{"content":"a" "b"}}]}',
        b'{"id":"r","choices":[{"index":0,"delta":{"content":"\\x"}}]}',
    ],
)
def test_an_event_that_is_no_json_is_none_after_one_that_is_alike(second: bytes) -> None:
    decoder = stream_decoder()
    (first,) = read(decoder, b'{"id":"r","choices":[{"index":0,"delta":{"content":"a"}}]}')
    assert first.choices[0].delta.content == "a"
    with pytest.raises(ProviderFailure) as caught:
        read(decoder, second)
    assert caught.value.kind is FailureKind.MALFORMED


def test_a_name_that_stands_twice_is_read_as_ever() -> None:
    """Of a name that stands twice the last value counts."""
    decoder = stream_decoder()
    events = [b'{"choices":[{"index":0,"delta":{"content":"%d","c\\u006fntent":"same"}}]}' % n for n in range(3)]
    assert text_of(read(decoder, *events)) == "same" * 3


def test_what_is_said_after_the_end_without_a_choice_is_said() -> None:
    """Nothing may come that it could wait for."""
    decoder = stream_decoder()
    moderation = {"input": {"flagged": False}}
    end = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}], "usage": USAGE}
    cites = {"choices": [], "citations": ["u"]}
    _, cited, moderated = read(decoder, end, cites, {"choices": [], "moderation": moderation}, {"choices": []})
    assert (dict(cited.extra), json.loads(moderated.moderation)) == ({"citations": '["u"]'}, moderation)


def test_known_fields_of_a_chunk_without_choices_come_with_the_next_too() -> None:
    text = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
    first = {"choices": [], "moderation": {"a": 1}, "service_tier": "flex", "system_fingerprint": "fp"}
    (found,) = read(stream_decoder(), first, text)
    assert (found.moderation, found.service_tier, found.system_fingerprint) == ('{"a":1}', "flex", "fp")
    assert text_of([found]) == "a"
