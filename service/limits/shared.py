"""The limits' store of several machines: a Redis server, asked by two scripts, so that each question is one step.

A key has a hash of bucket levels and a hash of running requests by worker. A worker says every second that it lives;
the counts of one that has not for half a minute are dropped by the next script that meets them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections.abc import Coroutine
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from service.limits.buckets import Levels, Limits
from service.limits.lost import StoreLost

PREFIX = "chat-gateway:limits:"
BEAT = 1.0
"""Seconds between signs of life, which are also the tries to reach a server that is lost."""

_TIMEOUT = 1.0
_CONNECTIONS = 64
_LIFE = 30
_BUCKETS_LIFE = 3600
_RUNNING_LIFE = 86_400

_TAKE = """
local buckets, running = KEYS[1], KEYS[2]
local requests, tokens, concurrency = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local wanted, worker, lives = tonumber(ARGV[4]), ARGV[5], ARGV[6]
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000

local function filled(name, limit)
  if limit < 0 then return 0 end
  local level = tonumber(redis.call('HGET', buckets, name) or limit)
  local at = tonumber(redis.call('HGET', buckets, name .. '_at') or now)
  return math.min(limit, level + math.max(0, now - at) * limit / 60)
end

local function keep(name, limit, level)
  if limit >= 0 then
    redis.call('HSET', buckets, name, string.format('%.6f', level), name .. '_at', string.format('%.6f', now))
  end
end

redis.call('SET', lives .. worker, 1, 'EX', ARGV[7])
local count = 0
local counts = redis.call('HGETALL', running)
for i = 1, #counts, 2 do
  if redis.call('EXISTS', lives .. counts[i]) == 1 then
    count = count + tonumber(counts[i + 1])
  else
    redis.call('HDEL', running, counts[i])
  end
end

local left, left_tokens = filled('requests', requests), filled('tokens', tokens)
local allowed = (requests < 0 or left >= 1)
  and (tokens < 0 or left_tokens >= math.min(wanted, tokens))
  and (concurrency < 0 or count < concurrency)
if allowed then
  left, left_tokens, count = left - 1, left_tokens - wanted, count + 1
  keep('requests', requests, left)
  keep('tokens', tokens, left_tokens)
  redis.call('EXPIRE', buckets, ARGV[8])
  redis.call('HINCRBY', running, worker, 1)
  redis.call('EXPIRE', running, ARGV[9])
end
return {allowed and 1 or 0, tostring(left), tostring(left_tokens), count}
"""

_SETTLE = """
local buckets, running, tokens, back, worker = KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local count = tonumber(redis.call('HGET', running, worker) or 0)
if count > 1 then redis.call('HINCRBY', running, worker, -1) else redis.call('HDEL', running, worker) end
local level = redis.call('HGET', buckets, 'tokens')
if tokens >= 0 and level then
  redis.call('HSET', buckets, 'tokens', string.format('%.6f', tonumber(level) + back))
end
return 1
"""

log = logging.getLogger("gateway.limits")


class SharedStore:
    """Buckets and counts by key name, in Redis.

    `lost` says that the server cannot be reached: it is not asked then, but tried again in the background.
    """

    def __init__(self, url: str) -> None:
        """Connect on first use.

        Raises:
            ValueError: the URL is none of Redis.
        """
        pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
            url,
            max_connections=_CONNECTIONS,
            timeout=_TIMEOUT,
            socket_timeout=_TIMEOUT,
            socket_connect_timeout=_TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        self._redis = Redis.from_pool(pool)
        self._take = self._redis.register_script(_TAKE)
        self._settle = self._redis.register_script(_SETTLE)
        self._worker = secrets.token_hex(8)
        self._beating: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.lost = False

    async def take(self, name: str, limits: Limits, tokens: int) -> tuple[bool, Levels, str]:
        """Begin a request of so many tokens, if the limits allow it; return whether, what is left, and a receipt.

        Raises:
            StoreLost: the server cannot be reached.
        """
        if self._beating is None:
            self._beating = asyncio.create_task(self._beat())
        asking = self._keep(self._ask_to_take(name, limits, tokens, self._worker))
        try:
            # The script may have run when the caller hangs up, so the answer is waited for in any case.
            allowed, levels, receipt = await asyncio.shield(asking)
        except asyncio.CancelledError:
            asking.add_done_callback(lambda done: self._give_back(done, name, limits, tokens))
            raise
        return allowed, levels, receipt

    def settle(self, name: str, limits: Limits, tokens: int, receipt: str) -> None:
        """End a request in the background, giving so many tokens back; a negative number charges more."""
        self._running -= 1
        self._keep(self._ask_to_settle(name, limits, tokens, receipt))

    async def close_when_settled(self) -> None:
        """Close as soon as all requests that began here have ended."""
        await self._idle.wait()
        await self.close()

    async def close(self) -> None:
        """Finish what runs in the background, forget this worker's running requests, and let go of the server."""
        if self._beating is not None:
            self._beating.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_TIMEOUT)
        if not self.lost:
            with contextlib.suppress(RedisError, OSError):
                await self._redis.delete(self._life(self._worker))
        await self._redis.aclose()

    def _keep(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        self._idle.clear()
        task.add_done_callback(self._drop)
        return task

    def _drop(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not self._tasks and not self._running:
            self._idle.set()

    async def _ask_to_take(self, name: str, limits: Limits, tokens: int, worker: str) -> tuple[bool, Levels, str]:
        arguments: list[str | int] = [
            *(-1 if limit is None else limit for limit in (limits.requests, limits.tokens, limits.concurrency)),
            tokens,
            worker,
            self._life(""),
            _LIFE,
            _BUCKETS_LIFE,
            _RUNNING_LIFE,
        ]
        try:
            allowed, requests, left, running = await self._take(keys=_keys(name), args=arguments)
        except (RedisError, OSError) as error:
            self._lose(error)
            raise StoreLost from error
        self._running += bool(allowed)
        return bool(allowed), Levels(float(requests), float(left), running), worker

    async def _ask_to_settle(self, name: str, limits: Limits, tokens: int, worker: str) -> None:
        limit = -1 if limits.tokens is None else limits.tokens
        try:
            await self._settle(keys=_keys(name), args=[limit, tokens, worker])
        except (RedisError, OSError) as error:
            self._lose(error)

    def _give_back(self, done: asyncio.Task[Any], name: str, limits: Limits, tokens: int) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        allowed, _, receipt = done.result()
        if allowed:
            self.settle(name, limits, tokens, receipt)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(BEAT)
            try:
                await self._live()
            except (RedisError, OSError) as error:
                self._lose(error)

    async def _live(self) -> None:
        """Say that this worker lives. After a loss it begins anew: what it did not get to settle is dropped."""
        if not self.lost:
            await self._redis.set(self._life(self._worker), 1, ex=_LIFE)
            return
        await self._redis.delete(self._life(self._worker))
        worker = secrets.token_hex(8)
        await self._redis.set(self._life(worker), 1, ex=_LIFE)  # a full one deletes, and takes nothing
        self._worker = worker
        self.lost = False
        log.warning("redis is back: limits are shared again")

    def _lose(self, error: Exception) -> None:
        if not self.lost:
            self.lost = True
            log.warning("redis is lost: limits are local", extra={"facts": {"error": type(error).__name__}})

    def _life(self, worker: str) -> str:
        return f"{PREFIX}worker:{worker}"


def _keys(name: str) -> list[str]:
    digest = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
    return [f"{PREFIX}{{{digest}}}:buckets", f"{PREFIX}{{{digest}}}:running"]
