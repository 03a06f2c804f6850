"""One call, spoken with gRPC's core itself: headers, message and status leave in one batch.

grpc.aio sends headers in a batch of their own, goes through several tasks for each call, and waits for each message to
be gone before the next one is made. What is used of grpcio here is private; its version is pinned.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias

from grpc._cython import cygrpc

from service.faces.batch import Batch

Metadata: TypeAlias = Sequence[tuple[str, str | bytes]]

_NO_FLAGS: Final = 0
_OK: Final = 0
_UNIMPLEMENTED: Final = 12
_INTERNAL: Final = 13


class Core(Protocol):
    """The server that a call came to."""

    @property
    def stopped(self) -> bool:
        """Whether it is gone: then the core must not be asked for anything."""


class Exchange:
    """A request, and its answer's messages: any number written, and the last one with the status.

    Messages are bytes, as they stand on the wire. One at a time is on its way.
    """

    __slots__ = (
        "_context",
        "_core",
        "_done",
        "_headers",
        "_loop",
        "_lost",
        "_receiving",
        "_rpc",
        "_sending",
        "_waiting",
        "task",
    )

    task: asyncio.Task[None]
    """What serves the call, from when its request is there."""

    def __init__(self, rpc: Any, loop: asyncio.AbstractEventLoop, core: Core) -> None:
        """`rpc` is the core's state of a call that has come."""
        self._rpc = rpc
        self._loop = loop
        self._core = core
        self._context = cygrpc._ServicerContext(rpc, None, None, loop)
        self._receiving = cygrpc.ReceiveMessageOperation(_NO_FLAGS)
        self._headers: Sequence[tuple[str, str]] | None = ()
        self._sending = False
        self._waiting: asyncio.Future[None] | None = None
        self._lost = False
        self._done = False

    def start(self, serve: Callable[[Exchange], asyncio.Task[None]]) -> None:
        """Let the core receive the request, then a task serve it; the task is cancelled when the caller leaves.

        Without a request nothing is served: the caller has left before, or the call has no message, which is no call.
        """
        closing = cygrpc.ReceiveCloseOnServerOperation(_NO_FLAGS)
        task = None

        def closed(failed: bool) -> None:
            if task is not None and (failed or closing.cancelled()):
                task.cancel()

        def received(failed: bool) -> None:
            nonlocal task
            # A call counts once its request is there: Envoy asks no other worker before. The core itself ends a call
            # whose request cannot be received, one over its limit.
            if failed or self._core.stopped:
                return
            if self._receiving.message() is None:
                self._send(_status(_UNIMPLEMENTED, "The call has no message; the method takes one."))
            else:
                self.task = task = serve(self)

        self._begin((closing,), closed)
        self._begin((self._receiving,), received)

    def invocation_metadata(self) -> Metadata:
        """Return what came with the call, made anew at each time."""
        metadata: Metadata = self._context.invocation_metadata()
        return metadata

    def time_remaining(self) -> float | None:
        """Return the seconds until the caller's deadline; None when there is none."""
        remaining: float | None = self._context.time_remaining()
        return remaining

    def done(self) -> bool:
        """Say whether the status is sent, or on its way."""
        return self._done

    def read(self) -> bytes:
        """Return the request, once."""
        message: bytes = self._receiving.message()
        self._receiving = None
        return message

    def begin(self, headers: Sequence[tuple[str, str]]) -> None:
        """Say which headers leave with what is sent first."""
        if self._headers is not None:
            self._headers = headers

    @property
    def quiet(self) -> bool:
        """Whether a message can be sent at once."""
        return not (self._sending or self._lost or self._done or self._core.stopped)

    async def write(self, message: bytes) -> None:
        """Send a message, once the one before is sent.

        Raises:
            grpc.aio.InternalError: the one before could not be sent, since the caller has left.
        """
        if self._sending or self._lost:
            await self._sent()
        self.send(message)

    def send(self, message: bytes) -> None:
        """Send a message at once, while all is quiet."""
        self._send(cygrpc.SendMessageOperation(message, _NO_FLAGS))

    async def finish(self, message: bytes) -> None:
        """Send the last message, and that all went well; return when they are sent.

        Raises:
            grpc.aio.InternalError: they could not be sent, since the caller has left.
        """
        await self._end(cygrpc.SendMessageOperation(message, _NO_FLAGS), _status(_OK))

    async def end(self, code: int = _OK, details: str = "", trailing: Metadata = ()) -> None:
        """Send a status, with no message; return when it is sent.

        Raises:
            grpc.aio.InternalError: it could not be sent, since the caller has left.
        """
        await self._end(_status(code, details, trailing))

    async def fail(self) -> None:
        """End a call that nothing has ended, with INTERNAL, and without headers if none have left.

        Raises:
            grpc.aio.InternalError: that could not be sent, since the caller has left.
        """
        if not self._done:
            self.begin(())
            await self.end(_INTERNAL)

    async def _end(self, *operations: Any) -> None:
        await self._sent()
        self._send(*operations)
        self._done = True
        await self._sent()

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

    def _begin(self, operations: tuple[Any, ...], done: Callable[[bool], None]) -> None:
        """Let the core begin a batch; `done` is told when it has ended, and whether it failed."""
        if self._core.stopped:
            raise cygrpc.InternalError("The server has stopped.")
        Batch(self._rpc, operations, self._loop, done)


Answer = Callable[[Exchange], Awaitable[None]]
"""What answers a call whose request is there. However it ends, the call does too."""


def _status(code: int, details: str = "", trailing: Metadata = ()) -> Any:
    return cygrpc.SendStatusFromServerOperation(trailing, code, details, _NO_FLAGS)
