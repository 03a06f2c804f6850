"""The limits of several machines, with a real Redis server."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from service.config import Config, Key
from service.errors import GatewayError
from service.limits import Limiter
from service.limits.shared import BEAT
from tests.fakes.redis_server import BINARY, PASSWORD, RedisServer

TOKENS = 100
"""What a request is thought to use."""


pytestmark = pytest.mark.skipif(BINARY is None, reason="no redis-server is installed")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def server(running: RedisServer) -> RedisServer:
    """A server that is up and empty."""
    async with Redis.from_url(running.url) as client:
        await client.flushall()
    return running


def config(url: str | None) -> Config:
    return Config.model_validate(
        {
            "server": {"redis": url},
            "providers": {"local": {"dialect": "simulator"}},
            "models": {"m": {"endpoints": [{"provider": "local", "model": "m"}]}},
        }
    )


def key(**limits: Any) -> Key:
    return Key(name="k", sha256="0" * 64, **limits)


def replica(server: RedisServer) -> Limiter:
    """Return the limiter of a machine of its own."""
    return Limiter(config(server.url), 0, None)


async def shared_again(limiter: Limiter) -> None:
    """Wait until limits are no longer local."""
    until = time.monotonic() + 5
    while limiter.notes():
        assert time.monotonic() < until
        await asyncio.sleep(0.05)


async def refused(limiter: Limiter, limited: Key) -> GatewayError:
    with pytest.raises(GatewayError) as raised:
        await limiter.acquire(limited, TOKENS)
    return raised.value


async def test_replicas_share_requests_per_minute(server: RedisServer) -> None:
    first, second = replica(server), replica(server)
    limited = key(requests_per_minute=3)
    for limiter in (first, second, first):
        grant = await limiter.acquire(limited, TOKENS)
    assert grant.headers["x-ratelimit-remaining-requests"] == "0"
    error = await refused(second, limited)
    assert error.code == "rate_limit_exceeded"
    assert error.retry_after == pytest.approx(20, abs=1)
    assert error.headers["x-ratelimit-limit-requests"] == "3"
    await first.close()
    await second.close()


async def test_replicas_share_tokens_per_minute(server: RedisServer) -> None:
    first, second = replica(server), replica(server)
    limited = key(tokens_per_minute=150)
    grant = await first.acquire(limited, TOKENS)
    await refused(second, limited)
    await grant.release(10)
    grant = await acquire_soon(second, limited)
    assert 40 <= int(grant.headers["x-ratelimit-remaining-tokens"]) <= 45
    await first.close()
    await second.close()


async def acquire_soon(limiter: Limiter, limited: Key) -> Any:
    """Acquire as soon as what was released in the background is settled."""
    for _ in range(100):
        try:
            return await limiter.acquire(limited, TOKENS)
        except GatewayError:
            await asyncio.sleep(0.01)
    raise AssertionError("the limit does not open")


async def test_replicas_share_requests_at_once(server: RedisServer) -> None:
    first, second = replica(server), replica(server)
    limited = key(concurrency=2)
    grant = await first.acquire(limited, TOKENS)
    await second.acquire(limited, TOKENS)
    await refused(first, limited)
    await grant.release(0, at_least_estimate=True)
    await grant.release(0, at_least_estimate=True)
    await acquire_soon(second, limited)
    await refused(first, limited)
    await first.close()
    await second.close()


async def test_a_closed_replica_takes_its_counts_with_it(server: RedisServer) -> None:
    first, second = replica(server), replica(server)
    await first.acquire(key(concurrency=1), TOKENS)
    await refused(second, key(concurrency=1))
    await first.close()
    await second.acquire(key(concurrency=1), TOKENS)
    await second.close()


async def test_a_dead_replicas_counts_are_dropped(server: RedisServer) -> None:
    first, second = replica(server), replica(server)
    await first.acquire(key(concurrency=1), TOKENS)
    async with Redis.from_url(server.url) as client:
        # What half a minute without a sign of life does.
        lives = [name async for name in client.scan_iter("chat-gateway:limits:worker:*")]
        assert len(lives) == 1
        assert 0 < await client.ttl(lives[0]) <= 30
        await client.delete(*lives)
    await second.acquire(key(concurrency=1), TOKENS)
    await first.close()
    await second.close()


async def test_a_caller_that_hangs_up_while_redis_is_asked_holds_nothing(server: RedisServer) -> None:
    limiter = replica(server)
    limited = key(concurrency=1)
    for _ in range(20):
        asking = asyncio.create_task(limiter.acquire(limited, TOKENS))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    await acquire_soon(limiter, limited)
    await limiter.close()


async def test_many_at_once_are_counted_exactly(server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    for attempt in range(5):
        caplog.clear()
        limiters = [replica(server) for _ in range(3)]
        limited = key(requests_per_minute=30).model_copy(update={"name": f"many-{attempt}"})
        asked = [limiter.acquire(limited, TOKENS) for limiter in limiters for _ in range(20)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        for limiter in limiters:
            await limiter.close()
        # A machine that stands still for seconds loses its Redis; what happens then is the next test's matter.
        if not caplog.records:
            break
    granted = [each for each in found if not isinstance(each, BaseException)]
    assert 30 <= len(granted) <= 31


async def test_redis_goes_and_comes_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.limits")
    server = RedisServer(tmp_path)
    server.start()
    limiter = replica(server)
    limited = key(requests_per_minute=3, concurrency=3)
    try:
        early = await limiter.acquire(limited, TOKENS)
        assert limiter.notes() == ()

        server.stop()
        began = time.monotonic()
        grant = await limiter.acquire(limited, TOKENS)
        assert time.monotonic() - began < 1
        assert limiter.notes() == ("redis: limits are local",)
        assert grant.headers["x-ratelimit-remaining-requests"] == "2"
        await limiter.acquire(limited, TOKENS)
        await early.release(5)

        server.start()
        await shared_again(limiter)
        shared = await limiter.acquire(limited, TOKENS)
        assert shared.headers["x-ratelimit-remaining-requests"] == "2"
        await grant.release(5)
        await shared.release(5)
    finally:
        await limiter.close()
        server.stop()
    messages = [record.getMessage() for record in caplog.records if record.name == "gateway.limits"]
    assert messages == ["redis is lost: limits are local", "redis is back: limits are shared again"]
    assert PASSWORD not in caplog.text


async def test_a_redis_that_takes_nothing_more_is_lost_until_it_does(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It deletes, and answers a ping: neither says that it can be written to."""
    caplog.set_level(logging.INFO, "gateway.limits")
    server = RedisServer(tmp_path)
    server.start()
    limiter = replica(server)
    try:
        async with Redis.from_url(server.url) as client:
            await (await limiter.acquire(key(requests_per_minute=9), TOKENS)).release(5)
            await client.config_set("maxmemory", 1)
            await (await limiter.acquire(key(requests_per_minute=9), TOKENS)).release(5)
            await asyncio.sleep(3 * BEAT)
            assert limiter.notes() == ("redis: limits are local",)
            await client.config_set("maxmemory", 0)
            await shared_again(limiter)
    finally:
        await limiter.close()
        server.stop()
    messages = [record.getMessage() for record in caplog.records if record.name == "gateway.limits"]
    assert messages == ["redis is lost: limits are local", "redis is back: limits are shared again"]


async def test_a_redis_that_does_not_answer_is_not_waited_for() -> None:
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(60), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    limiter = Limiter(config(f"redis://127.0.0.1:{port}"), 0, None)
    began = time.monotonic()
    await limiter.acquire(key(requests_per_minute=3), TOKENS)
    assert time.monotonic() - began < 5
    began = time.monotonic()
    await limiter.acquire(key(requests_per_minute=3), TOKENS)
    assert time.monotonic() - began < 0.5
    assert limiter.notes() == ("redis: limits are local",)
    await limiter.close()
    silent.close()


async def test_a_reload_brings_redis_and_takes_it_away(server: RedisServer) -> None:
    limiter = Limiter(config(None), 0, None)
    limited = key(requests_per_minute=1)
    local = await limiter.acquire(limited, TOKENS)
    limiter.reload(config(server.url))
    shared = await limiter.acquire(limited, TOKENS)
    limiter.reload(config(None))
    await refused(limiter, limited)
    await local.release(1)
    await shared.release(1)
    await limiter.close()


async def test_a_replaced_redis_is_let_go_once_what_began_there_has_ended(server: RedisServer) -> None:
    limiter = replica(server)
    grant = await limiter.acquire(key(concurrency=1), TOKENS)
    limiter.reload(config(None))
    async with Redis.from_url(server.url) as client:
        for _ in range(20):
            assert await lives(client)
        await grant.release(5)
        await alone_soon(client)
    other = replica(server)
    await other.acquire(key(concurrency=1), TOKENS)
    await other.close()
    await limiter.close()


async def alone_soon(client: Redis) -> None:
    """Wait until there is neither another client nor a sign of life."""
    for _ in range(1000):
        if len(await client.client_list()) == 1 and not await lives(client):
            return
        await asyncio.sleep(0.01)
    raise AssertionError("the replaced store stays")


async def lives(client: Redis) -> list[bytes]:
    """Return the signs of life that there are."""
    return [name async for name in client.scan_iter("chat-gateway:limits:worker:*")]


async def test_a_limiter_that_ends_lets_go_of_a_replaced_redis_too(server: RedisServer) -> None:
    limiter = replica(server)
    await limiter.acquire(key(concurrency=1), TOKENS)
    limiter.reload(config(None))
    await limiter.close()
    async with Redis.from_url(server.url) as client:
        assert await lives(client) == []


async def test_a_reload_that_fails_changes_nothing(server: RedisServer) -> None:
    limiter = replica(server)
    limited = key(requests_per_minute=1)
    await limiter.acquire(limited, TOKENS)
    for _ in range(2):
        with pytest.raises(ValueError, match="db"):
            limiter.reload(config("redis://127.0.0.1:1/0?db=first"))
    await refused(limiter, limited)
    assert limiter.notes() == ()
    await limiter.close()


@pytest.mark.parametrize(("url", "mistake"), [("http://x", True), ("redis://h:1", False), ("", False)])
def test_a_url_that_is_none_of_redis_is_a_mistake_of_the_configuration(url: str, mistake: bool) -> None:
    if mistake:
        with pytest.raises(ValueError, match=r"redis://, rediss:// or unix://"):
            config(url)
    else:
        assert (config(url).server.redis is None) == (url == "")
