"""Server-sent events: bytes in, events out, after the event stream format of the HTML standard.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from functools import partial
from itertools import repeat
from typing import NamedTuple

_BOM = b"\xef\xbb\xbf"
_TYPED = re.compile(rb"event: ([^\n]+)\ndata: ")


class Event(NamedTuple):
    """One event: its type (`message` unless the stream names one) and its data lines, joined with a newline."""

    event: str
    data: bytes


_event_of = partial(tuple.__new__, Event)
"""`Event._make`, in a third of its time."""


class EventTooLarge(ValueError):
    """An event is larger than the decoder's limit."""


class EventDecoder:
    """Turns one stream's bytes, in chunks of any size, into events. An event without its blank line is no event."""

    __slots__ = ("_at_start", "_data", "_event", "_line", "_line_size", "_max_event_bytes", "_size", "_skip_newline")

    def __init__(self, max_event_bytes: int) -> None:
        self._max_event_bytes = max_event_bytes
        self._at_start = True
        self._skip_newline = False
        self._line: list[bytes] = []
        self._line_size = 0
        self._size = 0
        self._data: list[bytes] = []
        self._event = "message"

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that `chunk` completes.

        Raises:
            EventTooLarge: the lines of an event exceed `max_event_bytes`, complete or not.
        """
        if self._skip_newline and chunk:
            self._skip_newline = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._skip_newline = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if (whole := self.whole(chunk)) is not None:
            return whole

        first, newline, rest = chunk.partition(b"\n")
        if not newline:
            self._keep(first)
            return []
        if self._line:
            first = b"".join((*self._line, first))
            self._line.clear()
            self._line_size = 0
        if self._at_start:
            self._at_start = False
            first = first.removeprefix(_BOM)

        events: list[Event] = []
        self._take(first, events)
        lines = rest.split(b"\n")
        last = lines.pop()
        for line in lines:
            self._take(line, events)
        if last:
            self._keep(last)
        return events

    def whole(self, chunk: bytes) -> list[Event] | None:
        """Return the events of a chunk that holds nothing but whole ones of one type, each with a single data line.

        None for any other chunk, and where something is left of the chunk before: that is to be fed.
        """
        if self._line or self._data or self._size or self._at_start or self._skip_newline or b"\r" in chunk:
            return None
        if not chunk.endswith(b"\n\n"):
            return None
        if chunk.startswith(b"data: "):
            name, begin, lines = "message", b"data: ", 2
        elif (typed := _TYPED.match(chunk)) is not None:
            name, begin, lines = typed[1].decode("utf-8", "replace"), typed[0], 3
        else:
            return None
        found = chunk[len(begin) : -2].split(b"\n\n" + begin)
        size = len(begin) + max(map(len, found)) + 1
        if chunk.count(b"\n") != lines * len(found) or size > self._max_event_bytes:
            return None
        return list(map(_event_of, zip(repeat(name), found)))

    def _keep(self, part: bytes) -> None:
        """Keep a part of a line until its end comes; joined once, so that a long line costs no more than its length."""
        self._line.append(part)
        self._line_size += len(part)
        self._limit(self._size + self._line_size)

    def _take(self, line: bytes, events: list[Event]) -> None:
        if not line:
            if self._data:
                events.append(Event(self._event, self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
                self._data = []
            self._event = "message"
            self._size = 0
            return
        self._size += len(line) + 1
        self._limit(self._size)
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif name == b"event":
            self._event = value.removeprefix(b" ").decode("utf-8", "replace") or "message"

    def _limit(self, size: int) -> None:
        if size > self._max_event_bytes:
            raise EventTooLarge(f"an event of the stream is larger than {self._max_event_bytes} bytes")
