"""Keeps the threads of a worker on one CPU, as long as nothing else wants that one.

A request goes from thread to thread: gRPC's read it, one of them wakes the event loop's, which serves it. The scheduler
likes to spread them, and on another CPU that is idle a thread is woken by an interrupt. On a virtual machine that takes
30 us instead of 1, and a third of it is the time of the one who wakes. Of the work that a request is, only gRPC's tenth
could be done at the same time as the rest.

Which CPU it is, the scheduler says: the one where the event loop's thread is when it has work. It cannot move what is
pinned, so a thread that has to wait for its CPU is let go for a while. Where it then waits as long, there is no CPU to
spare, and it is better off in one place.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger("gateway")

_LOOK_S = 1.0
_BUSY = 0.05
"""The share of its time that the event loop's thread runs or wants to, from which on it matters where."""
_CROWDED = 0.25
"""The share of its time that it waits for a CPU, from which on it is better off with the choice. Its own process makes
it wait for some 5 % at most."""
_BETTER = 0.5
"""Of what it waited, how much is left at most where it has found a better place."""
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
_MOST_CPUS = 1024
_PROC = Path("/proc/thread-self")
_TASKS = Path("/proc/self/task")


class Reading(NamedTuple):
    """What the kernel has counted for a thread, in seconds: its time on a CPU, and that of waiting for one."""

    ran: float
    waited: float


class Pinning:
    """When to pin and when to let go. `look` is told the time and what was counted, and says what is to be done."""

    def __init__(self, now: float, reading: Reading) -> None:
        self.pinned = False
        self._at = now
        self._reading = reading
        self._pause_s = _FIRST_PAUSE_S
        self._from = now
        self._let_go_for: float | None = None
        """The share of its time that it waited, for which it was let go since the last look."""
        self._stays_until = now

    def look(self, now: float, reading: Reading) -> bool | None:
        """Return True to pin, False to let go, None to leave things as they are."""
        elapsed = now - self._at
        ran, waited = reading.ran - self._reading.ran, reading.waited - self._reading.waited
        self._at, self._reading = now, reading
        let_go_for, self._let_go_for = self._let_go_for, None
        if elapsed <= 0 or ran + waited < _BUSY * elapsed:
            return None
        share = waited / elapsed
        if self.pinned:
            if share < _CROWDED or now < self._stays_until:
                return None
            self.pinned, self._let_go_for = False, share
            # Where it stays good for long, the next time begins anew.
            if now - self._from > _LONGEST_PAUSE_S:
                self._pause_s = _FIRST_PAUSE_S
            self._from = now + self._pause_s
            self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
            return False
        if let_go_for is not None and share > _BETTER * let_go_for:
            self._stays_until, self._pause_s = now + _LONGEST_PAUSE_S, _FIRST_PAUSE_S
        elif now < self._from:
            return None
        self.pinned, self._from = True, now
        return True

    def undo(self) -> None:
        """Take back what was to be done: it could not be."""
        self.pinned = not self.pinned


class Pinner:
    """Does it, for the process and the event loop's thread that make it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin, where there are several CPUs to choose from and the kernel says what is needed (Linux)."""
        try:
            self._allowed = os.sched_getaffinity(0)
            self._pinning = Pinning(self._loop.time(), _read())
        except (AttributeError, OSError, ValueError):
            log.info("threads are not pinned: the system does not say how long they wait")
            return
        if len(self._allowed) > 1:
            self._timer = self._loop.call_later(_LOOK_S, self._look)

    def stop(self) -> None:
        """Change nothing from here on."""
        if self._timer is not None:
            self._timer.cancel()

    def _look(self) -> None:
        pin = None
        try:
            pin = self._pinning.look(self._loop.time(), _read())
            if pin is not None:
                self._allowed = _move({_cpu()} if pin else self._allowed, self._allowed)
        except OSError as error:  # no file can be opened, or a sandbox has its own mind: the next look may do better
            if pin is not None:
                self._pinning.undo()
            log.warning("threads are neither pinned nor let go", extra={"facts": {"error": str(error)}})
        self._timer = self._loop.call_later(_LOOK_S, self._look)


def _move(cpus: set[int], allowed: set[int]) -> set[int]:
    """Move all threads, and return which CPUs are allowed. Raises OSError."""
    try:
        move(cpus)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # None of them is in the process's CPU set any more. Of all there may be, the kernel takes those that are.
        move(range(_MOST_CPUS))
        return os.sched_getaffinity(0)
    return allowed


def move(cpus: Iterable[int]) -> None:
    """Let all threads of this process run on these CPUs alone, and those that they begin.

    Raises:
        OSError: EINVAL, the process may run on none of them; or another.
    """
    moved: set[str] = set()
    # A thread that has not been moved yet may have begun one that was not there when the list was made.
    while tasks := set(os.listdir(_TASKS)) - moved:
        for task in tasks:
            try:
                os.sched_setaffinity(int(task), cpus)
            except ProcessLookupError:  # it has ended meanwhile
                continue
        moved |= tasks


def _read() -> Reading:
    """Raises OSError, or ValueError where the kernel was built without."""
    ran, waited, _ = (_PROC / "schedstat").read_text().split()
    return Reading(int(ran) / 1e9, int(waited) / 1e9)


def _cpu() -> int:
    """Return the CPU on which this thread runs: `processor` in proc_pid_stat(5)."""
    return int((_PROC / "stat").read_text().rpartition(")")[2].split()[36])
