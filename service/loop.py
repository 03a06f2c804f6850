"""The event loop: uvloop, told of what gRPC's core has done in as few turns as possible."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, TypeVarTuple

import uvloop
from grpc._cython import cygrpc

Args = TypeVarTuple("Args")

_MOST_BYTES = 4096


class EventLoop(uvloop.Loop):
    """uvloop's own, but for how it reads the socket through which gRPC's thread wakes it.

    That thread writes a byte for each thing that is done. grpc.aio reads one byte a turn, though it takes all that is
    done each time. Under load the socket fills up (it holds some 280 such bytes), and then gRPC's thread stops: what is
    done, new calls among it, waits for hundreds of turns. Here all of the bytes are read at once.
    """

    def add_reader(self, fd: Any, callback: Callable[[*Args], Any], *args: *Args) -> None:
        """See asyncio.AbstractEventLoop."""
        if _takes_what_is_done(callback):
            super().add_reader(fd, _at_once(fd.fileno(), partial(callback, *args)))
        else:
            super().add_reader(fd, callback, *args)


def _takes_what_is_done(callback: Callable[..., Any]) -> bool:
    function = callback.func if isinstance(callback, partial) else callback
    return isinstance(getattr(function, "__self__", None), cygrpc.PollerCompletionQueue)


def _at_once(fd: int, take: Callable[[], Any]) -> Callable[[], None]:
    def read_and_take() -> None:
        # First the bytes: what is done later writes its own.
        with suppress(BlockingIOError):  # another thread's loop may have read them
            os.read(fd, _MOST_BYTES)
        take()

    return read_and_take
