"""Events are offered where their bytes arrive: what is taken is not read, what is not is, and all of it in order."""

from __future__ import annotations

import asyncio
import gc
import gzip
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from service.errors import FailureKind, ProviderFailure
from service.providers.dialect import UpstreamRequest
from service.upstream import CallTimeouts, Event, Response
from tests.fakes.wire import Answer, Connection, Request, chunk, head, serve
from tests.unit.upstream.streams import PATIENT, Tls, busy, client, event, idle

Surroundings = tuple[Tls, Callable[[], float]]
_PLAIN: Surroundings = (Tls(), idle)


@pytest.fixture(params=[idle, busy], ids=["idle", "busy"])
def surroundings(request: pytest.FixtureRequest, tls: Tls) -> Surroundings:
    """Without TLS and with it, in a worker that rests and in one that is busy."""
    return tls, request.param


@asynccontextmanager
async def answered(
    answer: Answer, surroundings: Surroundings = _PLAIN, timeouts: CallTimeouts = PATIENT
) -> AsyncIterator[Response]:
    tls, spent = surroundings
    async with (
        serve(answer, tls.server) as server,
        client(spent, tls) as upstream,
        upstream.send("acme", UpstreamRequest(server.url, {}, b"{}"), timeouts) as response,
    ):
        yield response


async def count_to_sixty(connection: Connection, request: Request) -> None:
    await connection.send(head(200, "text/event-stream", chunked=True) + event(0))
    await asyncio.sleep(0.1)
    for number in range(1, 61):
        await connection.send(event(number))
        await asyncio.sleep(0.002)
    await connection.send(chunk(b""))


def numbers(events: Sequence[Event]) -> list[int]:
    return [int(each.data) for each in events]


@pytest.mark.parametrize("every", [1, 2, 3])
async def test_what_is_not_taken_is_read_and_nothing_twice(surroundings: Surroundings, every: int) -> None:
    seen: list[int] = []
    offers = taken = 0

    def take(events: Sequence[Event]) -> bool:
        nonlocal offers, taken
        offers += 1
        if offers % every:
            return False
        seen.extend(numbers(events))
        taken += len(events)
        return True

    async with answered(count_to_sixty, surroundings) as response:
        pieces = response.events()
        seen += numbers(await anext(pieces))
        response.offer_to(take)
        async for piece in pieces:
            seen += numbers(piece)
    assert seen == list(range(61))
    assert taken > 0


async def test_nothing_is_offered_while_nobody_waits() -> None:
    """What came before is with the reader still: what is taken now would overtake it."""
    told: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True))
        while data := await told.get():
            await connection.send(data)

    def take(events: Sequence[Event]) -> bool:
        raise AssertionError("nobody waits")

    async with answered(answer) as response:
        pieces = response.events()
        told.put_nowait(event(0))
        assert numbers(await anext(pieces)) == [0]
        response.offer_to(take)
        told.put_nowait(event(1))
        await asyncio.sleep(0.05)
        assert numbers(await anext(pieces)) == [1]
        told.put_nowait(b"")


@pytest.mark.parametrize(
    ("middle", "read", "taken"),
    [
        (b": a comment\n\n", [], [b"2"]),
        (b"data: 1\ndata: 1\n\n", [b"1\n1"], [b"2"]),
        (b"data: 1\n\ndata: ", [b"1", b"data: 2"], []),
        # Its last line end may have a second half still to come.
        (b"data: 1\r\r", [b"1", b"2"], []),
    ],
)
async def test_only_whole_events_are_offered(middle: bytes, read: list[bytes], taken: list[bytes]) -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True) + event(0))
        for part in (middle, b"data: 2\n\n", b""):
            await asyncio.sleep(0.05)
            await connection.send(chunk(part))

    found: list[bytes] = []

    def take(events: Sequence[Event]) -> bool:
        found.extend(each.data for each in events)
        return True

    async with answered(answer) as response:
        pieces = response.events()
        await anext(pieces)
        response.offer_to(take)
        assert [each.data async for piece in pieces for each in piece] == read
    assert found == taken


async def test_what_comes_compressed_is_not_offered() -> None:
    """Not even what looks like events: where gzip is said, that is broken."""

    async def answer(connection: Connection, request: Request) -> None:
        packed = gzip.compress(b"data: 0\n\n")
        await connection.send(head(200, "text/event-stream", "Content-Encoding: gzip", chunked=True) + chunk(packed))
        await asyncio.sleep(0.05)
        await connection.send(event(1))
        await connection.hung_up()

    def take(events: Sequence[Event]) -> bool:
        raise AssertionError("it is compressed")

    async with answered(answer) as response:
        pieces = response.events()
        assert numbers(await anext(pieces)) == [0]
        response.offer_to(take)
        with pytest.raises(ProviderFailure) as caught:
            await anext(pieces)
    assert caught.value.kind is FailureKind.CUT


async def test_reading_goes_on_when_more_was_taken_than_is_kept_unread() -> None:
    long = b"data: %b\n\n" % (b"x" * 100_000)

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True) + event(0))
        await asyncio.sleep(0.05)
        for _ in range(20):
            await connection.send(chunk(long))
            await asyncio.sleep(0.005)
        await connection.send(chunk(b""))

    taken: list[bytes] = []

    def take(events: Sequence[Event]) -> bool:
        taken.extend(each.data for each in events)
        return True

    async with answered(answer) as response, asyncio.timeout(5):
        pieces = response.events()
        await anext(pieces)
        response.offer_to(take)
        read = [each.data async for piece in pieces for each in piece]
    assert len(read) + len(taken) == 20
    assert {*map(len, read), *map(len, taken)} == {100_000}


async def test_what_taking_raises_is_raised_where_the_stream_is_read(surroundings: Surroundings) -> None:
    def take(events: Sequence[Event]) -> bool:
        raise LookupError("not here")

    async with answered(count_to_sixty, surroundings) as response:
        pieces = response.events()
        await anext(pieces)
        response.offer_to(take)
        with pytest.raises(LookupError, match="not here"):
            async for _ in pieces:
                pass


async def test_events_that_are_taken_are_no_silence() -> None:
    """The stream is longer than `idle`; what ends it is the silence after its last event."""

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True) + event(0))
        for number in range(1, 9):
            await asyncio.sleep(0.1)
            await connection.send(event(number))
        await connection.hung_up()

    seen: list[int] = []

    def take(events: Sequence[Event]) -> bool:
        seen.extend(numbers(events))
        return True

    impatient = CallTimeouts(connect=5, first_event=5, idle=0.5, total=10)
    async with answered(answer, timeouts=impatient) as response:
        pieces = response.events()
        await anext(pieces)
        response.offer_to(take)
        with pytest.raises(ProviderFailure) as caught:
            await anext(pieces)
    assert seen == list(range(1, 9))
    assert (caught.value.kind, caught.value.timeout) == (FailureKind.TIMEOUT, "idle")


class Taker:
    """Takes everything."""

    def __call__(self, events: Sequence[Event]) -> bool:
        return True


@pytest.mark.parametrize("how", ["read as events", "read whole", "abandoned"])
async def test_who_took_events_is_not_kept_by_the_connection(surroundings: Surroundings, how: str) -> None:
    """Nor in a circle, which would stay until the collector comes by."""
    tls, spent = surroundings
    gc.disable()
    try:
        async with serve(count_to_sixty, tls.server) as server, client(spent, tls) as upstream:
            taker = Taker()
            kept = weakref.ref(taker)
            async with upstream.send("acme", UpstreamRequest(server.url, {}, b"{}"), PATIENT) as response:
                if how == "read whole":
                    response.offer_to(taker)
                    await response.read()
                else:
                    pieces = response.events()
                    await anext(pieces)
                    response.offer_to(taker)
                    if how == "read as events":
                        async for _ in pieces:
                            pass
                    await pieces.aclose()
                    del pieces
            del taker
            assert kept() is None
    finally:
        gc.enable()


async def test_a_later_answer_on_the_same_connection_is_not_offered() -> None:
    counts: list[int] = []
    async with serve(count_to_sixty) as server, client(idle, Tls()) as upstream:
        for _ in range(2):
            async with upstream.send("acme", UpstreamRequest(server.url, {}, b"{}"), PATIENT) as response:
                pieces = response.events()
                await anext(pieces)
                if not counts:
                    response.offer_to(lambda events: True)
                counts.append(len([each async for piece in pieces for each in piece]))
    assert len(server.connections) == 1
    assert counts[0] < counts[1] == 60
