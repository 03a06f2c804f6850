"""Reads an event that differs from an earlier one of its stream only in its text from what that one meant.

Most events of a stream do: the provider's id, model and all else stand in every one of them, byte for byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import orjson
from gateway.v1.chat_response_pb2 import ChatCompletionChunk

_PROBE = "probe"
_MOST_MISSES = 8
"""Some providers put something new into each event: then there is nothing to learn."""


class Alike:
    """What the last event with text alone was like."""

    __slots__ = ("_field", "_head", "_is_last", "_misses", "_tail", "_text_of", "_what")

    def __init__(self, name: str, text_of: Callable[[bytes], str | None]) -> None:
        """`name` is of the field with the text. `text_of` says which text an event's data means, and nothing else.

        It is asked about data that differ from what has meant a chunk in the value of that field. None: the data
        mean something else, too.
        """
        self._field = _field(name)
        self._text_of = text_of
        self._what: ChatCompletionChunk | None = None
        self._head = b""
        self._tail = b""
        self._misses = 0
        self._is_last = False

    def read(self, data: bytes) -> ChatCompletionChunk | None:
        """Return the chunk of an event that is like the one learned; None for any other."""
        what = self._what
        text = None if what is None else self._text(data)
        self._is_last = text is not None
        if what is None or text is None:
            return None
        chunk = ChatCompletionChunk()
        chunk.CopyFrom(what)
        chunk.choices[0].delta.content = text
        return chunk

    def again(self, data: bytes) -> str | None:
        """Return the text of an event that is like the one learned, if the last one was; None for any other."""
        return self._text(data) if self._is_last else None

    def learn(self, data: bytes, chunk: ChatCompletionChunk) -> None:
        """Take an event and the chunk that it means as what the next may be like, if it has text and nothing else."""
        if self._misses > _MOST_MISSES:
            self._what = None
            return
        if not _is_text(chunk):
            return
        self._misses += 1
        found = list(self._field.finditer(data))
        if len(found) != 1:
            return
        head, tail = data[: found[0].start(1)], data[found[0].end(1) :]
        if self._text_of(b"%b%b%b" % (head, _PROBE.encode(), tail)) == _PROBE:
            self._what = ChatCompletionChunk()
            self._what.CopyFrom(chunk)
            self._head, self._tail = head, tail
            self._is_last = True

    def forget(self) -> None:
        """Take no event for one like those before."""
        self._what = None
        self._is_last = False

    def _text(self, data: bytes) -> str | None:
        """Return the text of an event that is like the one learned."""
        head, tail = self._head, self._tail
        if not (data.startswith(head) and data.endswith(tail)) or len(data) < len(head) + len(tail):
            return None
        try:
            # A text that ends before the tail, or is no text, is no JSON this way either.
            text: str = orjson.loads(b'"%b"' % data[len(head) : len(data) - len(tail)])
        except orjson.JSONDecodeError:
            return None
        self._misses = 0
        return text


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
