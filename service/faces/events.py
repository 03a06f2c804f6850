"""Chunks as server-sent events."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gateway.v1.chat_response_pb2 import ChatCompletionChunk

from service import codec
from service.faces.status import one_line_each
from service.providers.dialect import Run

# Within a string the quotes would be escaped, so this is a key and its value wherever it stands.
_CONTENT = re.compile(rb'"content":"((?:[^"\\]|\\.)*+)"')

_MOST_MISSES = 8
"""Some providers put something new into each chunk: then there is nothing to learn."""


class EventEncoder:
    """Makes the events of one stream.

    Most chunks differ from the one before in their text only. What such a chunk is written as is what that one was,
    with another text: the whole codec is only asked about chunks that differ in more.
    """

    __slots__ = ("_before", "_between", "_fits", "_head", "_misses", "_tail", "_usage")

    def __init__(self, *, usage: bool = False) -> None:
        """`usage`: it was asked for, and chunks that have none say so."""
        self._usage = usage
        self._before: ChatCompletionChunk | None = None
        self._head = b""
        self._tail = b""
        self._between = b""
        self._misses = 0
        self._fits = False

    def encode(self, runs: Sequence[Run]) -> bytes:
        """Return chunks as events. They are used up: some lose their text."""
        events: list[bytes] = []
        for chunk, texts, told in runs:
            if not told:
                events.append(self._event(chunk))
            if not texts:
                continue
            if self._fits:
                events.append(self._again(texts))
                continue
            for text in texts:
                chunk.choices[0].delta.content = text
                events.append(self._event(chunk))
        return one_line_each(events[0] if len(events) == 1 else b"".join(events))

    def again(self, texts: Sequence[str]) -> bytes | None:
        """Return the events of texts that mean the last chunk over again, each with one in place of its text.

        None where it is not known what they are written as.
        """
        return one_line_each(self._again(texts)) if self._fits else None

    def _again(self, texts: Sequence[str]) -> bytes:
        return b"%b%b%b" % (self._head, codec.strings(texts, self._between), self._tail)

    def _event(self, chunk: ChatCompletionChunk) -> bytes:
        """Return a chunk's event, and note whether what is known of the one before fits this one too."""
        self._fits = False
        choices = chunk.choices
        if len(choices) != 1:
            return self._whole(chunk)
        delta = choices[0].delta
        text = delta.content
        if not text:
            return self._whole(chunk)
        if self._before is not None:
            delta.content = ""
            if chunk == self._before:
                self._misses = 0
                self._fits = True
                return b"%b%b%b" % (self._head, codec.dumps(text), self._tail)
            delta.content = text
        event = self._whole(chunk)
        self._learn(chunk, event)
        return event

    def _whole(self, chunk: ChatCompletionChunk) -> bytes:
        text = codec.encode(chunk)
        if self._usage and not chunk.HasField("usage"):
            return b'data: %b,"usage":null}\n\n' % text[:-1]
        return b"data: %b\n\n" % text

    def _learn(self, chunk: ChatCompletionChunk, event: bytes) -> None:
        if self._misses > _MOST_MISSES:
            self._before = None
            return
        self._misses += 1
        found = list(_CONTENT.finditer(event))
        if len(found) == 1:
            before = ChatCompletionChunk()
            before.CopyFrom(chunk)
            before.choices[0].delta.content = ""
            self._before = before
            self._head, self._tail = event[: found[0].start(1) - 1], event[found[0].end(1) + 1 :]
            self._between = self._tail + self._head
            self._fits = True
