"""A client that hangs up stops the provider at once, whenever and however it does, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc
import pytest
import pytest_asyncio

from service import edge
from tests.e2e.calling import ask, client_of, configuration, question, until
from tests.e2e.conftest import StartGateway
from tests.e2e.hanging_up import Asked, grpc_call, http_1, http_2
from tests.e2e.running import Gateway, start_gateway
from tests.e2e.seen import Seen, look
from tests.fakes import chat
from tests.fakes.openai import chunk as openai_chunk
from tests.fakes.openai import completion
from tests.fakes.wire import Connection, Request, Server, chunk, event, head, serve, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOON_S = 0.5
"""Far above the few milliseconds that it takes, for machines that have other things to do."""

Ask = Callable[[Gateway, Mapping[str, Any]], AbstractAsyncContextManager[Asked]]
PROTOCOLS: Mapping[str, Ask] = MappingProxyType({"http/1.1": http_1, "http/2": http_2, "grpc": grpc_call})

STREAMED = ("before_headers", "before_content", "in_mid_stream", "while_streaming", "in_the_tool_loop")
UNARY = ("before_headers", "in_mid_body", "in_the_tool_loop")


@dataclass(frozen=True, slots=True)
class Scene:
    """A gateway, its provider, and where the provider tells that it has come to the point where it waits."""

    gateway: Gateway
    provider: Server
    reached: asyncio.Queue[Connection]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(short_dir: Callable[[], Path]) -> AsyncIterator[Scene]:
    """Run a gateway of one worker in front of one provider that waits where it is told to."""
    reached: asyncio.Queue[Connection] = asyncio.Queue()

    async def answer(connection: Connection, request: Request) -> None:
        body = request.json()
        stage = body["messages"][0]["content"]
        if stage == "nowhere":
            await chat.answer(connection, request)
            return
        if stage == "in_the_tool_loop" and len(body["messages"]) == 1:
            await connection.send(calls_tool(bool(body.get("stream"))))
            return
        await connection.send(before(stage))
        reached.put_nowait(connection)
        while stage == "while_streaming":
            await connection.send(chunk(chat.content("word ")))
            await asyncio.sleep(0.002)
        await connection.hung_up()

    async with serve(answer) as provider:
        config = configuration({"p": {"base_url": provider.url}}, {"m": ["p"]})
        gateway = await asyncio.to_thread(start_gateway, short_dir(), config)
        yield Scene(gateway, provider, reached)
        assert await asyncio.to_thread(gateway.stop) == 0
        assert [line for line in gateway.log.splitlines() if "internal error" in line] == []


def before(stage: str) -> bytes:
    """Return what the provider sends before it waits."""
    stream = head(200, "text/event-stream", chunked=True) + chunk(chat.opening())
    match stage:
        case "before_content":
            return stream
        case "in_mid_stream" | "while_streaming":
            return stream + chunk(chat.content("Hello"))
        case "in_mid_body":
            return whole(200, chat.answer_body())[:-20]
    return b""


def calls_tool(stream: bool) -> bytes:
    """Return an answer that calls the gateway's clock."""
    function = {"name": "gateway_datetime", "arguments": "{}"}
    call = {"id": "call_1", "type": "function", "function": function}
    if not stream:
        message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "tool_calls"}
        return whole(200, completion(choices=[choice]))
    events = (openai_chunk({"tool_calls": [{"index": 0, **call}]}), openai_chunk({}, "tool_calls"))
    body = b"".join(event(each.decode()) for each in events) + chat.done()
    return whole(200, body, content_type="text/event-stream")


def asking(stage: str, stream: bool) -> Mapping[str, Any]:
    tools = {"tools": [{"type": "gateway:datetime"}]} if stage == "in_the_tool_loop" else {}
    return question("m", stage, stream=stream, **tools)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("stage", "stream"),
    [(stage, True) for stage in STREAMED] + [(stage, False) for stage in UNARY],
    ids=[f"stream {stage}" for stage in STREAMED] + [f"unary {stage}" for stage in UNARY],
)
async def test_hanging_up_stops_the_provider(scene: Scene, stage: str, stream: bool, protocol: str) -> None:
    async with PROTOCOLS[protocol](scene.gateway, asking(stage, stream)) as asked:
        connection = await scene.reached.get()
        await asyncio.sleep(0.02)
        assert connection.open
        left_at = time.perf_counter()
        await asked.hang_up()
        took = await gone(connection) - left_at
    print(f"{took * 1000:.1f} ms")
    assert took < SOON_S


async def gone(connection: Connection) -> float:
    """Wait until the gateway has closed its connection, and return when it did."""
    await until(lambda: connection.hung_up_at is not None)
    assert connection.hung_up_at is not None
    return connection.hung_up_at


@pytest.mark.parametrize(("stage", "stream"), [("before_headers", False), ("in_the_tool_loop", True)])
async def test_a_passed_grpc_deadline_stops_the_provider(scene: Scene, stage: str, stream: bool) -> None:
    started = time.perf_counter()
    async with grpc_call(scene.gateway, asking(stage, stream), timeout_s=1.0) as asked:
        connection = await scene.reached.get()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked.first_message()
        took = await gone(connection) - started
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # The gateway answers before the client gives up, so the client reads who was late.
    assert "provider p took too long" in str(caught.value.details())
    assert took < 1.0 + SOON_S


@pytest.mark.parametrize(
    ("stage", "stream"), [("before_headers", False), ("before_headers", True), ("in_mid_body", False)]
)
async def test_a_passed_request_timeout_is_a_504_and_stops_the_provider(scene: Scene, stage: str, stream: bool) -> None:
    started = time.perf_counter()
    async with client_of(scene.gateway) as client:
        answer = await ask(client, asking(stage, stream), **{"x-request-timeout": "0.3"})
        connection = await scene.reached.get()
        took = await gone(connection) - started
    assert answer.error is not None
    assert (answer.status, answer.error["code"]) == (504, "upstream_timeout")
    assert 0.25 < took < 0.3 + SOON_S


async def test_a_request_timeout_in_mid_stream_ends_it_with_an_error(scene: Scene) -> None:
    async with client_of(scene.gateway) as client:
        answer = await ask(client, asking("while_streaming", True), **{"x-request-timeout": "0.3"})
        await gone(await scene.reached.get())
    assert answer.error is not None
    assert (answer.status, answer.error["code"]) == (200, "upstream_timeout")
    assert not answer.done


async def test_two_thousand_abandoned_streams_leave_nothing_behind(scene: Scene) -> None:
    await abandon(scene, 200)
    first = await settled(scene)
    await abandon(scene, 2000)
    last = await settled(scene)
    print(f"before: {first}; after: {last}")
    assert open_connections(scene.provider) == 0
    assert last.sockets <= first.sockets + 5
    assert last.rss < first.rss * 1.05 + 4 * 1024 * 1024
    async with client_of(scene.gateway) as client:
        assert (await ask(client, question("m", "nowhere", stream=True))).text == chat.TEXT


async def abandon(scene: Scene, count: int) -> None:
    """Begin streams, fifty at a time, and leave each in the middle of its text."""

    async def begin_and_leave(stage: str) -> None:
        async with http_1(scene.gateway, asking(stage, True)) as asked:
            await asked.reader.readuntil(b"Hello")

    for _ in range(count // 50):
        await asyncio.gather(*(begin_and_leave("in_mid_stream") for _ in range(50)))
    while not scene.reached.empty():
        scene.reached.get_nowait()


async def settled(scene: Scene) -> Seen:
    """Wait until nothing is in flight, and look at the worker."""
    await until(lambda: open_connections(scene.provider) == 0)
    async with asyncio.timeout(5):
        while True:
            if not await in_flight(scene.gateway):
                break
            await asyncio.sleep(0.05)
    (worker,) = scene.gateway.workers.values()
    return look(worker)


def open_connections(provider: Server) -> int:
    return sum(connection.open for connection in provider.connections)


async def in_flight(gateway: Gateway) -> int:
    names: Sequence[str] = ("http.edge.downstream_rq_active", "cluster.service.upstream_rq_active")
    counts = [await edge.counter(gateway.run_dir / "admin.sock", name) for name in names]
    return sum(count or 0 for count in counts)


async def test_leaving_while_the_gateway_writes_is_no_fault_of_the_gateway(gateway_of: StartGateway) -> None:
    async def talk_on(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", "Connection: close"))
        while True:
            await connection.send(chat.content("word " * 200))

    async with serve(talk_on) as provider:
        gateway = await asyncio.to_thread(gateway_of, configuration({"p": {"base_url": provider.url}}, {"m": ["p"]}))
        for _ in range(10):
            async with http_1(gateway, question("m", stream=True)) as asked:
                await asked.reader.read(1)
                await asked.hang_up()
        await until(lambda: not open_connections(provider))
        assert await asyncio.to_thread(gateway.stop) == 0
    assert [line for line in gateway.log.splitlines() if '"level":"error"' in line] == []
