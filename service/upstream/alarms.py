"""Alarms that are far off when they are set. Nearly all are put away long before they would go off, and a timer of the
event loop for each costs more than the rest of a call's bookkeeping: here all have one, which looks once a second."""

from __future__ import annotations

import asyncio
from typing import Protocol

_NEAR_S = 2
_TICK_S = 1.0


class Waiting(Protocol):
    """Who waits for an alarm, in a set of those who do. It is no longer in it when it is told to look."""

    def look(self) -> None:
        """See what is due; before it is, set an alarm again, which is then near."""
        ...


class Alarms:
    """The far alarms of an event loop, in sets by the second in which they go off."""

    __slots__ = ("_far", "_loop", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._far: dict[int, set[Waiting]] = {}
        self._timer: asyncio.TimerHandle | None = None

    def far(self, at: float) -> set[Waiting] | None:
        """Return whom to join, until leaving it, for an alarm at an instant on the loop's clock; None where it is near.

        Whoever is in the set is told to look in time to set a timer.
        """
        second = int(at)
        if second <= self._loop.time() + _NEAR_S:
            return None
        waiting = self._far.get(second)
        if waiting is None:
            waiting = self._far[second] = set()
            if self._timer is None:
                self._timer = self._loop.call_later(_TICK_S, self._tick)
        return waiting

    def close(self) -> None:
        """Forget all."""
        self._far.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        near = self._loop.time() + _NEAR_S
        due = [waiting for second, waiting in self._far.items() if second <= near]
        self._far = {second: waiting for second, waiting in self._far.items() if second > near and waiting}
        for waiting in due:
            while waiting:
                waiting.pop().look()
        if self._far and self._timer is None:
            self._timer = self._loop.call_later(_TICK_S, self._tick)
