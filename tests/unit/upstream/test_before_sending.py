"""Who sends is told right before the first byte, on a connection that is made, and may stop it."""

from __future__ import annotations

import pytest

from service.config import Provider
from service.errors import ProviderFailure
from service.providers.dialect import UpstreamRequest
from service.upstream import CallTimeouts, Script, Upstream
from tests.fakes.wire import Connection, Request, refusing_port, serve, whole

TIMEOUTS = CallTimeouts(5.0)


class Stop(Exception):
    """What a caller raises who does not want to send any more."""


def stop() -> None:
    raise Stop


def upstream_of(url: str) -> Upstream:
    return Upstream({"acme": Provider(dialect="openai", base_url=url)}, {})


async def test_it_is_called_before_each_request_and_may_stop_it() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(200, b"{}"))

    async with serve(answer) as server:
        upstream, request = upstream_of(server.url), UpstreamRequest(server.url, {}, b"{}")
        seen: list[int] = []

        async def ask() -> None:
            async with upstream.send("acme", request, TIMEOUTS, lambda: seen.append(len(server.requests))) as response:
                await response.read()

        await ask()
        with pytest.raises(Stop):
            async with upstream.send("acme", request, TIMEOUTS, stop):
                raise AssertionError("it was sent")
        await ask()
        await upstream.close()
    assert seen == [0, 1]
    # Neither a new nor a kept connection is lost by it.
    assert len(server.connections) == 1


async def test_it_is_not_called_where_no_connection_is_made() -> None:
    url = f"http://127.0.0.1:{refusing_port()}"
    upstream = upstream_of(url)
    with pytest.raises(ProviderFailure):
        async with upstream.send("acme", UpstreamRequest(url, {}, b"{}"), TIMEOUTS, stop):
            raise AssertionError("it was sent")
    await upstream.close()


async def test_what_is_served_in_process_counts_as_sent() -> None:
    upstream = Upstream({"local": Provider(dialect="simulator")}, {"simulator": lambda _: Script(200, {}, ())})
    with pytest.raises(Stop):
        async with upstream.send("local", UpstreamRequest("", {}, b"{}"), TIMEOUTS, stop):
            raise AssertionError("it was sent")
    await upstream.close()
