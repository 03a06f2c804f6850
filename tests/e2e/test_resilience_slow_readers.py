"""A client that stops reading stops the provider too: nobody in between keeps what it does not take."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import pytest_asyncio

from tests.e2e.calling import configuration, question, until
from tests.e2e.hanging_up import Asked, grpc_call, http_1, http_2
from tests.e2e.running import Gateway, start_gateway
from tests.e2e.seen import look
from tests.fakes import chat
from tests.fakes.wire import Connection, Request, Server, chunk, head, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAMS = 20
PIECE = 16 * 1024
MEBIBYTE = 1024 * 1024
PROTOCOLS: Mapping[str, Callable[[Gateway, Mapping[str, Any]], AbstractAsyncContextManager[Asked]]] = MappingProxyType(
    {"http/1.1": http_1, "http/2": http_2, "grpc": grpc_call}
)


@dataclass(frozen=True, slots=True)
class Scene:
    """A gateway and its provider."""

    gateway: Gateway
    provider: Server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(short_dir: Callable[[], Path]) -> AsyncIterator[Scene]:
    """Run a gateway of one worker in front of a provider that never stops talking."""

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True))
        while True:
            await connection.send(chunk(chat.content("x" * PIECE)))
            await asyncio.sleep(0)

    async with serve(answer) as provider:
        config = configuration({"p": {"base_url": provider.url}}, {"m": ["p"]})
        gateway = await asyncio.to_thread(start_gateway, short_dir(), config)
        yield Scene(gateway, provider)
        assert await asyncio.to_thread(gateway.stop) == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_clients_that_do_not_read_do_not_fill_memory(scene: Scene, protocol: str) -> None:
    pids = {"worker": next(iter(scene.gateway.workers.values())), "envoy": scene.gateway.envoy}
    before = {name: look(pid).rss for name, pid in pids.items()}
    seen_before = len(scene.provider.connections)
    async with AsyncExitStack() as stack:
        for _ in range(STREAMS):
            await stack.enter_async_context(PROTOCOLS[protocol](scene.gateway, question("m", stream=True)))
        await until(lambda: len(scene.provider.connections) == seen_before + STREAMS)
        streams = scene.provider.connections[seen_before:]
        sent = await standstill(streams)
        grown = {name: (look(pid).rss - before[name]) / STREAMS / MEBIBYTE for name, pid in pids.items()}
    print(f"MiB for each stream: {grown}; providers had sent {sent / STREAMS / MEBIBYTE:.1f}")
    assert grown["worker"] < 3
    assert grown["envoy"] < 3
    await until(lambda: not any(stream.open for stream in streams))


async def standstill(streams: Sequence[Connection]) -> int:
    """Wait until no provider can send any more, and return the bytes that all have sent."""
    async with asyncio.timeout(60):
        while True:
            before = sum(stream.sent for stream in streams)
            await asyncio.sleep(0.7)
            after = sum(stream.sent for stream in streams)
            if before == after:
                return after


async def test_a_client_that_reads_on_gets_the_rest(scene: Scene) -> None:
    seen_before = len(scene.provider.connections)
    async with http_1(scene.gateway, question("m", stream=True)) as asked:
        await until(lambda: len(scene.provider.connections) > seen_before)
        stream = scene.provider.connections[-1]
        stood_at = await standstill([stream])
        text = bytearray()
        while stream.sent < stood_at + MEBIBYTE:
            text += await asked.reader.read(MEBIBYTE)
    assert text.count(b"x" * PIECE) > 10
