"""Clients that can hang up at any moment: HTTP/1.1 and HTTP/2 by hand, and gRPC."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

import grpc
import h2.config
import h2.connection
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_service_pb2_grpc import ChatCompletionServiceStub

from service import codec
from tests.e2e.calling import CHAT, KEY
from tests.e2e.running import Gateway


class Asked(Protocol):
    """A request that was sent, and whose answer nobody reads unless the test does."""

    async def hang_up(self) -> None:
        """Leave, as a client of this protocol does."""
        ...


class Http1:
    """A request over HTTP/1.1; hanging up closes the connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def hang_up(self) -> None:
        """Close the connection."""
        self._writer.close()
        await self._writer.wait_closed()


class Http2:
    """A request over HTTP/2 without TLS; hanging up resets the stream and keeps the connection."""

    def __init__(self, writer: asyncio.StreamWriter, connection: h2.connection.H2Connection) -> None:
        self._writer = writer
        self._connection = connection

    async def hang_up(self) -> None:
        """Reset the stream."""
        self._connection.reset_stream(1)
        await self.flush()

    async def flush(self) -> None:
        """Send what is to be sent."""
        self._writer.write(self._connection.data_to_send())
        await self._writer.drain()


class Grpc:
    """A call over gRPC; hanging up cancels it."""

    def __init__(self, call: grpc.aio.UnaryStreamCall[Any, Any] | grpc.aio.UnaryUnaryCall[Any, Any]) -> None:
        self.call = call

    async def hang_up(self) -> None:
        """Cancel the call."""
        self.call.cancel()

    async def first_message(self) -> object:
        """Return the answer, or a stream's first chunk. Raises grpc.aio.AioRpcError."""
        return await (self.call.read() if isinstance(self.call, grpc.aio.UnaryStreamCall) else self.call)


@asynccontextmanager
async def http_1(gateway: Gateway, body: Mapping[str, Any], key: str = KEY) -> AsyncIterator[Http1]:
    """Ask over HTTP/1.1."""
    reader, writer = await asyncio.open_connection(*_address(gateway), limit=1024)
    writer.write(http_1_request(body, key))
    try:
        yield Http1(reader, writer)
    finally:
        writer.close()


def http_1_request(body: Mapping[str, Any], key: str) -> bytes:
    """Return the bytes of a request."""
    data = json.dumps(body).encode()
    lines = (
        f"POST {CHAT} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {key}",
        "Content-Type: application/json",
    )
    return "\r\n".join((*lines, f"Content-Length: {len(data)}", "", "")).encode() + data


@asynccontextmanager
async def http_2(gateway: Gateway, body: Mapping[str, Any]) -> AsyncIterator[Http2]:
    """Ask over HTTP/2."""
    _, writer = await asyncio.open_connection(*_address(gateway))
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    pseudo = ((":method", "POST"), (":path", CHAT), (":scheme", "http"), (":authority", "gateway"))
    connection.send_headers(1, (*pseudo, ("authorization", f"Bearer {KEY}"), ("content-type", "application/json")))
    connection.send_data(1, json.dumps(body).encode(), end_stream=True)
    asked = Http2(writer, connection)
    await asked.flush()
    try:
        yield asked
    finally:
        writer.close()


@asynccontextmanager
async def grpc_call(
    gateway: Gateway, body: Mapping[str, Any], timeout_s: float | None = None, key: str = KEY
) -> AsyncIterator[Grpc]:
    """Ask over gRPC, with a deadline if one is given."""
    request = codec.decode_request(CreateChatCompletionRequest, json.dumps(body).encode(), max_depth=16)
    async with grpc.aio.insecure_channel("{}:{}".format(*_address(gateway))) as channel:
        stub = ChatCompletionServiceStub(channel)
        ask = stub.StreamChatCompletion if body.get("stream") else stub.CreateChatCompletion
        call = ask(request, metadata=(("authorization", f"Bearer {key}"),), timeout=timeout_s)
        # A call begins when somebody waits for it.
        waiting = asyncio.ensure_future(call.initial_metadata())
        try:
            yield Grpc(call)
        finally:
            call.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


def _address(gateway: Gateway) -> tuple[str, int]:
    parts = urlsplit(gateway.url)
    return str(parts.hostname), int(parts.port or 0)
