"""The client of providers, against a real socket: answers, failures, timeouts, bounds, cancellation."""

from __future__ import annotations

import asyncio
import gzip
import os
import resource
import time
import traceback
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from service.config import Provider
from service.errors import FailureKind, GatewayError, ProviderFailure
from service.providers.dialect import UpstreamRequest
from service.upstream import CallTimeouts, Response, Upstream
from tests.fakes.authority import Authority
from tests.fakes.wire import Answer, Connection, Request, Server, chunk, event, head, refusing_port, serve, whole

PATIENT = CallTimeouts(connect=5, first_event=5, idle=5, total=10)
SECRET = "top-secret-key"


def post(url: str, body: bytes = b"{}") -> UpstreamRequest:
    return UpstreamRequest(url, {"authorization": f"Bearer {SECRET}", "content-type": "application/json"}, body)


def provider(**settings: Any) -> Provider:
    return Provider(dialect="openai", base_url="http://unused.example", **settings)


@asynccontextmanager
async def client(**settings: Any) -> AsyncIterator[Upstream]:
    upstream = Upstream({"acme": provider(**settings)}, {})
    try:
        yield upstream
    finally:
        await upstream.close()


async def data(response: Response) -> list[bytes]:
    return [found.data async for events in response.events() for found in events]


async def failure(
    answer: Answer, read: Callable[[Response], Awaitable[object]], timeouts: CallTimeouts = PATIENT, **settings: Any
) -> ProviderFailure:
    """What reading an answer raises."""
    async with client(**settings) as upstream, serve(answer) as server:
        with pytest.raises(ProviderFailure) as caught:
            async with upstream.send("acme", post(f"{server.url}/?key={SECRET}"), timeouts) as response:
                await read(response)
    assert_discreet(caught.value)
    return caught.value


def assert_discreet(error: ProviderFailure) -> None:
    assert "acme" in error.message
    for told in (SECRET, "127.0.0.1", "localhost", "example", "http://"):
        assert told not in error.message
    assert SECRET not in "".join(traceback.format_exception(error))


async def whole_body(response: Response) -> bytes:
    return await response.read()


async def test_a_unary_call() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(200, {"ok": True}, "X-Request-Id: 7"))

    async with (
        client() as upstream,
        serve(answer) as server,
        upstream.send("acme", post(f"{server.url}/v1/chat?a=%2F", b'{"a": 1}'), PATIENT) as response,
    ):
        assert (response.status, response.headers["x-request-id"]) == (200, "7")
        assert await response.read() == b'{"ok": true}'

    request = server.requests[0]
    assert (request.method, request.target, request.body) == ("POST", "/v1/chat?a=%2F", b'{"a": 1}')
    assert request.headers["content-length"] == "8"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == f"Bearer {SECRET}"
    assert request.headers["user-agent"] == "chat-gateway"
    assert "cookie" not in request.headers


async def test_a_stream_comes_as_it_is_sent() -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True))
        while (text := await told.get()) != "end":
            await connection.send(chunk(event(text)))
        await connection.send(chunk(b""))

    async with (
        client() as upstream,
        serve(answer) as server,
        upstream.send("acme", post(server.url), PATIENT) as response,
    ):
        events = response.events()
        for text in ("a", "b", "c"):
            told.put_nowait(text)
            assert [found.data for found in await anext(events)] == [text.encode()]
        told.put_nowait("end")
        with pytest.raises(StopAsyncIteration):
            await anext(events)


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
async def test_a_stream_in_pieces_of_any_size(size: int) -> None:
    stream = event("a") + b": ping\r\n\r\n" + event("\u2028é") + event("c")

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", "Connection: close"))
        for at in range(0, len(stream), size):
            await connection.send(stream[at : at + size])
            await asyncio.sleep(0)
        connection.close()

    async with (
        client() as upstream,
        serve(answer) as server,
        upstream.send("acme", post(server.url), PATIENT) as response,
    ):
        assert await data(response) == [b"a", "\u2028é".encode(), b"c"]


async def test_a_connection_is_used_again_when_its_answer_was_read() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        if "stream" in request.target:
            await connection.send(head(200, "text/event-stream", chunked=True) + chunk(event("a")) + chunk(b""))
        else:
            await connection.send(whole(500, {}))

    async with client() as upstream, serve(answer) as server:
        for path in ("/stream", "/", "/stream", "/"):
            async with upstream.send("acme", post(server.url + path), PATIENT) as response:
                await (data(response) if path == "/stream" else response.read())

    assert (len(server.requests), len(server.connections)) == (4, 1)


async def test_a_connection_that_the_provider_closed_meanwhile_is_not_used_again() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(200, {}))
        connection.close()

    async with client() as upstream, serve(answer) as server:
        for _ in range(3):
            async with upstream.send("acme", post(server.url), PATIENT) as response:
                assert await response.read() == b"{}"
            await asyncio.sleep(0.02)

    assert len(server.connections) == 3


@pytest.mark.parametrize("status", [302, 307, 401, 429, 500, 529])
async def test_any_status_is_an_answer(status: int) -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(status, {"error": "x"}, "Location: /other", "Retry-After: 3"))

    async with (
        client() as upstream,
        serve(answer) as server,
        upstream.send("acme", post(server.url), PATIENT) as response,
    ):
        assert (response.status, response.headers["retry-after"]) == (status, "3")
        assert await response.read() == b'{"error": "x"}'
    assert len(server.requests) == 1


BODIES = {
    "HTTP/1.0, ended by closing": b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{}",
    "HTTP/1.1, ended by closing": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{}",
    "after informational answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    + whole(200, b"{}"),
    "chunked": head(200, "application/json", chunked=True) + chunk(b"{") + chunk(b"}") + chunk(b""),
    "compressed": whole(200, gzip.compress(b"{}"), "Content-Encoding: gzip"),
    "long headers": whole(200, b"{}", "Content-Security-Policy: " + "x" * 20_000),
}


@pytest.mark.parametrize("case", BODIES)
async def test_bodies_of_every_framing(case: str) -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(BODIES[case])
        connection.close()

    async with (
        client() as upstream,
        serve(answer) as server,
        upstream.send("acme", post(server.url), PATIENT) as response,
    ):
        assert (response.status, await response.read()) == (200, b"{}")


async def test_a_compressed_stream() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        packed = gzip.compress(event("a") + event("b"))
        await connection.send(head(200, "text/event-stream", "Content-Encoding: gzip", chunked=True))
        await connection.send(chunk(packed[:15]) + chunk(packed[15:]) + chunk(b""))

    async with (
        client() as upstream,
        serve(answer) as server,
        upstream.send("acme", post(server.url), PATIENT) as response,
    ):
        assert await data(response) == [b"a", b"b"]


async def test_a_large_request_is_sent_whole() -> None:
    body = b"x" * 5_000_000

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(200, {"length": len(request.body)}))

    async with client() as upstream, serve(answer) as server:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            async with upstream.send("acme", post(server.url, body), PATIENT) as response:
                assert await response.read() == b'{"length": 5000000}'
    assert server.requests[0].headers["content-length"] == "5000000"


HEADS: dict[str, tuple[bytes, FailureKind]] = {
    "reset": (b"", FailureKind.CONNECTION),
    "reset in the headers": (b"HTTP/1.1 200 OK\r\nContent-", FailureKind.CONNECTION),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", FailureKind.MALFORMED),
    "two lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", FailureKind.MALFORMED),
    "endless headers": (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 200_000, FailureKind.MALFORMED),
}


@pytest.mark.parametrize("case", HEADS)
async def test_no_answer(case: str) -> None:
    sent, kind = HEADS[case]

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(sent)
        await asyncio.sleep(0.02)
        connection.reset()

    assert (await failure(answer, whole_body)).kind is kind


async def test_a_connection_closed_without_an_answer() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        connection.close()

    error = await failure(answer, whole_body)

    assert (error.kind, error.message) == (
        FailureKind.CONNECTION,
        "acme closed the connection without an answer",
    )


async def test_nobody_listens() -> None:
    async with client() as upstream:
        with pytest.raises(ProviderFailure) as caught:
            async with upstream.send("acme", post(f"http://127.0.0.1:{refusing_port()}/?key={SECRET}"), PATIENT):
                pass
    assert (caught.value.kind, caught.value.message) == (
        FailureKind.CONNECTION,
        "the connection to acme failed: Connection refused",
    )


async def test_an_unknown_host() -> None:
    async with client() as upstream:
        with pytest.raises(ProviderFailure) as caught:
            async with upstream.send("acme", post(f"http://no-such-host.invalid/?key={SECRET}"), PATIENT):
                pass
    assert (caught.value.kind, caught.value.message) == (FailureKind.CONNECTION, "the host name of acme was not found")


CUT_BODIES = {
    "shorter than its length": head(200, "application/json", "Content-Length: 100") + b'{"a": 1}',
    "without its last chunk": head(200, "application/json", chunked=True) + chunk(b'{"a": 1}'),
    "with a bad chunk": head(200, "application/json", chunked=True) + chunk(b"{}") + b"zzz\r\n",
    "not compressed as it says": whole(200, b"plain text", "Content-Encoding: gzip"),
}


@pytest.mark.parametrize("read", [whole_body, data])
@pytest.mark.parametrize("case", CUT_BODIES)
async def test_a_broken_body(case: str, read: Callable[[Response], Awaitable[object]]) -> None:
    async def answer(connection: Connection, request: Request) -> None:
        headers, _, body = CUT_BODIES[case].partition(b"\r\n\r\n")
        await connection.send(headers + b"\r\n\r\n")
        await asyncio.sleep(0.02)
        await connection.send(body)
        connection.close()

    error = await failure(answer, read)

    assert (error.kind, error.message) == (FailureKind.CUT, "the answer of acme broke off")


async def test_a_stream_that_is_reset_after_its_first_event() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True) + chunk(event("a")))
        await asyncio.sleep(0.02)
        connection.reset()

    seen: list[bytes] = []

    async def read(response: Response) -> None:
        async for events in response.events():
            seen.extend(found.data for found in events)

    assert (await failure(answer, read)).kind is FailureKind.CUT
    assert seen == [b"a"]


async def stalled(connection: Connection, request: Request) -> None:
    await connection.hung_up()


async def stalled_after_headers(connection: Connection, request: Request) -> None:
    await connection.send(head(200, "text/event-stream"))
    await connection.hung_up()


async def only_comments(connection: Connection, request: Request) -> None:
    await connection.send(head(200, "text/event-stream"))
    while True:
        await connection.send(b": ping\n\n")
        await asyncio.sleep(0.01)


async def stalled_after_an_event(connection: Connection, request: Request) -> None:
    await connection.send(head(200, "text/event-stream") + event("a") + b"data: half")
    await connection.hung_up()


async def endless(connection: Connection, request: Request) -> None:
    await connection.send(head(200, "text/event-stream"))
    while True:
        await connection.send(event("a"))
        await asyncio.sleep(0.01)


TIMEOUTS: list[tuple[Answer, Callable[[Response], Awaitable[object]], CallTimeouts, str, str]] = [
    (stalled, data, CallTimeouts(5, first_event=0.1, idle=5), "first_event", "acme sent no event within 0.1 s"),
    (stalled, whole_body, CallTimeouts(5, response=0.1), "response", "acme did not answer within 0.1 s"),
    (stalled, whole_body, CallTimeouts(5, response=5, total=0.1), "total", "acme did not finish within 0.1 s"),
    (stalled_after_headers, data, CallTimeouts(5, first_event=0.1), "first_event", "acme sent no event within 0.1 s"),
    (stalled_after_headers, whole_body, CallTimeouts(5, response=0.1), "response", "acme did not answer within 0.1 s"),
    (only_comments, data, CallTimeouts(5, first_event=0.1, idle=5), "first_event", "acme sent no event within 0.1 s"),
    (stalled_after_an_event, data, CallTimeouts(5, first_event=3, idle=0.1), "idle", "acme sent nothing for 0.1 s"),
    (endless, data, CallTimeouts(5, first_event=3, idle=3, total=0.1), "total", "acme did not finish within 0.1 s"),
    (endless, data, CallTimeouts(5, first_event=0.05, total=0.1), "total", "acme did not finish within 0.1 s"),
]


async def test_a_timeout_that_is_far_off_when_it_begins() -> None:
    """Its timer is set later."""
    async with client() as upstream, serve(stalled) as server:
        with pytest.raises(ProviderFailure) as caught:
            async with upstream.send("acme", post(server.url), CallTimeouts(5, response=3.2)) as response:
                await whole_body(response)
    assert caught.value.message == "acme did not answer within 3.2 s (response timeout)"


@pytest.mark.parametrize(("answer", "read", "timeouts", "name", "text"), TIMEOUTS)
async def test_what_takes_too_long(
    answer: Answer, read: Callable[[Response], Awaitable[object]], timeouts: CallTimeouts, name: str, text: str
) -> None:
    async with client() as upstream, serve(answer) as server:
        began = time.perf_counter()
        with pytest.raises(ProviderFailure) as caught:
            async with upstream.send("acme", post(server.url), timeouts) as response:
                await read(response)
        took = time.perf_counter() - began
        await asyncio.sleep(0.05)

        assert not server.connections[0].open or answer in (only_comments, endless)
    assert (caught.value.kind, caught.value.timeout) == (FailureKind.TIMEOUT, name)
    assert caught.value.message == f"{text} ({name} timeout)"
    assert 0.09 < took < 0.6


async def test_a_connection_that_is_never_made(unanswering_port: int) -> None:
    async with client() as upstream:
        with pytest.raises(ProviderFailure) as caught:
            async with upstream.send("acme", post(f"https://127.0.0.1:{unanswering_port}/"), CallTimeouts(0.1)):
                pass
    assert (caught.value.kind, caught.value.timeout) == (FailureKind.TIMEOUT, "connect")
    assert caught.value.message == "acme could not be connected to within 0.1 s (connect timeout)"


@pytest.fixture
async def unanswering_port() -> AsyncIterator[int]:
    """A port where connections are taken and then nothing: a TLS handshake never ends."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(silent, "127.0.0.1", 0)
    yield listener.sockets[0].getsockname()[1]
    listener.close()


async def test_bytes_that_are_no_event_keep_a_stream_alive() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream") + event("a"))
        for _ in range(10):
            await asyncio.sleep(0.04)
            await connection.send(b": ping\n\n")
        await connection.send(event("b"))
        connection.close()

    async with client() as upstream, serve(answer) as server:
        timeouts = CallTimeouts(5, first_event=5, idle=0.2)
        async with upstream.send("acme", post(server.url), timeouts) as response:
            assert await data(response) == [b"a", b"b"]


async def test_a_slow_reader_is_not_the_providers_idleness() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True))
        for text in ("a", "b"):
            await connection.send(chunk(event(text)))
            await asyncio.sleep(0.05)
        await connection.send(chunk(b""))

    async with (
        client() as upstream,
        serve(answer) as server,
        upstream.send("acme", post(server.url), CallTimeouts(5, first_event=5, idle=0.1)) as response,
    ):
        seen: list[bytes] = []
        async for events in response.events():
            seen.extend(found.data for found in events)
            await asyncio.sleep(0.3)
    assert seen == [b"a", b"b"]


async def test_a_provider_waits_for_a_reader_that_does_not_read() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream"))
        while connection.sent < 200_000_000:
            await connection.send(event("x" * 65_000))

    async with (
        client() as upstream,
        serve(answer) as server,
        upstream.send("acme", post(server.url), PATIENT) as response,
    ):
        await anext(response.events())
        await asyncio.sleep(0.3)
        # What the two sockets' kernel buffers hold, and no more.
        assert server.connections[0].sent < 20_000_000


async def test_an_answer_that_is_too_large() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(200, b"x" * 2000))

    error = await failure(answer, whole_body, max_response_bytes=1000)

    assert (error.kind, error.message) == (FailureKind.MALFORMED, "the answer of acme is larger than 1000 bytes")


async def test_an_answer_of_just_the_largest_size() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(200, b"x" * 1000))

    async with (
        client(max_response_bytes=1000) as upstream,
        serve(answer) as server,
        upstream.send("acme", post(server.url), PATIENT) as response,
    ):
        assert len(await response.read()) == 1000


@pytest.mark.parametrize("read", [whole_body, data])
async def test_an_answer_that_is_small_only_while_compressed(read: Callable[[Response], Awaitable[object]]) -> None:
    bomb = gzip.compress(b"data: " + b"x" * 50_000_000)

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(200, bomb, "Content-Encoding: gzip"))

    error = await failure(answer, read, max_response_bytes=100_000, max_event_bytes=100_000)

    assert error.kind is FailureKind.MALFORMED


async def test_an_event_that_is_too_large() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream") + event("a") + b"data: ")
        while connection.open:
            await connection.send(b"x" * 1000)

    error = await failure(answer, data, max_event_bytes=10_000)

    assert (error.kind, error.message) == (FailureKind.MALFORMED, "acme sent an event of more than 10000 bytes")


async def test_an_errors_body_is_cut_short_instead() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(500, b"x" * 3_000_000))

    async with (
        client() as upstream,
        serve(answer) as server,
        upstream.send("acme", post(server.url), PATIENT) as response,
    ):
        assert len(await response.read()) == 1024 * 1024


async def read_on(response: Response) -> None:
    async for _ in response.events():
        pass


async def dawdle(response: Response) -> None:
    await anext(response.events())
    await asyncio.sleep(10)


@pytest.mark.parametrize(
    ("answer", "use"),
    [
        (stalled, whole_body),
        (stalled_after_headers, whole_body),
        (stalled_after_headers, read_on),
        (stalled_after_an_event, read_on),
        (stalled_after_an_event, dawdle),
    ],
    ids=["for headers", "for a body", "for the first event", "for the next event", "in between"],
)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_cancelled_call_stops_the_provider_at_once(
    answer: Answer, use: Callable[[Response], Awaitable[object]], tls: bool, authority: Authority
) -> None:
    async with (
        client(ca_file=str(authority.file)) as upstream,
        serve(answer, authority.server if tls else None) as server,
    ):

        async def call() -> None:
            async with upstream.send("acme", post(server.url), PATIENT) as response:
                await use(response)

        task = asyncio.create_task(call())
        await settled(server)
        cancelled_at = time.perf_counter()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0.1)

        closed_at = server.connections[0].hung_up_at
        assert closed_at is not None
        assert closed_at - cancelled_at < 0.05


async def settled(server: Server) -> None:
    """Wait until the request has come and what is answered at once has gone."""
    while not server.requests:  # noqa: ASYNC110 - a deadline is pytest's
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_leaving_a_stream_early_stops_the_provider_at_once(tls: bool, authority: Authority) -> None:
    async with (
        client(ca_file=str(authority.file)) as upstream,
        serve(stalled_after_an_event, authority.server if tls else None) as server,
    ):
        async with upstream.send("acme", post(server.url), PATIENT) as response:
            await anext(response.events())
            left_at = time.perf_counter()
        await asyncio.sleep(0.1)

        closed_at = server.connections[0].hung_up_at
        assert closed_at is not None
        assert closed_at - left_at < 0.05


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


async def test_a_server_of_the_configured_authority_is_trusted(authority: Authority) -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(200, {}))

    async with (
        client(ca_file=str(authority.file)) as upstream,
        serve(answer, authority.server) as server,
        upstream.send("acme", post(server.url), PATIENT) as response,
    ):
        assert await response.read() == b"{}"


async def test_another_server_is_not(authority: Authority) -> None:
    async with client() as upstream, serve(stalled, authority.server) as server:
        with pytest.raises(ProviderFailure) as caught:
            async with upstream.send("acme", post(server.url), PATIENT):
                pass
    assert (caught.value.kind, caught.value.message) == (
        FailureKind.CONNECTION,
        "the TLS handshake with acme failed: unable to get local issuer certificate",
    )


async def test_a_file_without_certificates_is_noticed_at_the_start(tmp_path: Path) -> None:
    empty = tmp_path / "ca.pem"
    empty.write_text("")
    files: Sequence[Path] = (empty, tmp_path / "missing.pem")

    for file in files:
        with pytest.raises(OSError):  # noqa: PT011 - ssl.SSLError and FileNotFoundError have no more in common
            Upstream({"acme": provider(ca_file=str(file))}, {})


async def test_that_this_machine_has_no_files_left_is_no_failure_of_the_providers() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(200, {}))

    async with client() as upstream, serve(answer) as server:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
        try:
            with pytest.raises(GatewayError) as caught:
                async with upstream.send("acme", post(server.url), PATIENT):
                    pass
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        async with upstream.send("acme", post(server.url), PATIENT) as response:
            assert response.status == 200
    assert (caught.value.code, caught.value.retry_after) == ("overloaded", 1)
