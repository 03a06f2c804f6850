"""A provider that streams: `python -m bench.event_source PORT`. Its events are made once, before they are asked for.

The model's name says what a stream is like: `...4ms200` is 200 events, one every 4 ms; at `0ms` all leave at once.
What is not asked to stream is answered whole, and any GET as a list of models.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Sequence
from functools import lru_cache

import uvloop

from bench import wire

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_LAST = b"0\r\n\r\n"
_PACE = re.compile(rb"(\d+)ms(\d+)")
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": ?true|streamGenerateContent')
_MODELS = {"object": "list", "data": [{"id": wire.STREAM_MODEL, "object": "model"}]}


@lru_cache(maxsize=64)
def chunks(path: str, count: int) -> Sequence[bytes]:
    """Return a stream's events as HTTP chunks."""
    return [b"%x\r\n%b\r\n" % (len(event), event) for event in wire.events(path, count)]


def whole(body: bytes) -> bytes:
    """Return a JSON answer."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class Source(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._read = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports have other bases

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """Answer once the request is there whole."""
        self._read += data
        head, end, body = self._read.partition(b"\r\n\r\n")
        if not end:
            return
        length = _LENGTH.search(head)
        is_whole = len(body) >= int(length[1]) if length else body.endswith(_LAST) or head.startswith(b"GET")
        if is_whole:
            request, self._read = self._read, b""
            self._answer(head.split(b" ", 2), request)

    def _answer(self, line: Sequence[bytes], request: bytes) -> None:
        assert self._transport is not None
        path = line[1].decode().partition("?")[0]
        pace = _PACE.search(request)
        if line[0] == b"GET":
            self._transport.write(whole(json.dumps(_MODELS).encode()))
        elif pace is None or not _STREAM.search(request):
            answer = next((a for end, a in wire.UNARY_ANSWERS.items() if path.endswith(end)), _MODELS)
            self._transport.write(whole(json.dumps(answer).encode()))
        elif pace[1] == b"0":
            self._transport.write(_HEAD + b"".join(chunks(path, int(pace[2]))) + _LAST)
        else:
            self._transport.write(_HEAD)
            self._next(chunks(path, int(pace[2])), 0, int(pace[1]) / 1000, self._loop.time())

    def _next(self, events: Sequence[bytes], place: int, pace: float, due: float) -> None:
        if self._transport is None:
            return
        if place == len(events):
            self._transport.write(_LAST)
            return
        self._transport.write(events[place])
        self._loop.call_at(due + pace, self._next, events, place + 1, pace, due + pace)


async def serve(port: int) -> None:
    """Serve on loopback until the process ends."""
    server = await asyncio.get_running_loop().create_server(Source, "127.0.0.1", port, backlog=2048)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
