"""Operations on a call that gRPC's core carries out together. What is used of grpcio here is private, and pinned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from threading import get_ident
from typing import Any

from grpc._cython import cygrpc


class Batch:
    """Operations that the core carries out together. grpcio takes it for an event loop, and for a future of that.

    With a real future the end would be known a turn later. And where a batch has failed, its memory would be lost, that
    of its headers for one: grpcio takes it back when its coroutine goes on, and an error from the future ends that.
    """

    __slots__ = ("_coroutine", "_done", "_loop", "_thread")

    def __init__(
        self, rpc: Any, operations: tuple[Any, ...], loop: asyncio.AbstractEventLoop, done: Callable[[bool], None]
    ) -> None:
        """Begin. `done` is told of the end, in the event loop's thread, and whether the batch has failed.

        Raises:
            grpc.aio.InternalError: the core takes no such operations; `done` is told nothing.
        """
        self._loop = loop
        self._thread = get_ident()
        self._done = done
        self._coroutine = cygrpc.execute_batch(rpc, operations, self)
        try:
            self._coroutine.send(None)
        except BaseException:
            del self._done, self._coroutine  # grpcio keeps this batch for ever then, and would keep the call
            raise

    # As an event loop.

    def create_future(self) -> Batch:
        """See asyncio.AbstractEventLoop."""
        return self

    def call_soon_threadsafe(self, take: Callable[..., None], *what: object) -> None:
        """See asyncio.AbstractEventLoop. Whoever has heard of the end calls it: our loop, or that of another thread."""
        if get_ident() == self._thread:
            take(*what)
        else:
            self._loop.call_soon_threadsafe(take, *what)

    # As a future.

    def __await__(self) -> Iterator[None]:
        return iter((None,))

    def cancelled(self) -> bool:
        """See asyncio.Future."""
        return False

    def set_result(self, _: object) -> None:
        """The core has carried it out."""
        self._end(failed=False)

    def set_exception(self, _: BaseException) -> None:
        """The core could not."""
        self._end(failed=True)

    def _end(self, *, failed: bool) -> None:
        try:
            self._coroutine.send(None)
        except StopIteration:
            pass
        finally:
            self._done(failed)
