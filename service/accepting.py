"""The gRPC server: grpc.aio's own, but for how calls are taken.

grpc.aio asks the core for one call, and for the next one when that is there, by way of a thread and several turns of
the event loop. Under load calls queue up in the core, and each stage of a request runs alone, when the processor's
caches have forgotten it since the last request. Here several calls of a method are asked for at once, each by a task
that begins to serve what it gets and asks again. Calls of methods that do not exist are left to grpc.aio.

This reaches into grpcio, whose version is pinned: `_make_request_call_future` is what its serving loop calls for each
method, when it begins and whenever it has got a call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import grpc
from grpc._cython import cygrpc
from grpc.aio import _server

from service.faces.exchange import Answer, Exchange

_AT_ONCE = 32

log = logging.getLogger("gateway")


class _Core(cygrpc.AioServer):  # type: ignore[misc]  # it has no types
    """The part of a server that speaks to the core."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        interceptors: Sequence[grpc.aio.ServerInterceptor],
        options: Sequence[tuple[str, Any]],
        direct: Mapping[str, Answer],
    ) -> None:
        super().__init__(loop, None, (), interceptors, tuple(options), None)
        self.stopped = False
        self._event_loop = loop
        self._around = tuple(interceptors)
        self._direct = direct
        self._handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._resolver = cygrpc._MethodResolver([], self._handlers)
        self._tasks: set[asyncio.Task[Any]] = set()

    def add_registered_method_handlers(self, method_handlers: dict[str, grpc.RpcMethodHandler[Any, Any]]) -> None:
        """Take handlers by their methods' full names."""
        super().add_registered_method_handlers(method_handlers)
        self._handlers.update(method_handlers)

    async def start(self) -> None:
        """Start as grpc.aio does. Raises ValueError: what is to be answered directly is no method."""
        if missing := self._direct.keys() - self._handlers:
            raise ValueError(f"not registered: {', '.join(missing)}")
        await super().start()

    async def shutdown(self, grace: float | None) -> None:
        """Stop as grpc.aio does."""
        await super().shutdown(grace)
        self.stopped = True

    def _make_request_call_future(self, method_bytes: bytes | None) -> asyncio.Future[Any]:
        """Begin to take a method's calls. Return a future that only gets an error, if there can be no more of them."""
        if method_bytes is None:
            return cast("asyncio.Future[Any]", super()._make_request_call_future(None))
        method = method_bytes.decode()
        broken: asyncio.Future[Any] = self._event_loop.create_future()
        answer = self._direct.get(method)
        for _ in range(1 if answer is None else _AT_ONCE):
            self._run(self._take(method, answer, broken))
        return broken

    async def _take(self, method: str, answer: Answer | None, broken: asyncio.Future[Any]) -> None:
        """Take one call after the other."""
        name = method.encode()
        while self.is_running():
            try:
                rpc = await self._request_registered_call(name)
            except cygrpc._RequestCallError:
                continue  # the core gives up single calls, and all when it stops
            except cygrpc.InternalError as error:
                if not broken.done():
                    broken.set_exception(error)
                return
            self._serve(rpc, method, answer)
            del rpc  # not to be kept until the next one comes

    def _serve(self, rpc: Any, method: str, answer: Answer | None) -> None:
        loop = self._event_loop
        if answer is None:
            serving = cygrpc._handle_rpc(method, self._resolver, self._around, rpc, loop, False)
            self._run(cygrpc._schedule_rpc_coro(serving, rpc, loop, method))
        else:
            Exchange(rpc, loop, self).start(lambda exchange: self._run(_answered(exchange, answer, method)))

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._event_loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _answered(exchange: Exchange, answer: Answer, method: str) -> None:
    try:
        await answer(exchange)
    except (asyncio.CancelledError, grpc.aio.InternalError):
        pass  # nobody reads any more
    except Exception:
        log.exception("internal error", extra={"facts": {"method": method}})
    with suppress(grpc.aio.InternalError):
        await exchange.fail()


class _Accepting(_server.Server):
    """A server of the public kind, with our core."""

    def __init__(self, core: _Core) -> None:
        self._loop = asyncio.get_running_loop()
        self._server = core


def accepting_server(
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    options: Sequence[tuple[str, Any]],
    *,
    direct: Mapping[str, Answer],
) -> grpc.aio.Server:
    """Return what `grpc.aio.server` returns, for the running event loop.

    `direct`: what answers a method, instead of its handler and the interceptors. Many of its calls are taken at once.
    """
    core = _Core(asyncio.get_running_loop(), interceptors, options, direct)
    return cast(grpc.aio.Server, _Accepting(core))
