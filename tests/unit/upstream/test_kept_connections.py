"""Connections that are kept between calls: what one call leaves behind is never the next one's."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import pytest

from service.config import Provider
from service.errors import FailureKind, ProviderFailure
from service.providers.dialect import UpstreamRequest
from service.upstream import CallTimeouts, Upstream
from tests.fakes.wire import Connection, Request, chunk, event, head, serve, whole

PATIENT = CallTimeouts(connect=5, first_event=5, idle=5, total=10)


@asynccontextmanager
async def client() -> AsyncIterator[Upstream]:
    upstream = Upstream({"acme": Provider(dialect="openai", base_url="http://unused.example")}, {})
    try:
        yield upstream
    finally:
        await upstream.close()


async def fetch(upstream: Upstream, url: str, body: bytes = b"{}", timeouts: CallTimeouts = PATIENT) -> bytes:
    async with upstream.send("acme", UpstreamRequest(url, {}, body), timeouts) as response:
        return await response.read()


@pytest.mark.parametrize("parting", ["closed", "reset"])
async def test_a_kept_connection_that_is_gone_is_replaced(parting: str) -> None:
    """The provider gives up an idle connection just as a request is on its way to it."""

    async def answer(connection: Connection, request: Request) -> None:
        if request.target == "/first" or connection is not server.connections[0]:
            await connection.send(whole(200, {"target": request.target}))
        else:
            connection.close() if parting == "closed" else connection.reset()

    async with client() as upstream, serve(answer) as server:
        await fetch(upstream, server.url + "/first")
        assert await fetch(upstream, server.url + "/second") == b'{"target": "/second"}'

    assert [request.target for request in server.requests] == ["/first", "/second", "/second"]
    assert len(server.connections) == 2


async def test_a_connection_that_was_not_kept_is_not_tried_again() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        connection.close()

    async with client() as upstream, serve(answer) as server:
        with pytest.raises(ProviderFailure) as caught:
            await fetch(upstream, server.url)

    assert caught.value.kind is FailureKind.CONNECTION
    assert len(server.requests) == 1


async def test_a_kept_connection_that_breaks_within_the_answer_is_not_tried_again() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        if request.target == "/first":
            await connection.send(whole(200, {}))
        else:
            await connection.send(b"HTTP/1.1 2")
            connection.close()

    async with client() as upstream, serve(answer) as server:
        await fetch(upstream, server.url + "/first")
        with pytest.raises(ProviderFailure):
            await fetch(upstream, server.url + "/second")

    assert len(server.requests) == 2


async def test_a_kept_connection_that_says_nothing_is_not_tried_again() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        if request.target == "/first":
            await connection.send(whole(200, {}))
        else:
            await connection.hung_up()

    async with client() as upstream, serve(answer) as server:
        await fetch(upstream, server.url + "/first")
        with pytest.raises(ProviderFailure) as caught:
            await fetch(upstream, server.url + "/second", timeouts=CallTimeouts(5, response=0.1))

    assert (caught.value.kind, caught.value.timeout) == (FailureKind.TIMEOUT, "response")
    assert len(server.requests) == 2


async def test_an_answer_left_unread_is_not_the_next_ones() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        if request.target == "/stream":
            stream = b"".join(chunk(event(str(number))) for number in range(50))
            await connection.send(head(200, "text/event-stream", chunked=True) + stream + chunk(b""))
        else:
            await connection.send(whole(200, {"target": request.target}))

    async with client() as upstream, serve(answer) as server:
        for number in range(3):
            async with upstream.send("acme", UpstreamRequest(f"{server.url}/stream", {}, b"{}"), PATIENT):
                await asyncio.sleep(0.02)
            assert await fetch(upstream, f"{server.url}/{number}") == b'{"target": "/%d"}' % number


@pytest.mark.parametrize("pause", [0.0, 0.02], ids=["at once", "later"])
async def test_a_second_answer_to_one_request_is_nobodys(pause: float) -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(200, {"target": request.target}))
        await asyncio.sleep(pause)
        await connection.send(whole(200, b"POISON"))

    async with client() as upstream, serve(answer) as server:
        for number in range(5):
            assert await fetch(upstream, f"{server.url}/{number}") == b'{"target": "/%d"}' % number
            await asyncio.sleep(pause * 2)

    if pause:
        assert len(server.connections) == 5


@pytest.mark.parametrize("size", [10, 3_000_000])
async def test_an_answer_before_the_request_has_gone_ends_the_connection(size: int) -> None:
    """A provider may refuse a request after its head; the rest must not be taken for another request."""
    answered = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(whole(413, {}))
        await answered.wait()
        writer.close()

    connections: list[asyncio.StreamWriter] = []
    listener = await asyncio.start_server(converse, "127.0.0.1", 0)
    for sock in listener.sockets:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    async with client() as upstream:
        request = UpstreamRequest(url, {}, b"x" * size)
        async with upstream.send("acme", request, PATIENT) as response:
            assert (response.status, await response.read()) == (413, b"{}")
        answered.set()
    listener.close()


@pytest.mark.parametrize("body", [b"{}", b"x" * 1_000_000])
async def test_many_calls_at_once_each_read_their_own(body: bytes) -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "application/json", chunked=True))
        for letter in request.target:
            await connection.send(chunk(letter.encode()))
            await asyncio.sleep(0)
        await connection.send(chunk(b""))

    async with client() as upstream, serve(answer) as server:
        for _ in range(3):
            targets = [f"/call/{number}" for number in range(20)]
            answers = await asyncio.gather(*[fetch(upstream, server.url + target, body) for target in targets])
            assert [text.decode() for text in answers] == targets
    assert len(server.connections) <= 20


async def test_a_header_cannot_begin_another() -> None:
    async with client() as upstream:
        request = UpstreamRequest("http://127.0.0.1:1/", {"x-label": "a\r\nx-admin: yes"}, b"{}")
        with pytest.raises(ValueError, match="line break"):
            async with upstream.send("acme", request, PATIENT):
                pass


async def test_a_configured_length_does_not_replace_the_requests_own() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(200, {"headers": dict(request.headers)}))

    async with client() as upstream, serve(answer) as server:
        request = UpstreamRequest(server.url, {"content-length": "999"}, b"{}")
        async with upstream.send("acme", request, PATIENT) as response:
            assert b'"content-length": "2"' in await response.read()


async def left_stream(upstream: Upstream, url: str) -> None:
    """Read a stream's first piece, and leave the rest."""
    request = UpstreamRequest(f"{url}/stream", {}, b"{}")
    async with upstream.send("acme", request, PATIENT) as response, aclosing(response.events()) as pieces:
        await anext(pieces)
        response.leave()


@pytest.mark.parametrize("in_parts", [False, True])
async def test_a_connection_is_kept_when_the_rest_of_a_stream_comes_that_was_left(in_parts: bool) -> None:
    read, sent = asyncio.Event(), asyncio.Event()

    async def answer(connection: Connection, request: Request) -> None:
        if request.target != "/stream":
            await connection.send(whole(200, {"target": request.target}))
            return
        await connection.send(head(200, "text/event-stream", chunked=True) + chunk(event("1")))
        await read.wait()
        for part in (chunk(event("2")), chunk(b"")) if in_parts else (chunk(event("2")) + chunk(b""),):
            await connection.send(part)
            await asyncio.sleep(0.02)
        sent.set()

    async with client() as upstream, serve(answer) as server:
        await left_stream(upstream, server.url)
        assert await fetch(upstream, f"{server.url}/meanwhile") == b'{"target": "/meanwhile"}'
        read.set()
        await sent.wait()
        together = [fetch(upstream, f"{server.url}/{number}") for number in range(2)]
        assert await asyncio.gather(*together) == [b'{"target": "/0"}', b'{"target": "/1"}']
    assert len(server.connections) == 2


@pytest.mark.parametrize(("rest", "patience"), [("much", 60.0), ("late", 0.05), ("malformed", 60.0)])
async def test_a_connection_is_closed_when_the_rest_of_a_stream_is_not_little_and_soon(
    rest: str, patience: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.upstream.pool._REST_S", patience)
    closed = asyncio.Event()

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True) + chunk(event("1")))
        await asyncio.sleep(0.02)
        if rest == "much":
            await connection.send(chunk(bytes(200_000)))
        elif rest == "malformed":
            await connection.send(b"no chunk")
        await connection.hung_up()
        closed.set()

    async with client() as upstream, serve(answer) as server:
        await left_stream(upstream, server.url)
        async with asyncio.timeout(5):
            await closed.wait()
