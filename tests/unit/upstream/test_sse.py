"""The event stream decoder, after the HTML standard."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.upstream.sse import Event, EventDecoder, EventTooLarge

WHOLE: dict[str, tuple[bytes, list[Event] | None]] = {
    "one": (b"data: 1\n\n", [Event("message", b"1")]),
    "several": (b"data: 1\n\ndata: 2\n\n", [Event("message", b"1"), Event("message", b"2")]),
    "several of a type": (
        b"event: x\ndata: 1\n\nevent: x\ndata: 2\n\n",
        [Event("x", b"1"), Event("x", b"2")],
    ),
    "of several types": (b"event: x\ndata: 1\n\nevent: y\ndata: 2\n\n", None),
    "the second without a type": (b"event: x\ndata: 1\n\ndata: 2\n\n", None),
    "the first without a type": (b"data: 1\n\nevent: x\ndata: 2\n\n", None),
    "two data lines": (b"data: 1\ndata: 2\n\n", None),
    "not to its end": (b"data: 1\n\ndata: 2\n", None),
    "a comment": (b": 1\n\n", None),
    "carriage returns": (b"data: 1\r\n\r\n", None),
    "too large": (b"data: " + b"1" * 60 + b"\n\n", None),
    "nothing": (b"", None),
}
SIZES = pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])


def decode(stream: bytes, size: int, limit: int = 10_000) -> list[Event]:
    decoder = EventDecoder(limit)
    chunks = (stream[at : at + size] for at in range(0, len(stream), size))
    return [event for chunk in chunks for event in decoder.feed(chunk)]


CASES: dict[str, tuple[bytes, list[Event]]] = {
    "one event": (b'data: {"a": 1}\n\n', [Event("message", b'{"a": 1}')]),
    "several events": (b"data: 1\n\ndata: 2\n\ndata: 3\n\n", [Event("message", d) for d in (b"1", b"2", b"3")]),
    "no space after the colon": (b"data:1\n\n", [Event("message", b"1")]),
    "one space only is taken": (b"data:  1\n\n", [Event("message", b" 1")]),
    "several data lines": (b"data: a\ndata: b\ndata:\ndata: c\n\n", [Event("message", b"a\nb\n\nc")]),
    "empty data": (b"data\n\ndata:\n\n", [Event("message", b""), Event("message", b"")]),
    "no data, no event": (b"event: ping\n\nid: 3\n\n\n\n", []),
    "a type, and its end with the event": (
        b"event: delta\ndata: 1\n\ndata: 2\n\n",
        [Event("delta", b"1"), Event("message", b"2")],
    ),
    "the type of an event without data is forgotten": (b"event: x\n\ndata: 1\n\n", [Event("message", b"1")]),
    "an empty type": (b"event:\ndata: 1\n\n", [Event("message", b"1")]),
    "comments": (b": OPENROUTER PROCESSING\n\n:\ndata: 1\n:x\n\n", [Event("message", b"1")]),
    "id, retry and unknown fields": (b"id: 1\nretry: 5\nfoo: bar\nDATA: no\ndata: 1\n\n", [Event("message", b"1")]),
    "carriage returns": (b"data: 1\rdata: 2\r\rdata: 3\r\r", [Event("message", b"1\n2"), Event("message", b"3")]),
    "both line ends": (
        b"data: 1\r\ndata: 2\r\n\r\ndata: 3\r\n\r\n",
        [Event("message", b"1\n2"), Event("message", b"3")],
    ),
    "mixed line ends": (b"data: 1\r\n\ndata: 2\n\r\ndata: 3\r\n\r", [Event("message", d) for d in (b"1", b"2", b"3")]),
    "a byte order mark": (b"\xef\xbb\xbfdata: 1\n\n", [Event("message", b"1")]),
    "a byte order mark later on": (b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n", [Event("message", b"1")]),
    "other line separators are data": (
        "data: a\u2028b\u2029c\x85d\x0be\x0cf\n\n".encode(),
        [Event("message", "a\u2028b\u2029c\x85d\x0be\x0cf".encode())],
    ),
    "bytes that are no UTF-8": (b"event: \xff\ndata: \xff\xfe\n\n", [Event("\ufffd", b"\xff\xfe")]),
    "no blank line at the end": (b"data: 1\n\ndata: 2\n", [Event("message", b"1")]),
    "no line end at the end": (b"data: 1\n\ndata: 2", [Event("message", b"1")]),
    "nothing": (b"", []),
}


@pytest.mark.parametrize("case", WHOLE)
def test_tells_chunks_of_nothing_but_whole_events(case: str) -> None:
    chunk, events = WHOLE[case]
    decoder = EventDecoder(64)
    decoder.feed(b": a stream begins\n\n")

    assert decoder.whole(chunk) == events


@pytest.mark.parametrize("before", [b"", b"d", b"data: 0\n", b"event: x\n", b": 0\n\r"])
def test_a_chunk_is_not_whole_where_something_is_left_of_the_one_before(before: bytes) -> None:
    """Nothing at all may be the beginning of a byte order mark."""
    decoder = EventDecoder(64)
    decoder.feed(before)

    assert decoder.whole(b"data: 1\n\n") is None


@SIZES
@pytest.mark.parametrize("case", CASES)
def test_decodes(case: str, size: int) -> None:
    stream, events = CASES[case]

    assert decode(stream, size) == events


@SIZES
@pytest.mark.parametrize(
    "stream",
    [b"data: " + b"x" * 100 + b"\n\n", b"data: " + b"x" * 100, b"data: 1234\n" * 10, b"data\n" * 30, b":" + b"x" * 100],
    ids=["a line", "an unfinished line", "many lines", "many empty lines", "a comment"],
)
def test_refuses_what_is_larger_than_the_limit(stream: bytes, size: int) -> None:
    with pytest.raises(EventTooLarge, match="64 bytes"):
        decode(stream, size, limit=64)


@SIZES
def test_the_limit_is_for_each_event(size: int) -> None:
    event = b"data: " + b"x" * 50 + b"\n\n"

    assert len(decode(event * 100, size, limit=64)) == 100


def test_an_event_is_returned_with_the_chunk_that_completes_it() -> None:
    decoder = EventDecoder(1000)

    assert decoder.feed(b"data: 1\n") == []
    assert decoder.feed(b"\r") == [Event("message", b"1")]
    assert decoder.feed(b"\ndata: 2\r\n\r") == [Event("message", b"2")]
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\n") == []


LINE = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)
NAMED = st.tuples(LINE.filter(lambda name: name != ""), st.lists(LINE, min_size=1, max_size=4))


@given(events=st.lists(NAMED, max_size=6), end=st.sampled_from(["\n", "\r", "\r\n"]), data=st.data())
def test_any_events_in_any_chunks_come_back(events: list[tuple[str, list[str]]], end: str, data: st.DataObject) -> None:
    text = "".join(
        f"event: {name}{end}" + "".join(f"data: {line}{end}" for line in lines) + end for name, lines in events
    )
    stream = text.encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = EventDecoder(10_000)

    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    decoded = [event for chunk in chunks for event in decoder.feed(chunk)]

    assert decoded == [Event(name, "\n".join(lines).encode()) for name, lines in events]


@given(stream=st.lists(st.sampled_from([b"data: a\n\n", b"event: x\ndata: b\n\n", b"data: c\n", b"\n", b"\r"])))
def test_a_chunk_of_whole_events_means_what_it_means_line_by_line(stream: list[bytes]) -> None:
    decoder, by_bytes = EventDecoder(1000), EventDecoder(1000)

    for part in stream:
        whole = decoder.whole(part * 2)
        expected = [event for at in range(len(part) * 2) for event in by_bytes.feed((part * 2)[at : at + 1])]

        assert whole is None or whole == expected
        assert decoder.feed(part * 2) == expected


@given(stream=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200), max_size=5))
def test_any_bytes_mean_the_same_in_any_chunks(stream: bytes, cuts: list[int]) -> None:
    places = sorted({min(cut, len(stream)) for cut in cuts})
    decoder = EventDecoder(10_000)

    chunks = [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]

    assert [event for chunk in chunks for event in decoder.feed(chunk)] == EventDecoder(10_000).feed(stream)
