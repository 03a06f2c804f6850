"""Lets the streams of a busy worker gather their events, so that those of some milliseconds are read and sent together.

Most of what an event costs is spent on each piece that arrives: waking up, reading, and sending it on. As long as the
worker has time to spare, each piece is read at once. When it has little, a stream that was read from is left alone for
a moment; with nothing held back its events would wait just as long, for their turn in a queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol

_HOLDS_S = (0.0, 0.010, 0.020)
"""An event is held back so long at most, and then until its turn has come: a step more where one is not enough."""
_BUSY = 0.7
"""The share of its time that the event loop's thread works, from which on the worker is busy."""
_RESTED = 0.35
"""The share below which it is held back a step less: gathering takes a good part of the work away, and is not to end by
that."""
_LOOK_S = 0.02
"""How often the load is looked at. It is a mean over some looks, the last `1 / _MEMORY` of them for the most part."""
_MEMORY = 0.25
_PARTS = 32
_LEAST = 2
"""In one turn of the event loop one of `_PARTS` readers that are held goes on, but `_LEAST` where so many are due..."""
_PATIENCE_S = 0.1
"""...and in any case those that have waited for their turn so long."""


class Reader(Protocol):
    """What is held."""

    def go_on(self) -> None:
        """Read again."""
        ...


class Gathering:
    """Says whether the worker is busy, and lets readers that are held go on, each after its own time."""

    def __init__(self, spent: Callable[[], float]) -> None:
        """`spent` is a reading of the time that this thread has worked, in seconds; its event loop runs."""
        self._loop = asyncio.get_running_loop()
        self.hold_s = 0.0
        """How long a reader is to be held, 0 for not at all."""
        self._spent = spent
        self._streams = 0
        self._load = 0.0
        self._looked = (0.0, 0.0)
        self._look_timer: asyncio.TimerHandle | None = None
        self._held: deque[tuple[float, Reader]] = deque()
        self._releasing: asyncio.Handle | None = None

    def begin(self) -> None:
        """Count a stream that begins: load is only measured while there are any."""
        self._streams += 1
        if self._look_timer is None:
            self._looked = self._loop.time(), self._spent()
            self._look_timer = self._loop.call_later(_LOOK_S, self._look)

    def end(self) -> None:
        """Count a stream that has ended."""
        self._streams -= 1

    def hold(self, reader: Reader) -> None:
        """Call a reader's `go_on` in a moment."""
        self._held.append((self._loop.time() + self.hold_s, reader))
        if self._releasing is None:
            self._releasing = self._loop.call_later(self.hold_s, self._release)

    def _look(self) -> None:
        now, spent = self._loop.time(), self._spent()
        elapsed, worked = now - self._looked[0], spent - self._looked[1]
        self._looked = now, spent
        if elapsed > 0:
            self._load += (worked / elapsed - self._load) * _MEMORY
        self._step()
        if self._streams:
            self._look_timer = self._loop.call_later(_LOOK_S, self._look)
        else:
            self._look_timer, self._load, self.hold_s = None, 0.0, 0.0

    def _step(self) -> None:
        """Hold longer or less long, if it is time to. What that brings is seen before the next step."""
        step = _HOLDS_S.index(self.hold_s)
        if self._load > _BUSY and step + 1 < len(_HOLDS_S):
            self.hold_s = _HOLDS_S[step + 1]
        elif self._load < _RESTED and step:
            self.hold_s = _HOLDS_S[step - 1]
        else:
            return
        self._load = (_BUSY + _RESTED) / 2

    def _release(self) -> None:
        """Let some of those who are due go on, and the others in the turns that follow.

        Each has a piece to be read and sent. With all of them in one turn a new call, which takes several, would wait
        for all of them several times.
        """
        held, now = self._held, self._loop.time()
        some = max(_LEAST, len(held) // _PARTS)
        try:
            while held and held[0][0] <= (now if some > 0 else now - _PATIENCE_S):
                some -= 1
                held.popleft()[1].go_on()
        finally:
            if not held:
                self._releasing = None
            elif held[0][0] <= now:
                self._releasing = self._loop.call_soon(self._release)
            else:
                # Clocks have steps: without a least wait this would run again and again until the next one.
                self._releasing = self._loop.call_later(max(held[0][0] - now, 0.001), self._release)
