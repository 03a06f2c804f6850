"""Streams of a busy worker gather their events: nothing is lost, reordered or noticed later than that."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from service.errors import FailureKind, ProviderFailure
from service.providers.dialect import UpstreamRequest
from service.upstream import Response, Upstream
from service.upstream.gathering import Gathering
from tests.fakes.wire import Connection, Request, chunk, head, serve
from tests.unit.upstream.streams import PATIENT, Tls, busy, client, event, idle

LOOKS_S = 0.3
"""In so much time a worker is seen to be busy."""


@asynccontextmanager
async def stream(url: str, spent: Callable[[], float], tls: Tls) -> AsyncIterator[tuple[Upstream, Response]]:
    async with (
        client(spent, tls) as upstream,
        upstream.send("acme", UpstreamRequest(url, {}, b"{}"), PATIENT) as response,
    ):
        yield upstream, response


async def count_up(connection: Connection, request: Request) -> None:
    """Send an event, let the client become busy, send thirty more, one by one, and end."""
    await connection.send(head(200, "text/event-stream", chunked=True) + event(0))
    await asyncio.sleep(LOOKS_S)
    for number in range(1, 31):
        await connection.send(event(number))
        await asyncio.sleep(0.001)
    await connection.send(chunk(b""))


async def test_a_busy_worker_gathers_events(tls: Tls) -> None:
    async with serve(count_up, tls.server) as server, stream(server.url, busy, tls) as (_, response):
        pieces = [[int(each.data) for each in piece] async for piece in response.events()]
    assert [number for piece in pieces for number in piece] == list(range(31))
    assert pieces[0] == [0]
    assert len(pieces) < 20


async def test_an_idle_worker_hands_each_event_on_as_it_comes(tls: Tls) -> None:
    read: asyncio.Queue[int] = asyncio.Queue()

    async def in_step(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True))
        for number in range(10):
            await connection.send(event(number))
            assert await read.get() == number
        await connection.send(chunk(b""))

    async with serve(in_step, tls.server) as server, stream(server.url, idle, tls) as (_, response):
        async for piece in response.events():
            (each,) = piece
            read.put_nowait(int(each.data))


@pytest.mark.parametrize("spent", [idle, busy])
async def test_a_stream_that_is_cut_has_failed(spent: Callable[[], float], tls: Tls) -> None:
    async def cut(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True) + event(0))
        await asyncio.sleep(LOOKS_S)
        await connection.send(event(1))
        connection.close()

    async with serve(cut, tls.server) as server, stream(server.url, spent, tls) as (_, response):
        pieces = response.events()
        seen = [(await anext(pieces))[0].data for _ in range(2)]
        with pytest.raises(ProviderFailure) as caught:
            await anext(pieces)
    assert caught.value.kind is FailureKind.CUT
    assert seen == [b"0", b"1"]


async def test_who_leaves_a_stream_that_is_held_closes_it_at_once(tls: Tls) -> None:
    left = asyncio.Event()

    async def go_on(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True) + event(0))
        await asyncio.sleep(LOOKS_S)
        await connection.send(event(1))
        await connection.hung_up()
        left.set()

    async with serve(go_on, tls.server) as server:
        async with stream(server.url, busy, tls) as (_, response):
            async for piece in response.events():
                if piece[-1].data == b"1":
                    break
        await asyncio.wait_for(left.wait(), 5)


async def test_a_connection_serves_again_after_a_stream_that_was_held(tls: Tls) -> None:
    async with serve(count_up, tls.server) as server, stream(server.url, busy, tls) as (upstream, response):
        assert len([each async for piece in response.events() for each in piece]) == 31
        await asyncio.sleep(0)
        async with upstream.send("acme", UpstreamRequest(server.url, {}, b"{}"), PATIENT) as other:
            assert len([each async for piece in other.events() for each in piece]) == 31
    assert len(server.requests) == 2


async def test_what_comes_right_before_the_end_is_not_lost(tls: Tls) -> None:
    """The provider closes while the stream is held."""

    async def close_soon(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True) + event(0))
        await asyncio.sleep(LOOKS_S)
        await connection.send(event(1))
        await asyncio.sleep(0.002)
        await connection.send(event(2) + chunk(b""))
        connection.close()

    async with serve(close_soon, tls.server) as server, stream(server.url, busy, tls) as (_, response):
        assert [each.data async for piece in response.events() for each in piece] == [b"0", b"1", b"2"]


async def test_a_slow_reader_of_a_held_stream_loses_nothing(tls: Tls) -> None:
    async with serve(count_up, tls.server) as server, stream(server.url, busy, tls) as (_, response):
        seen = []
        async for piece in response.events():
            seen += [int(each.data) for each in piece]
            await asyncio.sleep(0.03)
    assert seen == list(range(31))


async def test_a_connection_that_is_used_again_while_it_is_held_hands_on_at_once(tls: Tls) -> None:
    entered = asyncio.Event()

    async def answer(connection: Connection, request: Request) -> None:
        match request.body:
            case b"held":
                await connection.send(head(200, "text/event-stream", chunked=True) + event(0))
                await asyncio.sleep(LOOKS_S)
                await connection.send(event(1))
                await asyncio.sleep(0.002)
                await connection.send(event(2) + chunk(b""))
            case b"again":
                await connection.send(head(200, "text/event-stream", chunked=True))
                await entered.wait()
                await connection.send(event(3) + chunk(b""))
            case _:
                await connection.send(head(200, "text/event-stream", chunked=True) + chunk(b""))

    async with serve(answer, tls.server) as server, stream(server.url, busy, tls) as (upstream, _), asyncio.timeout(5):
        async with upstream.send("acme", UpstreamRequest(server.url, {}, b"held"), PATIENT) as held:
            assert len([each async for piece in held.events() for each in piece]) == 3
        async with upstream.send("acme", UpstreamRequest(server.url, {}, b"again"), PATIENT) as other:
            entered.set()
            assert [each.data async for piece in other.events() for each in piece] == [b"3"]
    assert len(server.connections) == 2, "the stream's own, and one for both requests"


class Held:
    """A reader that notes in which turn of the event loop it goes on."""

    def __init__(self, turn: Callable[[], int]) -> None:
        self._turn = turn
        self.went_on: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def go_on(self) -> None:
        """See `service.upstream.gathering.Reader`."""
        self.went_on.set_result(self._turn())


@pytest.mark.parametrize(("readers", "late_s", "a_turn"), [(20, 0.05, 2), (128, 0.05, 4), (20, 0.2, 20)])
async def test_of_many_that_are_due_few_go_on_in_a_turn(readers: int, late_s: float, a_turn: int) -> None:
    """But all who have waited for long."""
    turns = 0
    gathering = Gathering(busy)
    held = [Held(lambda: turns) for _ in range(readers)]
    for each in held:
        gathering.hold(each)
    time.sleep(late_s)  # noqa: ASYNC251  # so that all are due at once
    while not held[-1].went_on.done():
        await asyncio.sleep(0)
        turns += 1
    in_turn = [each.went_on.result() for each in held]
    assert in_turn == sorted(in_turn)
    assert max(Counter(in_turn).values()) == a_turn


class Work:
    """The clock of a thread that works for a share of the time, which depends on how long readers are held."""

    def __init__(self, share: Callable[[], float]) -> None:
        self._share = share
        self._spent, self._at = 0.0, asyncio.get_running_loop().time()

    def __call__(self) -> float:
        now = asyncio.get_running_loop().time()
        self._spent, self._at = self._spent + self._share() * (now - self._at), now
        return self._spent


async def test_a_busy_worker_gathers_until_it_has_much_less_to_do() -> None:
    """Gathering itself takes load away, and is not to end by that."""
    share = 0.0
    gathering = Gathering(Work(lambda: share))
    gathering.begin()
    seen = []
    for load in (0.5, 0.9, 0.5, 0.1):
        share = load
        await asyncio.sleep(LOOKS_S)
        seen.append(gathering.hold_s)
    gathering.end()
    assert seen == [0.0, 0.02, 0.02, 0.0]


async def test_readers_are_held_for_no_longer_than_is_of_use() -> None:
    """The first step takes away enough of the load, so there is no second."""
    gathering = Gathering(Work(lambda: 0.5 if gathering.hold_s else 0.9))
    gathering.begin()
    await asyncio.sleep(LOOKS_S)
    held = gathering.hold_s
    gathering.end()
    assert held == 0.01
