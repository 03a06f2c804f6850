"""What serves at the moment: one configuration and everything made from it, swapped whole on reload."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.chat import ChatCompletions
from service.config import Config
from service.keys import Keyring
from service.limits import Limiter
from service.routing import HealthBoard
from service.telemetry import AccessLog, Masker
from service.upstream import Upstream

# A draining worker ends when nobody has called it for so long, or after so many times.
_QUIET_S = 0.25
_MOST_QUIETS = 12
# Calls that draining cut short have so long to say so.
_LAST_WORDS_S = 0.5


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One configuration and what was made from it."""

    config: Config
    keyring: Keyring
    chat: ChatCompletions
    masker: Masker
    upstream: Upstream


class Runtime:
    """The current snapshot, and the state that outlives it.

    `overdue` says that draining has taken too long: calls in flight are cancelled, and tell their callers.
    """

    def __init__(self, snapshot: Snapshot, health: HealthBoard, limiter: Limiter) -> None:
        self.snapshot = snapshot
        self.health = health
        self.limiter = limiter
        self.access_log = AccessLog()
        self.draining = False
        self.overdue = False
        self._running: set[asyncio.Task[Any]] = set()
        self._entered = 0
        self._idle = asyncio.Event()

    @property
    def active(self) -> int:
        """How many calls are in flight."""
        return len(self._running)

    @property
    def running(self) -> frozenset[asyncio.Task[Any]]:
        """The tasks of the calls in flight."""
        return frozenset(self._running)

    def enter(self, task: asyncio.Task[Any]) -> None:
        """Count a call that has begun, and runs as this task."""
        self._running.add(task)
        self._entered += 1

    def leave(self, task: asyncio.Task[Any]) -> None:
        """Count a call that has ended."""
        self._running.discard(task)
        if self.draining and not self._running:
            self._idle.set()

    async def drain(self, limit_s: float) -> None:
        """Take no new calls, wait until those in flight have ended, at most so long, and until callers stop coming.

        Calls that take longer are cancelled, and tell their callers, so that no stream that was cut seems whole.
        A call that comes once the server stops is cancelled and cannot be told to go elsewhere, so the server does not
        stop before Envoy has noticed.
        """
        self.draining = True
        if self.active and not await self._becomes_idle(limit_s):
            self.overdue = True
            for task in self._running:
                task.cancel()
            await self._becomes_idle(_LAST_WORDS_S)
        for _ in range(_MOST_QUIETS):
            entered = self._entered
            await asyncio.sleep(_QUIET_S)
            if entered == self._entered:
                break

    async def _becomes_idle(self, limit_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), limit_s)
        return self._idle.is_set()

    def notes(self) -> Sequence[str]:
        """Return what is degraded, in words."""
        return self.limiter.notes()
