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

# A draining worker ends when nobody has called it for so long, or after so many times.
_QUIET_S = 0.25
_MOST_QUIETS = 12


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
        self._entered = 0
        self._idle = asyncio.Event()

    def enter(self) -> None:
        """Count a call that has begun."""
        self.active += 1
        self._entered += 1

    def leave(self) -> None:
        """Count a call that has ended."""
        self.active -= 1
        if self.draining and not self.active:
            self._idle.set()

    async def drain(self, limit_s: float) -> None:
        """Take no new calls, wait until those in flight have ended, at most so long, and until callers stop coming.

        A call that comes once the server stops is cancelled and cannot be told to go elsewhere, so the server does not
        stop before Envoy has noticed.
        """
        self.draining = True
        if self.active:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), limit_s)
        for _ in range(_MOST_QUIETS):
            entered = self._entered
            await asyncio.sleep(_QUIET_S)
            if entered == self._entered:
                break

    def notes(self) -> Sequence[str]:
        """Return what is degraded, in words."""
        return self.limiter.notes()
