"""Streams of a busy worker gather their events: nothing is lost, reordered or noticed later than that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from service.config import Provider
from service.errors import FailureKind, ProviderFailure
from service.providers.dialect import UpstreamRequest
from service.upstream import CallTimeouts, Response, Upstream
from tests.fakes.wire import Connection, Request, chunk, head, serve

PATIENT = CallTimeouts(connect=5, first_event=5, idle=5, total=10)
LOOKS_S = 0.3
"""In so much time a worker is seen to be busy."""


def idle() -> float:
    """The clock of a thread that does nothing."""
    return 0.0


busy = time.monotonic
"""The clock of a thread that does not rest."""


@asynccontextmanager
async def stream(url: str, spent: Callable[[], float]) -> AsyncIterator[tuple[Upstream, Response]]:
    upstream = Upstream({"acme": Provider(dialect="openai", base_url="http://unused.example")}, {}, spent)
    try:
        async with upstream.send("acme", UpstreamRequest(url, {}, b"{}"), PATIENT) as response:
            yield upstream, response
    finally:
        await upstream.close()


def event(number: int) -> bytes:
    return chunk(b"data: %d\n\n" % number)


async def count_up(connection: Connection, request: Request) -> None:
    """Send an event, let the client become busy, send thirty more, one by one, and end."""
    await connection.send(head(200, "text/event-stream", chunked=True) + event(0))
    await asyncio.sleep(LOOKS_S)
    for number in range(1, 31):
        await connection.send(event(number))
        await asyncio.sleep(0.001)
    await connection.send(chunk(b""))


async def test_a_busy_worker_gathers_events() -> None:
    async with serve(count_up) as server, stream(server.url, busy) as (_, response):
        pieces = [[int(each.data) for each in piece] async for piece in response.events()]
    assert [number for piece in pieces for number in piece] == list(range(31))
    assert pieces[0] == [0]
    assert len(pieces) < 20


async def test_an_idle_worker_hands_each_event_on_as_it_comes() -> None:
    read: asyncio.Queue[int] = asyncio.Queue()

    async def in_step(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True))
        for number in range(10):
            await connection.send(event(number))
            assert await read.get() == number
        await connection.send(chunk(b""))

    async with serve(in_step) as server, stream(server.url, idle) as (_, response):
        async for piece in response.events():
            (each,) = piece
            read.put_nowait(int(each.data))


@pytest.mark.parametrize("spent", [idle, busy])
async def test_a_stream_that_is_cut_has_failed(spent: Callable[[], float]) -> None:
    async def cut(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True) + event(0))
        await asyncio.sleep(LOOKS_S)
        await connection.send(event(1))
        connection.close()

    async with serve(cut) as server, stream(server.url, spent) as (_, response):
        pieces = response.events()
        seen = [(await anext(pieces))[0].data for _ in range(2)]
        with pytest.raises(ProviderFailure) as caught:
            await anext(pieces)
    assert caught.value.kind is FailureKind.CUT
    assert seen == [b"0", b"1"]


async def test_who_leaves_a_stream_that_is_held_closes_it_at_once() -> None:
    left = asyncio.Event()

    async def go_on(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True) + event(0))
        await asyncio.sleep(LOOKS_S)
        await connection.send(event(1))
        await connection.hung_up()
        left.set()

    async with serve(go_on) as server:
        async with stream(server.url, busy) as (_, response):
            async for piece in response.events():
                if piece[-1].data == b"1":
                    break
        await asyncio.wait_for(left.wait(), 5)


async def test_a_connection_serves_again_after_a_stream_that_was_held() -> None:
    async with serve(count_up) as server, stream(server.url, busy) as (upstream, response):
        assert len([each async for piece in response.events() for each in piece]) == 31
        await asyncio.sleep(0)
        async with upstream.send("acme", UpstreamRequest(server.url, {}, b"{}"), PATIENT) as other:
            assert len([each async for piece in other.events() for each in piece]) == 31
    assert len(server.requests) == 2
