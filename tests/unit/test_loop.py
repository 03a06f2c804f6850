"""The event loop takes what gRPC has done in few turns, and leaves other readers as they are."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, NamedTuple, TypeVarTuple

import grpc
import pytest
import uvloop

from service.loop import EventLoop

Args = TypeVarTuple("Args")

METHOD = "/test.Service/Echo"


class Counting(uvloop.Loop):
    """uvloop's own, counting how often readers are called."""

    reads = 0

    def add_reader(self, fd: Any, callback: Callable[[*Args], Any], *args: *Args) -> None:
        def counted() -> None:
            self.reads += 1
            callback(*args)

        super().add_reader(fd, counted)


class Counted(EventLoop, Counting):  # type: ignore[misc]  # uvloop's stubs are not quite asyncio's
    """The service's, counting too."""


class Echo(NamedTuple):
    """A server with threads of its own that says everything again, and a semaphore that counts what it has said."""

    address: str
    said: threading.Semaphore


@pytest.fixture
def echo() -> Iterator[Echo]:
    """Such a server."""
    said = threading.Semaphore(0)

    def say(request: bytes, context: grpc.ServicerContext) -> bytes:
        said.release()
        return request

    handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_unary_rpc_method_handler(say)
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_registered_method_handlers("test.Service", {"Echo": handler})
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield Echo(f"127.0.0.1:{port}", said)
    server.stop(None).wait()


@pytest.fixture
def many() -> int:
    """Far more calls than gRPC's socket holds bytes (278 as a rule): it is full then, and gRPC's thread waits."""
    ours, theirs = socket.socketpair()
    held = 0
    with ours, theirs, suppress(BlockingIOError):
        ours.setblocking(False)
        while held < 1000:
            held += ours.send(b"1")
    if held == 1000:
        pytest.skip("sockets hold very much here")
    return 3 * held


def _reads(loop: Counting, echo: Echo, calls: int) -> int:
    """Return how often gRPC's socket was read from, after many answers came while the loop did nothing."""

    async def call() -> int:
        async with grpc.aio.insecure_channel(echo.address) as channel:
            ask: Any = channel.unary_unary(METHOD)
            asked = [asyncio.ensure_future(ask(b"%d" % number)) for number in range(calls)]
            await asyncio.sleep(0)
            for _ in range(calls):
                assert echo.said.acquire(timeout=30)
            time.sleep(0.5)  # noqa: ASYNC251  # for the last of them to come
            before = loop.reads
            assert await asyncio.gather(*asked) == [b"%d" % number for number in range(calls)]
            return loop.reads - before

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(call())


def test_what_is_done_meanwhile_is_taken_in_few_turns(echo: Echo, many: int) -> None:
    assert _reads(Counted(), echo, many) < many / 4


def test_grpc_itself_takes_a_turn_for_each(echo: Echo, many: int) -> None:
    """When this is no longer so, the service's own event loop is not needed any more."""
    assert _reads(Counting(), echo, many) > many / 2


def test_other_readers_read_their_own_bytes() -> None:
    ours, theirs = socket.socketpair()

    async def read_one_by_one() -> list[bytes]:
        loop, read = asyncio.get_running_loop(), asyncio.Queue[bytes]()
        loop.add_reader(ours, lambda size: read.put_nowait(ours.recv(size)), 1)
        theirs.send(b"abc")
        try:
            return [await asyncio.wait_for(read.get(), 5) for _ in range(3)]
        finally:
            loop.remove_reader(ours)

    with ours, theirs, asyncio.Runner(loop_factory=EventLoop) as runner:
        assert runner.run(read_one_by_one()) == [b"a", b"b", b"c"]
