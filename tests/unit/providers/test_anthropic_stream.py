"""Text deltas that are read from the ones before mean what they mean by themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from gateway.v1.chat_response_pb2 import ChatCompletionChunk
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ProviderFailure
from service.providers import DIALECTS
from service.providers.dialect import Run
from service.upstream import Event

TEXTS = st.one_of(st.text(max_size=5), st.sampled_from(["", '"', "\\", '"}}', '"text":"x"']))


def event(kind: str, /, **fields: Any) -> Event:
    return Event(kind, json.dumps({"type": kind, **fields}).encode())


def text(value: str, index: int = 0, **fields: Any) -> Event:
    return event("content_block_delta", index=index, delta={"type": "text_delta", "text": value, **fields})


def begun(message_id: str = "m") -> Event:
    return event("message_start", message={"id": message_id, "usage": {"input_tokens": 1}})


def block(index: int, **fields: Any) -> Event:
    return event("content_block_start", index=index, content_block=fields)


START = (begun(), block(0, type="text", text=""), block(1, type="thinking", thinking=""))


@st.composite
def events(draw: st.DrawFn) -> Event:
    """A text delta most of the time, sometimes one of another block, or something else."""
    value = draw(TEXTS)
    match draw(st.integers(0, 16)):
        case 0:
            return event("content_block_delta", index=1, delta={"type": "thinking_delta", "thinking": value})
        case 1:
            return event("ping")
        case 2:
            return Event("ping", text(value).data)
        case 3:
            return text(value, index=1)
        case 4:
            return begun(value)
        case 5:
            return block(2, type="text", text=value)
        case 6:
            return block(3, type="tool_use", id=value, name="f", input={})
        case 7:
            return text(value, citation=value)
        case 8:
            return event("message_stop")
        case 9:
            return event("message_delta", delta={"stop_reason": value}, usage={"output_tokens": 2})
        case _:
            return text(value)


def unlike(stream: Sequence[Event]) -> Sequence[Event]:
    """Return events that mean the same, none of them like another."""
    return [Event(kind, data.replace(b"{", b"{" + b" " * place, 1)) for place, (kind, data) in enumerate(stream)]


def chunks(stream: Sequence[Event]) -> Sequence[ChatCompletionChunk | str]:
    """Decode events as a stream's reader does, all in one piece; what breaks them off comes last."""
    decoder = DIALECTS["anthropic"].stream_decoder()
    runs: list[Run] = []
    failed: list[str] = []
    rest = list(stream)
    while rest:
        again = decoder.again(rest) if runs else ()
        if again:
            runs[-1].texts.extend(again)
            del rest[: len(again)]
            continue
        try:
            runs += [Run(chunk, []) for chunk in decoder.decode(rest.pop(0))]
        except ProviderFailure as failure:
            failed.append(failure.message)
            break
    return [*(chunk for run in runs for chunk in run.chunks()), *failed]


@given(st.lists(events(), max_size=14))
def test_a_text_like_the_one_before_means_what_it_means_by_itself(stream: Sequence[Event]) -> None:
    whole = (*START, *stream)
    assert chunks(whole) == chunks(unlike(whole))


def test_texts_are_read_from_the_one_before() -> None:
    decoder = DIALECTS["anthropic"].stream_decoder()
    for each in (*START, text("a")):
        decoder.decode(each)
    alike = [text(value) for value in ("b", "", "c")]
    assert [decoder.again([each]) for each in alike] == [["b"], [""], ["c"]]
    assert decoder.again(alike) == ["b", "", "c"]
    assert decoder.again([*alike, text("d", index=1), text("e")]) == ["b", "", "c"]
    assert decoder.again([*alike, event("ping"), text("e")]) == ["b", "", "c"]
    assert not decoder.again([text("d", index=1), *alike])


@pytest.mark.parametrize("value", ["\n", '"', "a\\"])
def test_what_is_no_text_is_malformed(value: str) -> None:
    decoder = DIALECTS["anthropic"].stream_decoder()
    for each in (*START, text("a")):
        decoder.decode(each)
    broken = Event("content_block_delta", text("@").data.replace(b"@", value.encode()))
    assert not decoder.again([broken])
    assert decoder.again([text("b"), broken]) == ["b"]
    with pytest.raises(ProviderFailure, match="not one of a message"):
        decoder.decode(broken)


def test_a_block_that_begins_with_text_is_not_taken_for_a_text_delta() -> None:
    fields: Mapping[str, str] = {"type": "text", "text": "a"}
    (first, second) = chunks((begun(), block(0, **fields), block(1, **fields)))[1:]
    assert first == second
    decoder = DIALECTS["anthropic"].stream_decoder()
    decoder.decode(begun())
    decoder.decode(block(0, **fields))
    assert not decoder.again([block(0, **fields)])
