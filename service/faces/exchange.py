"""One call of a JSON method, spoken with gRPC's core itself: headers, message and status leave in one batch.

grpc.aio sends headers in a batch of their own, goes through several tasks for each call, and waits for each message to
be gone before the next one is made. What is used of grpcio here is private; its version is pinned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import cache
from typing import Any, Final, Protocol

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import DecodeError
from grpc._cython import cygrpc

from service.errors import GatewayError
from service.faces.batch import Batch

JSON: Final = "application/json"
EVENTS: Final = "text/event-stream"

_NO_FLAGS: Final = 0
_OK: Final = 0
_INTERNAL: Final = 13


class Core(Protocol):
    """The server that a call came to."""

    @property
    def stopped(self) -> bool:
        """Whether it is gone: then the core must not be asked for anything."""


class Exchange:
    """A request, and its answer's messages: any number written, and the last one with the status.

    They are google.api.HttpBody on the wire, bytes here. One at a time is on its way.
    """

    __slots__ = (
        "_context",
        "_core",
        "_done",
        "_head",
        "_headers",
        "_loop",
        "_lost",
        "_received",
        "_receiving",
        "_rpc",
        "_sending",
        "_waiting",
    )

    def __init__(self, rpc: Any, loop: asyncio.AbstractEventLoop, core: Core) -> None:
        """`rpc` is the core's state of a call that has come."""
        self._rpc = rpc
        self._loop = loop
        self._core = core
        self._context = cygrpc._ServicerContext(rpc, None, None, loop)
        self._receiving = cygrpc.ReceiveMessageOperation(_NO_FLAGS)
        self._received: asyncio.Future[None] = loop.create_future()
        self._headers: Sequence[tuple[str, str]] | None = ()
        self._head = _message_head(JSON)
        self._sending = False
        self._waiting: asyncio.Future[None] | None = None
        self._lost = False
        self._done = False

    def start(self, task: asyncio.Task[None]) -> None:
        """Let the core receive the request, and cancel the task that serves it when the caller leaves."""
        closing = cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS)

        def closed(failed: bool) -> None:
            if failed or closing.cancelled():
                task.cancel()

        self._begin((closing,), closed)
        self._begin((self._receiving,), self._has_received)

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """Return what came with the call, made anew at each time."""
        metadata: Sequence[tuple[str, str | bytes]] = self._context.invocation_metadata()
        return metadata

    def time_remaining(self) -> float | None:
        """Return the seconds until the caller's deadline; None when there is none."""
        remaining: float | None = self._context.time_remaining()
        return remaining

    def done(self) -> bool:
        """Say whether the status is sent, or on its way."""
        return self._done

    async def received(self) -> None:
        """Wait until the request is there."""
        await self._received

    def read(self) -> bytes:
        """Return the body of a request that is there, once; nothing when the caller has sent none.

        Raises:
            GatewayError: it is no HttpBody.
        """
        message: bytes | None = self._receiving.message()
        self._receiving = None
        try:
            return b"" if message is None else HttpBody.FromString(message).data
        except DecodeError as error:
            raise GatewayError("invalid_json", "The request is no google.api.HttpBody.") from error

    def begin(self, headers: Sequence[tuple[str, str]], content_type: str = JSON) -> None:
        """Say which headers leave with the first message, and what the messages are."""
        if self._headers is not None:
            self._headers, self._head = headers, _message_head(content_type)

    @property
    def quiet(self) -> bool:
        """Whether a message can be sent at once."""
        return not (self._sending or self._done or self._core.stopped)

    async def write(self, data: bytes) -> None:
        """Send a message, once the one before is sent.

        Raises:
            grpc.aio.InternalError: the one before could not be sent, since the caller has left.
        """
        await self._sent()
        self.send(data)

    def send(self, data: bytes) -> None:
        """Send a message at once, while all is quiet."""
        self._send(self._message(data))

    async def finish(self, data: bytes) -> None:
        """Send the last message, and that all went well; return when they are sent.

        Raises:
            grpc.aio.InternalError: they could not be sent, since the caller has left.
        """
        await self._sent()
        self._send(self._message(data), cygrpc.SendStatusFromServerOperation((), _OK, "", _NO_FLAGS))
        self._done = True
        await self._sent()

    async def fail(self) -> None:
        """End a call that nothing has ended, with INTERNAL, and without headers if none have left.

        Raises:
            grpc.aio.InternalError: that could not be sent, since the caller has left.
        """
        if not self._done:
            await self._sent()
            self.begin(())
            self._send(cygrpc.SendStatusFromServerOperation((), _INTERNAL, "", _NO_FLAGS))
            self._done = True

    def _message(self, data: bytes) -> Any:
        # Protobuf's own way takes forty times as long for a large body.
        return cygrpc.SendMessageOperation(b"%b%b%b" % (self._head, _varint(len(data)), data), _NO_FLAGS)

    async def _sent(self) -> None:
        """Wait until nothing is on its way. Raises InternalError when what was did not arrive."""
        while self._sending:  # a comment may have been faster
            self._waiting = self._loop.create_future()
            try:
                await self._waiting
            finally:
                self._waiting = None
        if self._lost:
            raise cygrpc.InternalError("A message could not be sent: the caller has left.")

    def _send(self, *operations: Any) -> None:
        if self._headers is not None:
            operations = (cygrpc.SendInitialMetadataOperation(self._headers, _NO_FLAGS), *operations)
        self._begin(operations, self._has_sent)
        self._headers = None
        self._sending = True

    def _has_sent(self, failed: bool) -> None:
        self._sending = False
        self._lost = failed
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _has_received(self, _: bool) -> None:
        # The core ends what cannot be received, a message over its limit for one; there is nothing to read then.
        if not self._received.done():
            self._received.set_result(None)

    def _begin(self, operations: tuple[Any, ...], done: Callable[[bool], None]) -> None:
        """Let the core begin a batch; `done` is told when it has ended, and whether it failed."""
        if self._core.stopped:
            raise cygrpc.InternalError("The server has stopped.")
        Batch(self._rpc, operations, self._loop, done)


Answer = Callable[[Exchange], Awaitable[None]]
"""What answers a call. However it ends, the call does too."""


@cache
def _message_head(content_type: str) -> bytes:
    """Return what a serialized HttpBody begins with, up to the length of its data."""
    data_follows = HttpBody.DATA_FIELD_NUMBER << 3 | 2
    return bytes(HttpBody(content_type=content_type).SerializeToString()) + _varint(data_follows)


def _varint(number: int) -> bytes:
    """Return a number as protobuf writes lengths: seven bits a byte, the lowest first."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)
