"""Lets requests begin within their key's limits, or tells the caller to wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING

from service.config import Config, Key
from service.errors import GatewayError
from service.limits.buckets import CONCURRENCY_WAIT, Levels, Limits, headers, limits_of, refusal
from service.limits.lost import StoreLost
from service.limits.machine import MachineStore

if TYPE_CHECKING:
    from service.limits.shared import SharedStore

_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


Settle = Callable[[int, bool], None]
"""Takes the tokens that were used, and whether the estimate stands where it is more."""


class Grant:
    """Leave to serve one request. `headers` are the `x-ratelimit-*` ones, of the limits that the key has."""

    __slots__ = ("_settle", "headers")

    def __init__(self, headers: Mapping[str, str], settle: Settle | None) -> None:
        self.headers = headers
        self._settle = settle

    async def release(self, used_tokens: int, *, at_least_estimate: bool = False) -> None:
        """End the request, with the tokens that it used, or the estimate if that is more and not all are known.

        It never waits, so a cancellation cannot get between. A second time it does nothing.
        """
        settle, self._settle = self._settle, None
        if settle is not None:
            settle(used_tokens, at_least_estimate)


class Limiter:
    """The limits of all keys: over the machine's workers, or over all replicas with Redis.

    While Redis is lost the machine's own store serves, and `notes` says so.
    """

    def __init__(
        self, config: Config, index: int, path: str | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`index`: this worker's own number, from 0. `path`: the file that the machine's workers share; None: none do.

        Raises:
            OSError: the file cannot be made.
            ValueError: too many workers, or the Redis URL is none.
        """
        self._clock = clock
        self._machine = MachineStore(path, index)
        self._url = _redis_url(config)
        self._shared = None if self._url is None else _shared_store(self._url)
        self._replaced: dict[SharedStore, asyncio.Task[None]] = {}

    async def acquire(self, key: Key, tokens: int) -> Grant:
        """Let a request of a key begin, which will use about so many tokens.

        Raises:
            GatewayError: rate_limit_exceeded, with the wait and the headers.
        """
        limits = limits_of(key)
        if limits is None:
            return Grant(_NO_HEADERS, None)
        if limits.tokens is None:
            tokens = 0
        shared = self._shared
        if shared is not None and not shared.lost:
            try:
                allowed, levels, receipt = await shared.take(key.name, limits, tokens)
            except StoreLost:
                return self._acquire_here(key, limits, tokens)

            def settle_shared(used: int, at_least_estimate: bool) -> None:
                shared.settle(key.name, limits, _left_over(tokens, used, at_least_estimate), receipt)

            return _grant(limits, tokens, allowed, levels, settle_shared)
        return self._acquire_here(key, limits, tokens)

    def notes(self) -> Sequence[str]:
        """Return what is degraded, in words."""
        return ("redis: limits are local",) if self._shared is not None and self._shared.lost else ()

    def reload(self, config: Config) -> None:
        """Take another configuration's Redis. Requests that run settle where they began.

        Raises:
            ValueError: the Redis URL is none; nothing has changed then.
        """
        url = _redis_url(config)
        if url == self._url:
            return
        old, self._shared = self._shared, None if url is None else _shared_store(url)
        self._url = url
        if old is not None:
            closing = self._replaced[old] = asyncio.create_task(old.close_when_settled())
            closing.add_done_callback(lambda _: self._replaced.pop(old))

    async def close(self) -> None:
        """Let go of the stores."""
        replaced = dict(self._replaced)
        for closing in replaced.values():
            closing.cancel()
        for shared in (*replaced, *([self._shared] if self._shared is not None else [])):
            await shared.close()
        self._machine.close()

    def _acquire_here(self, key: Key, limits: Limits, tokens: int) -> Grant:
        allowed, levels = self._machine.take(key.name, limits, tokens, self._clock())

        def settle(used: int, at_least_estimate: bool) -> None:
            self._machine.settle(key.name, limits, _left_over(tokens, used, at_least_estimate), self._clock())

        return _grant(limits, tokens, allowed, levels, settle)


def _left_over(estimate: int, used: int, at_least_estimate: bool) -> int:
    """Return what is given back of an estimate; below 0: what is taken on top of it."""
    return min(estimate - used, 0) if at_least_estimate else estimate - used


def _grant(limits: Limits, tokens: int, allowed: bool, levels: Levels, settle: Settle) -> Grant:
    told = headers(limits, levels)
    if allowed:
        return Grant(told, settle)
    reached = refusal(limits, levels, tokens)
    limit, wait = ("requests", CONCURRENCY_WAIT) if reached is None else reached
    raise GatewayError(
        "rate_limit_exceeded",
        f"The API key's limit of {limit} is reached. Try again in {max(wait, 0.001):.3g} s.",
        retry_after=wait,
        headers=told,
    )


def _shared_store(url: str) -> SharedStore:
    """Return a store on Redis. Its package takes long to import, and most gateways have none."""
    from service.limits.shared import SharedStore

    return SharedStore(url)


def _redis_url(config: Config) -> str | None:
    return None if config.server.redis is None else config.server.redis.get_secret_value()
