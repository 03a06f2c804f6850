"""The gRPC server: grpc.aio's own, but for how calls are taken.

grpc.aio asks the core for one call, and for the next one when that is there, by way of a thread and several turns of
the event loop. Under load calls queue up in the core, and each stage of a request runs alone, when the processor's
caches have forgotten it since the last request. Here several calls are asked for at once: with 64 requests at a time,
a fifth more are served.

This reaches into grpcio, whose version is pinned: `_make_request_call_future` is what the serving loop calls for the
next call, and again whenever it has got one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, cast

import grpc
from grpc._cython import cygrpc
from grpc.aio import _server

_AT_ONCE = 32


class _Core(cygrpc.AioServer):  # type: ignore[misc]  # it has no types
    """The part of a server that speaks to the core."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *arguments: object) -> None:
        super().__init__(loop, *arguments)
        self._event_loop = loop
        self._arrived: deque[asyncio.Task[Any]] = deque()
        self._wanted: asyncio.Future[Any] | None = None

    def _make_request_call_future(self, method: bytes | None) -> asyncio.Future[Any]:
        """Return a future of the next call; no method is registered, so it may be any method's."""
        assert method is None
        if self._wanted is None:
            for _ in range(_AT_ONCE):
                self._ask()
        self._wanted = self._event_loop.create_future()
        self._hand_over()
        return self._wanted

    async def shutdown(self, grace: float | None) -> None:
        """Calls that have come, and that nobody has begun to serve, are cancelled."""
        self._arrived.clear()
        await super().shutdown(grace)

    def _ask(self) -> None:
        self._event_loop.create_task(self._request_call()).add_done_callback(self._take)

    def _take(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            return
        error, serving = task.exception(), self.is_running()
        # The core gives up single calls too; any other error is the serving loop's to end with.
        if serving and (error is None or isinstance(error, cygrpc._RequestCallError)):
            self._ask()
        self._arrived.append(task)
        self._hand_over()
        if not serving:
            # What nobody waits for is cancelled, so that the server need not wait for it.
            self._arrived.clear()

    def _hand_over(self) -> None:
        wanted = self._wanted
        if wanted is None or wanted.done() or not self._arrived:
            return
        task = self._arrived.popleft()
        error = task.exception()
        if error is None:
            wanted.set_result(task.result())
        else:
            wanted.set_exception(error)


class _Accepting(_server.Server):
    """A server of the public kind, with our core."""

    def __init__(self, interceptors: Sequence[grpc.aio.ServerInterceptor], options: Sequence[tuple[str, Any]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = _Core(self._loop, None, (), interceptors, tuple(options), None)

    def add_registered_method_handlers(self, service_name: str, method_handlers: object) -> None:
        """Register nothing: the generic handlers serve these methods too.

        grpc.aio waits for a call of each registered method apart, which costs every call something for each.
        """


def accepting_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor], options: Sequence[tuple[str, Any]]
) -> grpc.aio.Server:
    """Return what `grpc.aio.server` returns, for the running event loop."""
    return cast(grpc.aio.Server, _Accepting(interceptors, options))
