"""Requests of many pieces arrive whole, and their connection serves the next one, over TLS as well."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from service.config import Provider
from service.loop import EventLoop
from service.providers.dialect import UpstreamRequest
from service.upstream import CallTimeouts, Upstream
from tests.fakes.wire import Connection, Request, serve, whole
from tests.unit.upstream.streams import Tls

TIMEOUTS = CallTimeouts(connect=5, first_event=5, idle=5, total=5)


@pytest.mark.parametrize("size", [200_000, 262_145, 600_000, 2_000_000, 8_000_000])
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, EventLoop])
def test_a_large_body_arrives(loop: Callable[[], asyncio.AbstractEventLoop], secure: bool, size: int, tls: Tls) -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(200, {"n": len(request.body)}))

    async def main() -> None:
        provider = Provider(dialect="openai", base_url="http://unused.example", ca_file=tls.authority)
        upstream = Upstream({"acme": provider}, {})
        async with serve(answer, tls.server if secure else None) as server:
            for _ in range(2):
                request = UpstreamRequest(server.url, {}, bytes(size))
                async with upstream.send("acme", request, TIMEOUTS) as response:
                    assert await response.read() == b'{"n": %d}' % size
            assert len(server.connections) == 1
        await upstream.close()

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())
