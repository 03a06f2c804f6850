"""Limits of keys and of the whole service, over several workers and over several gateways."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
import pytest_asyncio
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from tests.e2e.calling import Answer, ask, client_of, configuration, question, until
from tests.e2e.conftest import StartGateway
from tests.e2e.hanging_up import grpc_call, http_1
from tests.e2e.running import START_S, Gateway, start_gateway, wait_until
from tests.fakes import chat
from tests.fakes.redis_server import BINARY, RedisServer
from tests.fakes.wire import Connection, Request, Server, serve

pytestmark = pytest.mark.asyncio(loop_scope="module")

DURATION = re.compile(r"(\d+h)?(\d+m)?(\d+(\.\d+)?(s|ms))")
WAIT = "Wait"
GIVEN_BACK_S = 0.3
"""Far more than it takes from a client's hanging up until its place is free."""
USED_TOKENS = 29
"""What the fake provider's whole answers say."""
KEYS: Sequence[Mapping[str, Any]] = (
    {"name": "requests", "key": "sk-requests", "requests_per_minute": 5},
    {"name": "streams", "key": "sk-streams", "requests_per_minute": 5},
    {"name": "tokens", "key": "sk-tokens", "tokens_per_minute": 100},
    {"name": "at once", "key": "sk-at-once", "concurrency": 3},
    {"name": "typed", "key": "sk-typed", "requests_per_minute": 1},
)


@dataclass(frozen=True, slots=True)
class Scene:
    """A gateway of two workers, and its provider, which lets requests wait that ask for it."""

    gateway: Gateway
    provider: Server
    go_on: asyncio.Event


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(short_dir: Callable[[], Path]) -> AsyncIterator[Scene]:
    """Run the gateway."""
    go_on = asyncio.Event()
    async with serve(waiting_for(go_on)) as provider:
        config = configuration({"p": {"base_url": provider.url}}, {"m": ["p"]}, {"workers": 2}, KEYS)
        gateway = await asyncio.to_thread(start_gateway, short_dir(), config)
        yield Scene(gateway, provider, go_on)
        go_on.set()
        assert await asyncio.to_thread(gateway.stop) == 0


def waiting_for(go_on: asyncio.Event) -> Callable[[Connection, Request], Any]:
    """Return a provider's behaviour: requests that say WAIT are answered when they may, or hang up."""

    async def answer(connection: Connection, request: Request) -> None:
        if request.json()["messages"][0]["content"] == WAIT:
            gone = asyncio.ensure_future(connection.hung_up())
            may = asyncio.ensure_future(go_on.wait())
            await asyncio.wait((gone, may), return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            may.cancel()
            await asyncio.wait((gone, may))
        if connection.open:
            await chat.answer(connection, request)

    return answer


@pytest.mark.parametrize(("key", "stream"), [("sk-requests", False), ("sk-streams", True)])
async def test_requests_per_minute_over_two_workers(scene: Scene, key: str, stream: bool) -> None:
    async with client_of(scene.gateway, key) as client:
        answers = await asyncio.gather(*(ask(client, question("m", stream=stream)) for _ in range(9)))
    granted = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 429]
    assert (len(granted), len(refused)) == (5, 4)
    assert sorted(int(answer.headers["x-ratelimit-remaining-requests"]) for answer in granted) == [0, 1, 2, 3, 4]
    for answer in answers:
        assert answer.headers["x-ratelimit-limit-requests"] == "5"
        assert DURATION.fullmatch(answer.headers["x-ratelimit-reset-requests"])
    for answer in refused:
        assert_limited(answer)
        assert 1 <= int(answer.headers["retry-after"]) <= 12
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"


def assert_limited(answer: Answer) -> None:
    assert answer.error is not None
    assert answer.body is not None, "nothing of a stream has begun"
    assert (answer.error["type"], answer.error["code"]) == ("rate_limit_error", "rate_limit_exceeded")


async def test_tokens_per_minute_are_settled_by_what_was_used(scene: Scene) -> None:
    async with client_of(scene.gateway, "sk-tokens") as client:
        statuses, left = [], []
        for _ in range(5):
            answer = await ask(client, question("m", max_tokens=20))
            statuses.append(answer.status)
            left.append(int(answer.headers["x-ratelimit-remaining-tokens"]))
    # Three whole answers fit: each begins with an estimate and ends with the use that the provider told.
    assert statuses[:3] == [200, 200, 200]
    assert statuses[-1] == 429
    assert left[0] - left[1] in range(USED_TOKENS - 3, USED_TOKENS + 1)
    assert_limited(answer)
    assert "tokens per minute" in str(answer.error)
    assert answer.headers["x-ratelimit-limit-tokens"] == "100"
    assert DURATION.fullmatch(answer.headers["x-ratelimit-reset-tokens"])


async def test_requests_at_once_over_two_workers(scene: Scene) -> None:
    async with client_of(scene.gateway, "sk-at-once") as client:
        scene.go_on.clear()
        seen = len(scene.provider.requests)
        waiting = [asyncio.ensure_future(ask(client, question("m", WAIT))) for _ in range(3)]
        await until(lambda: len(scene.provider.requests) == seen + 3)
        refused = await asyncio.gather(*(ask(client, question("m")) for _ in range(4)))
        scene.go_on.set()
        assert [(await one).status for one in waiting] == [200] * 3
        for answer in refused:
            assert answer.status == 429
            assert_limited(answer)
            assert int(answer.headers["retry-after"]) >= 1
        assert [answer.status for answer in await asyncio.gather(*(ask(client, question("m")) for _ in range(3)))] == [
            200
        ] * 3


def reached(provider: Server, count: int) -> bool:
    return len(provider.requests) == count


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
async def test_who_hangs_up_gives_the_place_back(scene: Scene, stream: bool) -> None:
    scene.go_on.clear()
    async with AsyncExitStack() as stack, client_of(scene.gateway, "sk-at-once") as client:
        for _ in range(2):
            seen = len(scene.provider.requests)
            body = question("m", WAIT, stream=stream)
            three = [await stack.enter_async_context(http_1(scene.gateway, body, "sk-at-once")) for _ in range(3)]
            await until(partial(reached, scene.provider, seen + 3))
            assert (await ask(client, question("m"))).status == 429
            for asked in three:
                await asked.hang_up()
            await asyncio.sleep(GIVEN_BACK_S)
        answers = await asyncio.gather(*(ask(client, question("m")) for _ in range(3)))
    assert {answer.status for answer in answers} == {200}


async def test_a_killed_worker_gives_its_places_back(scene: Scene) -> None:
    scene.go_on.clear()
    seen = len(scene.provider.requests)
    async with client_of(scene.gateway, "sk-at-once") as client:
        waiting = [asyncio.ensure_future(ask(client, question("m", WAIT))) for _ in range(3)]
        await until(lambda: len(scene.provider.requests) == seen + 3)
        pids = set(scene.gateway.workers.values())
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        assert {(await one).status for one in waiting} == {503}
        await asyncio.to_thread(_until_served_anew, scene.gateway, pids)
        answers = await asyncio.gather(*(ask(client, question("m")) for _ in range(3)))
    assert {answer.status for answer in answers} == {200}


def _until_served_anew(gateway: Gateway, old: set[int]) -> None:
    wait_until(lambda: len(set(gateway.workers.values()) - old) == 2, START_S)
    wait_until(lambda: httpx.get(f"{gateway.url}/readyz").is_success, START_S)


async def test_a_grpc_caller_reads_when_to_come_again(scene: Scene) -> None:
    async with grpc_call(scene.gateway, question("m"), key="sk-typed") as asked:
        await asked.first_message()
    async with grpc_call(scene.gateway, question("m"), key="sk-typed") as asked:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked.first_message()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing = dict(caught.value.trailing_metadata() or ())
    details = Status.FromString(bytes(trailing["grpc-status-details-bin"])).details
    info, retry = ErrorInfo(), RetryInfo()
    assert details[0].Unpack(info)
    assert info.reason == "RATE_LIMIT_EXCEEDED"
    assert details[-1].Unpack(retry)
    assert 50 < retry.retry_delay.ToSeconds() <= 60
    assert trailing["x-ratelimit-limit-requests"] == "1"


async def test_beyond_what_the_service_can_take_is_503(gateway_of: StartGateway) -> None:
    go_on = asyncio.Event()
    async with serve(waiting_for(go_on)) as provider:
        server = {"workers": 2, "max_concurrency": 3}
        config = configuration({"p": {"base_url": provider.url}}, {"m": ["p"]}, server)
        gateway = await asyncio.to_thread(gateway_of, config)
        async with client_of(gateway) as client:
            waiting = [asyncio.ensure_future(ask(client, question("m", WAIT))) for _ in range(6)]
            await until(lambda: len(provider.requests) == 6)
            refused = [await ask(client, question("m", stream=place % 2 == 0)) for place in range(4)]
            assert (await client.get("/healthz")).status_code == 200
            go_on.set()
            assert [(await one).status for one in waiting] == [200] * 6
            assert (await ask(client, question("m"))).status == 200
    for answer in refused:
        assert answer.error is not None
        assert (answer.status, answer.error["type"], answer.error["code"]) == (503, "server_error", "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert "x-gateway-refused" not in answer.headers


BOUNDS: Mapping[str, tuple[Mapping[str, Any], int, str]] = {
    "body": (question("m", "x" * 5000), 413, "request_too_large"),
    "messages": ({"model": "m", "messages": [{"role": "user", "content": "Hi"}] * 6}, 400, "out_of_range"),
    "depth": (question("m", metadata_of_tool=[[[[[[[[[[[1]]]]]]]]]]]), 400, "invalid_json"),
}


async def test_requests_that_are_too_large(gateway_of: StartGateway) -> None:
    server = {"max_body_bytes": 4096, "max_messages": 5, "max_json_depth": 10}
    config = configuration({"p": {"dialect": "simulator"}}, {"m": ["p"]}, server)
    gateway = await asyncio.to_thread(gateway_of, config)
    async with client_of(gateway) as client:
        for body, status, code in BOUNDS.values():
            answer = await ask(client, body)
            assert answer.error is not None
            assert (answer.status, answer.error["code"]) == (status, code)


@pytest.mark.skipif(BINARY is None, reason="no redis-server is installed")
async def test_two_gateways_share_limits_while_redis_is_there(gateway_of: StartGateway, tmp_path: Path) -> None:
    redis = RedisServer(tmp_path)
    redis.start()
    key = {"name": "shared", "key": "sk-shared", "requests_per_minute": 6}
    try:
        async with serve(chat.answer) as provider:
            server = {"workers": 1, "redis": redis.url}
            config = configuration({"p": {"base_url": provider.url}}, {"m": ["p"]}, server, [key])
            gateways = await asyncio.gather(*(asyncio.to_thread(gateway_of, config) for _ in range(2)))
            async with client_of(gateways[0], "sk-shared") as one, client_of(gateways[1], "sk-shared") as other:
                statuses = await statuses_of(one, other)
                assert statuses == {200: 6, 429: 4}
                assert [await health(each) for each in (one, other)] == ["ok", "ok"]

                redis.stop()
                # Each counts for itself now, from a full bucket.
                assert await statuses_of(one, other) == {200: 10}
                degraded = (await one.get("/healthz")).json()
                assert degraded["status"] == "degraded"
                assert "redis" in degraded["notes"][0]

                redis.start()
                await asyncio.to_thread(_until_healthy, gateways)
                assert await statuses_of(one, other) == {200: 6, 429: 4}
    finally:
        redis.stop()
    assert "redis is lost" in gateways[0].log
    assert "redis is back" in gateways[0].log
    assert "planted-secret" not in gateways[0].log


async def statuses_of(one: httpx.AsyncClient, other: httpx.AsyncClient) -> Mapping[int, int]:
    """Ask each gateway five times, in turn, and count the statuses."""
    return Counter([(await ask(client, question("m"))).status for _ in range(5) for client in (one, other)])


async def health(client: httpx.AsyncClient) -> str:
    return str((await client.get("/healthz")).json()["status"])


def _until_healthy(gateways: Sequence[Gateway]) -> None:
    wait_until(lambda: all(httpx.get(f"{each.url}/healthz").json()["status"] == "ok" for each in gateways), 10)
