"""Answers that are played from a script within this process, so that they take the same way as a provider's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing

from service.config import Provider
from service.upstream.response import CallTimeouts, Limit, answer_limit, broken_off, event_too_large, timed_out
from service.upstream.script import Script
from service.upstream.sse import Event, EventDecoder, EventTooLarge

_STEPS_AT_ONCE = 16
"""Steps without a delay that are played before others get their turn on the event loop."""


class ScriptedResponse:
    """A `Response` that plays a script."""

    def __init__(self, name: str, provider: Provider, script: Script, timeouts: CallTimeouts) -> None:
        self.status = script.status
        self.headers: Mapping[str, str] = script.headers
        self._name = name
        self._provider = provider
        self._script = script
        self._timeouts = timeouts
        self._sent_at = asyncio.get_running_loop().time()
        self._answered = False

    async def read(self) -> bytes:
        """See `Response.read`."""
        return b"".join([data async for data in self._play()])

    async def events(self) -> AsyncGenerator[Sequence[Event], None]:
        """See `Response.events`."""
        decoder = EventDecoder(self._provider.max_event_bytes)
        async with aclosing(self._play()) as played:
            async for data in played:
                try:
                    events = decoder.feed(data)
                except EventTooLarge as error:
                    raise event_too_large(self._name, self._provider.max_event_bytes, self.status) from error
                if events:
                    self._answered = True
                    yield events

    def offer_to(self, take: Callable[[Sequence[Event]], bool]) -> None:
        """See `Response.offer_to`: nothing is."""

    def leave(self) -> None:
        """See `Response.leave`: there is no connection."""

    async def _play(self) -> AsyncGenerator[bytes, None]:
        for place, step in enumerate(self._script.steps):
            if step.delay > 0:
                await self._wait(step.delay)
            elif place % _STEPS_AT_ONCE == 0:
                await asyncio.sleep(0)
            yield step.data
        if self._script.cut:
            raise broken_off(self._name, self.status)

    async def _wait(self, delay: float) -> None:
        """Wait for a step, but not past a limit: how long it takes is known, so no timer is needed to see it."""
        now = asyncio.get_running_loop().time()
        limit = self._limit(now)
        if limit is None or now + delay <= limit.at:
            await asyncio.sleep(delay)
        else:
            await asyncio.sleep(limit.at - now)
            raise timed_out(self._name, limit.name, limit.seconds)

    def _limit(self, now: float) -> Limit | None:
        if not self._answered:
            return answer_limit(self._sent_at, self._timeouts)
        idle, total = self._timeouts.idle, self._timeouts.total
        limits = []
        if idle is not None:
            limits.append(Limit(now + idle, "idle", idle))
        if total is not None:
            limits.append(Limit(self._sent_at + total, "total", total))
        return min(limits, default=None)
