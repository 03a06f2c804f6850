"""A scripted HTTP/1.1 server on a raw socket: sends any bytes at any time, resets, stalls, remembers what it was sent.

async def answer(connection: Connection, request: Request) -> None:
    await connection.send(head(200, "text/event-stream"))
    await connection.send(event({"choices": []}))
    await connection.hung_up()

async with serve(answer) as server:
    ...  # server.url, server.requests, server.connections
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it came. `headers` has lower-case names; of repeated ones the last."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as a JSON value."""
        return json.loads(self.body)


class Connection:
    """One TCP connection, seen from the server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.sent = 0
        """Bytes that the socket took."""
        self.open = True
        self.hung_up_at: float | None = None
        """When the client was seen to have closed, on the clock of time.perf_counter."""

    async def request(self) -> Request | None:
        """Read the next request; None when the client closed."""
        try:
            text = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            self._gone()
            return None
        first, *lines = text[:-4].split("\r\n")
        method, target, _ = first.split(" ", 2)
        pairs = (line.split(":", 1) for line in lines)
        headers = {name.lower(): value.strip() for name, value in pairs}
        if headers.get("expect") == "100-continue":
            await self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        if headers.get("transfer-encoding") == "chunked":
            body = await self._chunks()
        else:
            body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        return Request(method, target, headers, body)

    async def _chunks(self) -> bytes:
        parts = []
        while size := int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16):
            parts.append(await self._reader.readexactly(size))
            await self._reader.readuntil(b"\r\n")
        await self._reader.readuntil(b"\r\n")
        return b"".join(parts)

    async def send(self, data: bytes) -> None:
        """Send bytes as they are. Returns when the socket took them; a client that does not read makes it wait."""
        if self._writer.is_closing():
            raise ConnectionResetError("the client has gone")
        self._writer.write(data)
        await self._writer.drain()
        self.sent += len(data)

    def close(self) -> None:
        """Close: what was sent still arrives, then the end."""
        self.open = False
        self._writer.close()

    def reset(self) -> None:
        """Break the connection (RST)."""
        self.open = False
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def hung_up(self) -> None:
        """Wait, sending nothing, until the client closes. What it sends meanwhile is thrown away."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionError:
            pass
        self._gone()

    def _gone(self) -> None:
        self.open = False
        self.hung_up_at = self.hung_up_at or time.perf_counter()


Answer = Callable[[Connection, Request], Awaitable[None]]


@dataclass(slots=True)
class Server:
    """A running server: where it is and what it has seen so far."""

    port: int
    scheme: str
    requests: list[Request] = field(default_factory=list)
    connections: list[Connection] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"{self.scheme}://127.0.0.1:{self.port}"


@asynccontextmanager
async def serve(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """Serve on a free port of loopback: `answer` is called for each request, in turn on each connection.

    A connection stays open between requests until `answer` or the client closes it. An error in `answer` other than a
    broken connection is raised at the end of the context.
    """
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        server.connections.append(connection)
        try:
            while connection.open and (request := await connection.request()) is not None:
                server.requests.append(request)
                await answer(connection, request)
        except ConnectionError:
            connection._gone()
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(converse(reader, writer)))

    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    server = Server(listener.sockets[0].getsockname()[1], "https" if tls else "http")
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


_TAKEN: list[socket.socket] = []
"""Bound, so that no other test's server gets their ports."""


def refusing_port() -> int:
    """A port of loopback where nobody listens, nor will while this process lives."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    _TAKEN.append(taken)
    return int(taken.getsockname()[1])


def head(status: int, content_type: str, *lines: str, chunked: bool = False) -> bytes:
    """An answer's status line and headers; `lines` are further headers, e.g. `Retry-After: 3`."""
    framing = ("Transfer-Encoding: chunked",) if chunked else ()
    return "\r\n".join((f"HTTP/1.1 {status} X", f"Content-Type: {content_type}", *framing, *lines, "", "")).encode()


def whole(status: int, body: bytes | Mapping[str, Any], *lines: str, content_type: str = "application/json") -> bytes:
    """A whole answer with its Content-Length; a mapping is written as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return head(status, content_type, f"Content-Length: {len(data)}", *lines) + data


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body; empty data is the body's end."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(data: Mapping[str, Any] | str, name: str | None = None) -> bytes:
    """A server-sent event; a mapping is written as JSON."""
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()
