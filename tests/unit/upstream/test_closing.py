"""Providers that close, half or whole, at once or later: what they said is kept, and nothing else is taken for it."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from service.errors import FailureKind, ProviderFailure
from service.providers.dialect import UpstreamRequest
from service.upstream import CallTimeouts, Upstream
from tests.fakes.authority import Authority
from tests.fakes.wire import Connection, Request, chunk, head, serve, whole
from tests.unit.upstream.streams import PATIENT, Tls, client, idle


@pytest.fixture
def secure(tmp_path: Path) -> Tls:
    """TLS alone."""
    authority = Authority(tmp_path)
    return Tls(authority.server, str(authority.file))


@contextmanager
def closing(answer: bytes, tls: Tls, *, notify: bool) -> Iterator[str]:
    """A provider that sends an answer in one go and closes right behind it, which one in the same loop does later.

    `notify`: with TLS it says that it closes.
    """
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        with suppress(OSError):  # the end
            while True:
                connection, _ = listener.accept()
                with suppress(OSError):
                    if tls.server is not None:
                        connection = tls.server.wrap_socket(connection, server_side=True)
                    connection.recv(65536)
                    connection.sendall(answer)
                    if isinstance(connection, ssl.SSLSocket) and notify:
                        connection.setblocking(False)
                        with suppress(ssl.SSLError):
                            connection.unwrap()
                connection.close()

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield f"{'http' if tls.server is None else 'https'}://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


async def fetch(upstream: Upstream, url: str, timeouts: CallTimeouts = PATIENT, body: bytes = b"{}") -> bytes:
    async with upstream.send("acme", UpstreamRequest(url, {}, body), timeouts) as response:
        return await response.read()


@pytest.mark.parametrize("notify", [False, True])
@pytest.mark.parametrize("framing", ["length", "close"])
@pytest.mark.parametrize("size", [1000, 100_000, 3_000_000])
async def test_a_provider_that_closes_behind_its_answer_has_given_all_of_it(
    size: int, framing: str, notify: bool, tls: Tls
) -> None:
    body = b"x" * size
    fields = (f"Content-Length: {size}",) if framing == "length" else ()
    async with client(idle, tls) as upstream:
        with closing(head(200, "application/json", *fields, "Connection: close") + body, tls, notify=notify) as url:
            for _ in range(3):
                assert await fetch(upstream, url) == body


@pytest.mark.parametrize("framing", ["length", "close"])
async def test_a_stream_that_is_closed_behind_its_end_is_read_to_it_however_slowly(framing: str, tls: Tls) -> None:
    body = b"".join(b"data: %d\n\n" % number for number in range(30_000))
    fields = (f"Content-Length: {len(body)}",) if framing == "length" else ()
    async with client(idle, tls) as upstream:
        with closing(head(200, "text/event-stream", *fields, "Connection: close") + body, tls, notify=True) as url:
            async with upstream.send("acme", UpstreamRequest(url, {}, b"{}"), PATIENT) as response:
                read = 0
                async for events in response.events():
                    assert [event.data for event in events] == [b"%d" % (read + n) for n in range(len(events))]
                    read += len(events)
                    await asyncio.sleep(0.002)
    assert read == 30_000


@pytest.mark.parametrize("size", [100, 100_000])
async def test_what_comes_on_an_idle_connection_is_no_answer(size: int, tls: Tls) -> None:
    """Nobody has read the answer before it, of which so much may be there that reading was paused."""

    async def answer(connection: Connection, request: Request) -> None:
        if request.target == "/unread":
            await connection.send(whole(200, b"x" * size))
            await asyncio.sleep(0.05)
            with suppress(OSError):
                await connection.send(whole(408, b"too late", "Connection: close"))
            connection.close()
        else:
            await connection.send(whole(200, b"fine"))

    async with client(idle, tls) as upstream, serve(answer, tls.server) as server:
        async with upstream.send("acme", UpstreamRequest(server.url + "/unread", {}, b"{}"), PATIENT):
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.1)
        assert await fetch(upstream, server.url + "/next") == b"fine"


@pytest.mark.parametrize("trailer", [b"X-Long: " + b"x" * 200_000, b"X-More: y\r\n" * 20_000])
async def test_trailers_without_end_are_not_read_for_ever(trailer: bytes, tls: Tls) -> None:
    ended = asyncio.Event()

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "application/json", chunked=True) + chunk(b"{}") + b"0\r\n")
        with suppress(OSError):
            for at in range(0, len(trailer), 10_000):
                await connection.send(trailer[at : at + 10_000])
                await asyncio.sleep(0.001)
        await ended.wait()

    async with client(idle, tls) as upstream, serve(answer, tls.server) as server:
        with pytest.raises(ProviderFailure) as caught:
            await fetch(upstream, server.url)
        ended.set()
    assert caught.value.kind is FailureKind.CUT


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (b"", FailureKind.CONNECTION),
        (b"HTTP/1.1 413 Too Large\r\n\r\n{}", b"{}"),
        (b"HTTP/1.1 413 Too Large\r\nContent-Length: 100\r\n\r\n{}", FailureKind.CUT),
    ],
)
async def test_who_sends_no_more_and_reads_no_more_is_not_waited_for(
    answer: bytes, outcome: bytes | FailureKind
) -> None:
    """The request is still on its way, and would be for ever."""
    ended = asyncio.Event()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]  # it can
        writer.write(answer)
        writer.write_eof()
        await ended.wait()
        writer.transport.abort()

    listener = await asyncio.start_server(converse, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
    found: bytes | FailureKind
    try:
        async with client(idle, Tls()) as upstream:
            try:
                found = await fetch(upstream, url, body=bytes(16_000_000))
            except ProviderFailure as failure:
                found = failure.kind
    finally:
        ended.set()
        listener.close()
        await listener.wait_closed()
    assert found == outcome


async def test_a_new_try_has_its_own_time_to_connect(tls: Tls) -> None:
    """A kept connection may take longer than that until it turns out to be gone."""

    async def answer(connection: Connection, request: Request) -> None:
        if request.target == "/second" and connection is server.connections[0]:
            await asyncio.sleep(0.5)
            connection.reset()
        else:
            await connection.send(whole(200, b"fine"))

    async with client(idle, tls) as upstream, serve(answer, tls.server) as server:
        for target in ("/first", "/second"):
            timeouts = CallTimeouts(connect=0.4, response=5)
            assert await fetch(upstream, server.url + target, timeouts) == b"fine"
    assert len(server.connections) == 2


@pytest.mark.parametrize("greeting", [b"", b"220 ready\r\n"], ids=["leaves", "speaks"])
async def test_who_leaves_or_speaks_before_tls_has_begun_is_told_of_at_once(greeting: bytes, secure: Tls) -> None:
    """A worker that is busy sees it before its own first byte is out."""
    logged: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        with suppress(OSError):  # the end
            while True:
                connection, _ = listener.accept()
                if greeting:
                    connection.sendall(greeting)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(1)
                connection.close()

    async def busy() -> None:
        while True:
            time.sleep(0.004)  # noqa: ASYNC251  # so that everything is there by the next turn
            await asyncio.sleep(0)

    thread = threading.Thread(target=talk)
    thread.start()
    working = asyncio.create_task(busy())
    asked: list[str] = []
    try:
        async with client(idle, secure) as upstream:
            url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
            for _ in range(5):
                request = UpstreamRequest(url, {}, b"{}")
                with pytest.raises(ProviderFailure) as caught:
                    async with upstream.send("acme", request, PATIENT, lambda: asked.append("")):
                        pass
                assert caught.value.kind is FailureKind.CONNECTION
    finally:
        working.cancel()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        await asyncio.to_thread(thread.join)  # it reads until the loop has closed its side
    assert (asked, logged) == ([], [])
