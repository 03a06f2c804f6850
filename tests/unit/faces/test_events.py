"""Events of a stream: each is what the codec makes of its chunk, whatever the chunk before was like."""

from __future__ import annotations

import json

from gateway.v1.chat_response_pb2 import ChatCompletionChunk, ChunkChoice, Delta, Usage
from hypothesis import given
from hypothesis import strategies as st

from service import codec
from service.faces.events import EventEncoder
from service.providers.dialect import Run

TEXTS = st.one_of(st.text(), st.sampled_from(['"content":"', '"', "\\", '","content":"x', "\u2028\n", "é", ""]))


@st.composite
def chunks(draw: st.DrawFn) -> ChatCompletionChunk:
    """A chunk with text most of the time, and sometimes with what is seldom there."""
    chunk = ChatCompletionChunk(id="chatcmpl-1", object="chat.completion.chunk", created=1, model="m", provider="p")
    for index in range(draw(st.sampled_from([1] * 10 + [0, 2]))):
        delta = Delta(content=draw(TEXTS))
        choice = ChunkChoice(index=index, delta=delta)
        match draw(st.integers(0, 25)):
            case 0:
                choice.finish_reason = "stop"
            case 1:
                choice.delta.extra["other"] = '{"content":"x"}'
            case 2:
                choice.delta.reasoning_content = draw(TEXTS)
            case 3:
                choice.delta.ClearField("content")
            case 4:
                chunk.extra["obfuscation"] = codec.dumps(draw(TEXTS)).decode()
            case 5:
                chunk.usage.CopyFrom(Usage(prompt_tokens=1))
        chunk.choices.append(choice)
    return chunk


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """A chunk, and if it is one of text alone then some texts that come after it."""
    chunk = draw(chunks())
    alone = len(chunk.choices) == 1 and [name.name for name, _ in chunk.choices[0].delta.ListFields()] == ["content"]
    return Run(chunk, draw(st.lists(TEXTS, max_size=3)) if alone else [])


@given(st.lists(runs(), max_size=8), st.integers(1, 3))
def test_events_are_the_codecs(stream: list[Run], together: int) -> None:
    expected = b"".join(b"data: %b\n\n" % codec.encode(chunk) for run in stream for chunk in run.chunks())
    for end in "\u2028\u2029\u0085":
        expected = expected.replace(end.encode(), rb"\u%04x" % ord(end))
    encoder = EventEncoder()
    pieces = [stream[at : at + together] for at in range(0, len(stream), together)]
    assert b"".join(encoder.encode(piece) for piece in pieces) == expected


@given(st.lists(runs(), min_size=1, max_size=4), st.lists(TEXTS, min_size=1, max_size=3))
def test_texts_that_come_in_a_later_piece_are_written_as_if_they_had_come_in_the_same(
    stream: list[Run], later: list[str]
) -> None:
    *before, (chunk, texts, _) = stream
    choice = chunk.choices.add() if len(chunk.choices) != 1 else chunk.choices[0]
    del chunk.choices[:-1]
    choice.CopyFrom(ChunkChoice(delta=Delta(content=choice.delta.content)))
    whole = [Run(copied(run.chunk), run.texts) for run in before] + [Run(copied(chunk), [*texts, *later])]
    encoder = EventEncoder()
    events = encoder.encode([*before, Run(chunk, texts)]) + encoder.encode([Run(chunk, later, told=True)])
    assert events == EventEncoder().encode(whole)


def test_texts_alone_are_events_once_it_is_known_what_they_are_written_as() -> None:
    chunk = ChatCompletionChunk(id="chatcmpl-1", choices=[ChunkChoice(delta=Delta(content="a"))])
    encoder = EventEncoder()
    assert encoder.again(["b"]) is None
    first = encoder.encode([Run(chunk, [])])
    assert encoder.again(["b", '","']) == first.replace(b'"a"', b'"b"') + first.replace(b'"a"', b'"\\",\\""')
    encoder.encode([Run(ChatCompletionChunk(id="chatcmpl-1"), [])])
    assert encoder.again(["b"]) is None


def test_an_event_is_one_line_also_for_those_who_read_lines_of_text() -> None:
    text = "".join(map(chr, range(0x20000)))[:0xD800] + "\U0001f600"
    encoder = EventEncoder()
    for _ in range(2):  # the second is written from the first
        chunk = ChatCompletionChunk(id="chatcmpl-1", choices=[ChunkChoice(delta=Delta(content=text))])
        lines = encoder.encode([Run(chunk, [text])]).decode().splitlines()
        assert [line[:6] for line in lines] == ["data: ", "", "data: ", ""]
        assert [json.loads(line[6:])["choices"][0]["delta"]["content"] for line in lines[::2]] == [text, text]


def copied(chunk: ChatCompletionChunk) -> ChatCompletionChunk:
    copy = ChatCompletionChunk()
    copy.CopyFrom(chunk)
    return copy
