"""Reads events that differ from an earlier one of their stream only in their texts from what that one meant.

Most events of a stream do: the provider's id, model and all else stand in every one of them, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

import orjson
from gateway.v1.chat_response_pb2 import ChatCompletionChunk

from service.upstream.sse import Event

_PROBE = "probe"
_MOST_MISSES = 8
"""Some providers put something new into each event: then there is nothing to learn."""


class Alike:
    """What the last event with text alone was like."""

    __slots__ = ("_between", "_field", "_head", "_is_last", "_misses", "_tail", "_text_of", "_type", "_what")

    def __init__(self, name: str, text_of: Callable[[bytes], str | None]) -> None:
        """`name` is of the field with the text. `text_of` says which text an event's data means, and nothing else.

        It is asked about data that differ from what has meant a chunk in the value of that field. None: the data
        mean something else, too.
        """
        self._field = _field(name)
        self._text_of = text_of
        self._what: ChatCompletionChunk | None = None
        self._type = ""
        self._head = b""
        self._tail = b""
        self._between = b""
        self._misses = 0
        self._is_last = False

    def read(self, event: Event) -> ChatCompletionChunk | None:
        """Return the chunk of an event that is like the one learned; None for any other."""
        what = self._what
        texts = None if what is None else self._texts((event,))
        self._is_last = texts is not None
        if what is None or texts is None:
            return None
        chunk = ChatCompletionChunk()
        chunk.CopyFrom(what)
        chunk.choices[0].delta.content = texts[0]
        return chunk

    def again(self, events: Sequence[Event]) -> Sequence[str]:
        """Return the texts of the first events, of as many as are like the one learned, if the last one was."""
        if not self._is_last:
            return ()
        texts = self._texts(events)
        if texts is None:
            texts = []
            for event in events:
                text = self._texts((event,))
                if text is None:
                    break
                texts += text
        return texts

    def learn(self, event: Event, chunk: ChatCompletionChunk) -> None:
        """Take an event and the chunk that it means as what the next may be like, if it has text and nothing else."""
        if self._misses > _MOST_MISSES:
            self._what = None
            return
        if not _is_text(chunk):
            return
        self._misses += 1
        data = event.data
        found = list(self._field.finditer(data))
        if len(found) != 1 or b"\n" in data:
            return
        head, tail = data[: found[0].start(1)], data[found[0].end(1) :]
        if self._text_of(b"%b%b%b" % (head, _PROBE.encode(), tail)) == _PROBE:
            self._what = ChatCompletionChunk()
            self._what.CopyFrom(chunk)
            self._type, self._head, self._tail = event.event, head, tail
            self._between = b"%b\n%b" % (tail, head)
            self._is_last = True

    def forget(self) -> None:
        """Take no event for one like those before."""
        self._what = None
        self._is_last = False

    def _texts(self, events: Sequence[Event]) -> list[str] | None:
        """Return the texts of events that are all like the one learned."""
        name, head, tail = self._type, self._head, self._tail
        data = [data for event, data in events if event == name]
        if len(data) != len(events):
            return None
        lines = b"\n".join(data)
        if not (lines.startswith(head) and lines.endswith(tail)) or len(lines) < len(head) + len(tail):
            return None
        breaks = len(events) - 1
        texts = lines[len(head) : len(lines) - len(tail)]
        if breaks:
            if texts.count(self._between) != breaks:
                return None
            texts = texts.replace(self._between, b'"\n,"')
        try:
            found: list[str] = orjson.loads(b'["%b"]' % texts)
        except orjson.JSONDecodeError:
            return None
        # What was learned has no line break, and no string goes on over one. So each line is one string: a text that
        # ends before its tail, with whatever may follow it, would be more than one element, or one that is no string.
        if len(found) != len(events) or set(map(type, found)) != {str}:
            return None
        self._misses = 0
        return found


@cache
def _field(name: str) -> re.Pattern[bytes]:
    """Return what finds a field and its value, wherever it stands: within a string the quotes would be escaped."""
    return re.compile(rb'"%b"\s*:\s*"((?:[^"\\]|\\.)*+)"' % name.encode())


def _is_text(chunk: ChatCompletionChunk) -> bool:
    if len(chunk.choices) != 1 or chunk.HasField("usage"):
        return False
    choice = chunk.choices[0]
    given = [field.name for field, _ in choice.delta.ListFields()]
    return given == ["content"] and not choice.finish_reason
