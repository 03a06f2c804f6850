"""Lets the streams of a busy worker gather their events, so that those of some milliseconds are read and sent together.

Most of what an event costs is spent on each piece that arrives: waking up, reading, and sending it on. As long as the
worker has time to spare, each piece is read at once. When it has little, a stream that was read from is not read from
again before the next turn; with nothing held back its events would wait just as long, for their turn in a queue.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

TURN_S = 0.010
"""The longest that an event is held back."""
_BUSY = 0.7
"""The share of its time that the event loop's thread works, from which on the worker is busy."""
_MEMORY = 4
"""The share is a mean over so many turns."""


class Reader(Protocol):
    """What is held."""

    def go_on(self) -> None:
        """Read again."""
        ...


class Pace:
    """Says whether the worker is busy, and gives readers that are held their turn."""

    def __init__(self, spent: Callable[[], float] = time.thread_time) -> None:
        """`spent` is a reading of the time that this thread has worked, in seconds."""
        self.busy = False
        self._spent = spent
        self._streams = 0
        self._held: list[Reader] = []
        self._load = 0.0
        self._before = (0.0, 0.0)
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Count a stream that begins: load is only measured while there are any."""
        self._streams += 1
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._before = loop.time(), self._spent()
            self._timer = loop.call_later(TURN_S, self._turn, loop)

    def end(self) -> None:
        """Count a stream that has ended."""
        self._streams -= 1

    def hold(self, reader: Reader) -> None:
        """Let a reader wait for the next turn. Some stream has begun."""
        self._held.append(reader)

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        now, spent = loop.time(), self._spent()
        elapsed, worked = now - self._before[0], spent - self._before[1]
        self._before = now, spent
        if elapsed > 0:
            self._load += (worked / elapsed - self._load) / _MEMORY
        self.busy = self._load > _BUSY
        held, self._held = self._held, []
        for reader in held:
            reader.go_on()
        self._timer = loop.call_later(TURN_S, self._turn, loop) if self._streams else None
