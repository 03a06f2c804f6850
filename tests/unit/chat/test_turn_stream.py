"""A provider's stream as runs of chunks."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import Any

import pytest
from gateway.v1.chat_response_pb2 import ChatCompletionChunk
from hypothesis import given
from hypothesis import strategies as st

from service.chat.turn_stream import Runs, TurnStream
from service.errors import FailureKind, ProviderFailure
from service.providers import DIALECTS
from service.upstream import Event

TEXTS = st.one_of(st.text(max_size=5), st.sampled_from(["", '"', "\\", '"}}]}']))


class Pieces:
    """An answer whose events come in given pieces."""

    status = 200
    headers: Mapping[str, str] = {"content-type": "text/event-stream"}

    def __init__(self, pieces: Sequence[Sequence[Event]]) -> None:
        self._pieces = pieces

    async def read(self) -> bytes:
        raise AssertionError("it is read as events")

    async def events(self) -> AsyncGenerator[Sequence[Event], None]:
        for piece in self._pieces:
            yield piece

    def offer_to(self, take: Callable[[Sequence[Event]], bool]) -> None:
        """See `service.upstream.Response`: nothing is."""

    def leave(self) -> None:
        """See `service.upstream.Response`."""


def event(delta: dict[str, Any], *, finish_reason: str | None = None, index: int = 0, name: str = "message") -> Event:
    choice = {"index": index, "delta": delta, "finish_reason": finish_reason}
    return Event(name, json.dumps({"id": "r", "choices": [choice]}).encode())


def read(pieces: Sequence[Sequence[Event]]) -> list[Runs]:
    """Return what each item of the stream holds."""

    async def collect() -> list[Runs]:
        stream = await TurnStream.open(AsyncExitStack(), Pieces(pieces), DIALECTS["openai"], lambda bodies: bodies)
        try:
            return [runs async for runs in stream]
        finally:
            await stream.aclose()

    return asyncio.run(collect())


def decoded(stream: Sequence[Event]) -> list[ChatCompletionChunk]:
    """Return what a decoder says of each event by itself: one that knows no event from the ones before."""
    decoder = DIALECTS["openai"].stream_decoder()
    found: list[ChatCompletionChunk] = []
    for number, each in enumerate(stream):
        if decoder.over:
            break
        # White space that differs from event to event: none is like another, byte for byte.
        found += decoder.decode(each._replace(data=each.data.replace(b'{"id"', b"{" + b" " * number + b'"id"')))
    return found


def chunks(found: Sequence[Runs]) -> list[ChatCompletionChunk]:
    return [chunk for runs in found for run in runs for chunk in run.chunks()]


@st.composite
def events(draw: st.DrawFn) -> Event:
    """An event with text most of the time, and sometimes with something else or of another choice."""
    match draw(st.integers(0, 14)):
        case 0:
            return event({"content": draw(TEXTS), "role": "assistant"})
        case 1:
            return event({"reasoning": draw(TEXTS)})
        case 2:
            return event({})
        case 3:
            return event({"content": draw(TEXTS)}, index=1)
        case 4:
            return Event("message", b"[DONE]")
        case 5:
            return event({"content": draw(TEXTS)}, finish_reason="stop")
        case _:
            return event({"content": draw(TEXTS)})


@given(st.lists(events(), max_size=12), st.lists(st.integers(0, 12), max_size=6))
def test_a_stream_means_the_same_however_it_is_cut_into_pieces(stream: list[Event], cuts: list[int]) -> None:
    end = [event({}, finish_reason="stop"), event({}, finish_reason="stop", index=1)]
    whole = [*stream, *end]
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    pieces = [whole[start:stop] for start, stop in pairwise(places)]
    assert chunks(read(pieces)) == decoded(whole)


def test_what_differs_from_the_piece_before_in_its_text_alone_is_texts_alone() -> None:
    pieces = [[event({"role": "assistant"})], *([event({"content": text})] for text in "abc")]
    end = [[event({"content": "d"}), event({}, finish_reason="stop")]]
    (_,), (first,), (second,), (third,), (fourth, last) = read([*pieces, *end])
    assert [(run.texts, run.told) for run in (first, second, third, fourth, last)] == [
        ([], False),
        (["b"], True),
        (["c"], True),
        (["d"], True),
        ([], False),
    ]


def test_events_of_a_piece_that_differ_in_their_text_alone_are_one_run() -> None:
    piece = [event({"content": text}) for text in ("a", "b", "c")]
    ((begun,), (run,), _) = read(
        [[event({"role": "assistant", "content": "-"})], piece, [event({}, finish_reason="stop")]]
    )
    assert (begun.texts, run.chunk.choices[0].delta.content, run.texts) == ([], "a", ["b", "c"])


@pytest.mark.parametrize(
    "texts",
    [
        ("a\\", ',"b'),
        ("a\\", '","b'),
        ('a","b', "c"),
        ("a", 'b","c'),
        ('a",1,"b', "c"),
        ('a",["b', 'c"],"d'),
        ('a",["b', "c", 'd"],"e'),
        ('a",{"b":"c', "d", 'e":"f"},"g'),
    ],
)
def test_events_that_are_malformed_each_mean_nothing_together(texts: Sequence[str]) -> None:
    """Side by side, between the quotes of a list, such texts would be as many elements, or strings."""
    alike = event({"content": "-"})
    broken = [Event("message", event({"content": "@"}).data.replace(b"@", text.encode())) for text in texts]
    with pytest.raises(ProviderFailure) as caught:
        read([[alike], [alike], [*broken, alike]])
    assert caught.value.kind is FailureKind.MALFORMED


def test_halves_of_events_mean_nothing_together() -> None:
    head, tail = event({"content": "@"}).data.split(b"@")
    halves = [Event("message", head + b'b",'), Event("message", b'"c' + tail)]
    with pytest.raises(ProviderFailure) as caught:
        read([[event({"content": "-"})], halves])
    assert caught.value.kind is FailureKind.MALFORMED


@pytest.mark.parametrize("line", ["", "\n"])
def test_an_event_of_two_lines_is_one(line: str) -> None:
    """JSON may be broken between its parts, but two texts are no JSON."""
    alike = event({"content": "a"})
    twice = Event("message", alike.data + line.encode() + alike.data)
    with pytest.raises(ProviderFailure) as caught:
        read([[alike], [twice, alike], [alike]])
    assert caught.value.kind is FailureKind.MALFORMED


def test_an_event_of_another_type_is_not_hidden_by_one_of_two_lines() -> None:
    alike = event({"content": "a"})
    twice = Event("message", alike.data + b"\n" + alike.data)
    with pytest.raises(ProviderFailure) as caught:
        read([[alike], [twice, Event("error", b'{"error":{"message":"broken"}}')]])
    assert caught.value.kind is FailureKind.MALFORMED


def test_parts_of_events_that_have_line_breaks_mean_nothing_together() -> None:
    """A line break within JSON is white space. Between two events it is not."""
    first, _, second = event({"content": "a"}).data.partition(b", ")
    broken = first + b",\n" + second
    halves = [Event("message", first + b","), Event("message", second + b"\n" + broken)]
    assert len(chunks(read([[Event("message", broken)], [event({}, finish_reason="stop")]]))) == 2
    with pytest.raises(ProviderFailure) as caught:
        read([[Event("message", broken)], halves])
    assert caught.value.kind is FailureKind.MALFORMED


def test_a_stream_is_open_when_a_later_text_of_its_first_run_says_something() -> None:
    """The event after that is an error: had the stream not been opened, another provider would be asked."""
    first = [event({"content": ""}), event({"content": "Hi"})]

    async def opened() -> Runs:
        pieces = [first, [Event("error", b'{"error":{"message":"broken"}}')]]
        stream = await TurnStream.open(AsyncExitStack(), Pieces(pieces), DIALECTS["openai"], lambda bodies: bodies)
        return await anext(stream)

    (run,) = asyncio.run(opened())
    assert (run.chunk.choices[0].delta.content, run.texts) == ("", ["Hi"])


def test_an_error_event_is_one_though_its_data_is_like_the_text_before() -> None:
    pieces = [[event({"content": "a"}), event({"content": "b"}, name="error")]]
    with pytest.raises(ProviderFailure, match="error event"):
        read(pieces)


def test_a_stream_that_says_nothing_for_long_has_begun_all_the_same() -> None:
    """What has come without content is kept until there is some; were it all kept, memory would have no bound."""
    silent = [[event({"content": "", "role": "assistant"})] for _ in range(100_000)]
    taken = 0

    class Counted(Pieces):
        async def events(self) -> AsyncGenerator[Sequence[Event], None]:
            nonlocal taken
            for piece in silent:
                taken += 1
                yield piece

    async def opened() -> None:
        stream = await TurnStream.open(AsyncExitStack(), Counted([]), DIALECTS["openai"], lambda bodies: bodies)
        await stream.aclose()

    asyncio.run(opened())
    assert 100 < taken < 2000
