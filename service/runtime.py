"""What serves at the moment: one configuration and everything made from it, swapped whole on reload."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass

from service.chat import ChatCompletions
from service.config import Config
from service.keys import Keyring
from service.limits import Limiter
from service.routing import HealthBoard
from service.telemetry import Masker
from service.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One configuration and what was made from it."""

    config: Config
    keyring: Keyring
    chat: ChatCompletions
    masker: Masker
    upstream: Upstream


class Runtime:
    """The current snapshot, and the state that outlives it. `active` counts calls in flight."""

    def __init__(self, snapshot: Snapshot, health: HealthBoard, limiter: Limiter) -> None:
        self.snapshot = snapshot
        self.health = health
        self.limiter = limiter
        self.draining = False
        self.active = 0
        self._idle = asyncio.Event()

    def enter(self) -> None:
        """Count a call that has begun."""
        self.active += 1

    def leave(self) -> None:
        """Count a call that has ended."""
        self.active -= 1
        if self.draining and not self.active:
            self._idle.set()

    async def drain(self, limit_s: float) -> None:
        """Take no new calls, and wait until those in flight have ended, at most so long."""
        self.draining = True
        if self.active:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), limit_s)

    def notes(self) -> Sequence[str]:
        """Return what is degraded, in words."""
        return self.limiter.notes()
