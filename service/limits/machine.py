"""The limits' store of one machine: a file that the worker processes share in memory.

The file begins with the pid of each worker and goes on with a slot for each key: its two buckets, and a count of
running requests for each worker, so that a worker that was killed takes its counts with it. One lock (flock) guards it
all for the microseconds of a call; the kernel lets go of it when its holder dies.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import mmap
import os
import struct
import tempfile
from pathlib import Path

from service.config import MOST_WORKERS
from service.limits.buckets import Levels, Limits, filled, refusal
from service.shared_file import lengthen

_MAGIC = b"limits-1"
_SLOTS = 8192
_IDLE = 600.0
"""Seconds after which a slot that nobody uses has nothing left to say: it may become another key's."""

_EMPTY = bytes(16)
# The file: the magic bytes; for each worker its pid and start; slots: a digest of the key's name, two buckets (level,
# instant), and a count for each worker.
_OWNER = struct.Struct("<2q")
_BUCKET = struct.Struct("<2d")
_RUNNING = struct.Struct(f"<{MOST_WORKERS}i")
_COUNT = struct.Struct("<i")
_REQUESTS_AT = len(_EMPTY)
_TOKENS_AT = _REQUESTS_AT + _BUCKET.size
_RUNNING_AT = _TOKENS_AT + _BUCKET.size
_SLOT_BYTES = _RUNNING_AT + _RUNNING.size
_SLOTS_AT = len(_MAGIC) + MOST_WORKERS * _OWNER.size
_FILE_BYTES = _SLOTS_AT + _SLOTS * _SLOT_BYTES


class MachineStore:
    """Buckets and counts by key name, for all processes that open the same file with different indices."""

    def __init__(self, path: str | None, index: int) -> None:
        """Open the file, making it where it is not. None: a file of this process alone.

        `index` is the worker's own, 0 to 63. A worker that died with it is forgotten.

        Raises:
            OSError: the file cannot be made.
            ValueError: the index is out of range.
        """
        if not 0 <= index < MOST_WORKERS:
            raise ValueError(f"a worker's index is 0 to {MOST_WORKERS - 1}, not {index}")
        self._index = index
        self._offsets: dict[str, int] = {}
        self._file = _open(path)
        self._lock()
        try:
            lengthen(self._file, _FILE_BYTES)
            self._memory = mmap.mmap(self._file, _FILE_BYTES)
            found = self._memory[: len(_MAGIC)]
            if found != _MAGIC:
                if any(found):
                    self._memory[:] = bytes(_FILE_BYTES)
                self._memory[: len(_MAGIC)] = _MAGIC
            self._forget_worker(index)
            pid = os.getpid()
            _OWNER.pack_into(self._memory, _owner_offset(index), pid, _started_at(pid))
        finally:
            self._unlock()

    def take(self, name: str, limits: Limits, tokens: int, now: float) -> tuple[bool, Levels]:
        """Begin a request of so many tokens, if the limits allow it; return whether they did, and what is left."""
        self._lock()
        try:
            offset = self._slot(name, now)
            levels = Levels(
                self._level(offset + _REQUESTS_AT, limits.requests, now),
                self._level(offset + _TOKENS_AT, limits.tokens, now),
                self._running(offset, limits.concurrency),
            )
            allowed = refusal(limits, levels, tokens) is None
            if allowed:
                levels = Levels(levels.requests - 1, levels.tokens - tokens, levels.running + 1)
                if limits.requests is not None:
                    _BUCKET.pack_into(self._memory, offset + _REQUESTS_AT, levels.requests, now)
                if limits.tokens is not None:
                    _BUCKET.pack_into(self._memory, offset + _TOKENS_AT, levels.tokens, now)
                self._count(offset, 1)
            return allowed, levels
        finally:
            self._unlock()

    def settle(self, name: str, limits: Limits, tokens: int, now: float) -> None:
        """End a request, giving so many tokens back; a negative number charges more."""
        self._lock()
        try:
            offset = self._slot(name, now)
            self._count(offset, -1)
            if limits.tokens is not None:
                place = offset + _TOKENS_AT
                _BUCKET.pack_into(self._memory, place, self._level(place, limits.tokens, now) + tokens, now)
        finally:
            self._unlock()

    def close(self) -> None:
        """Forget this worker's running requests and let go of the file."""
        self._lock()
        try:
            self._forget_worker(self._index)
        finally:
            self._unlock()
        self._memory.close()
        os.close(self._file)

    def _lock(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def _unlock(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def _slot(self, name: str, now: float) -> int:
        """Return the offset of a key's slot, making one at the first idle place from its home on."""
        digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
        known = self._offsets.get(name)
        if known is not None and self._memory[known : known + 16] == digest:
            return known
        home, idle = int.from_bytes(digest[:4]), None
        for step in range(_SLOTS):
            offset = _SLOTS_AT + (home + step) % _SLOTS * _SLOT_BYTES
            found = self._memory[offset : offset + 16]
            if found == digest:
                self._offsets[name] = offset
                return offset
            if idle is None and (found == _EMPTY or self._is_idle(offset, now)):
                idle = offset
            if found == _EMPTY:
                break
        if idle is None:
            raise RuntimeError(f"more than {_SLOTS} keys with limits are in use at once")
        self._memory[idle : idle + _REQUESTS_AT] = digest
        _BUCKET.pack_into(self._memory, idle + _REQUESTS_AT, math.inf, now)
        _BUCKET.pack_into(self._memory, idle + _TOKENS_AT, math.inf, now)
        self._offsets[name] = idle
        return idle

    def _is_idle(self, offset: int, now: float) -> bool:
        _, requests_at = _BUCKET.unpack_from(self._memory, offset + _REQUESTS_AT)
        _, tokens_at = _BUCKET.unpack_from(self._memory, offset + _TOKENS_AT)
        # After a restart of the machine its clock may stand before what the file says.
        passed = abs(now - max(requests_at, tokens_at))
        return passed > _IDLE and not any(_RUNNING.unpack_from(self._memory, offset + _RUNNING_AT))

    def _level(self, place: int, limit: int | None, now: float) -> float:
        level, at = _BUCKET.unpack_from(self._memory, place)
        return filled(level, at, limit, now)

    def _running(self, offset: int, limit: int | None) -> int:
        """Return how many requests of a key are running. Only at the limit is it worth looking for the dead."""
        counts: tuple[int, ...] = _RUNNING.unpack_from(self._memory, offset + _RUNNING_AT)
        running = sum(counts)
        if limit is None or running < limit:
            return running
        for index, count in enumerate(counts):
            if count and not _alive(*_OWNER.unpack_from(self._memory, _owner_offset(index))):
                self._forget_worker(index)
                running -= count
        return running

    def _count(self, offset: int, change: int) -> None:
        place = offset + _RUNNING_AT + self._index * _COUNT.size
        (count,) = _COUNT.unpack_from(self._memory, place)
        _COUNT.pack_into(self._memory, place, max(0, count + change))

    def _forget_worker(self, index: int) -> None:
        _OWNER.pack_into(self._memory, _owner_offset(index), 0, 0)
        first = _SLOTS_AT + _RUNNING_AT + index * _COUNT.size
        for place in range(first, _FILE_BYTES, _SLOT_BYTES):
            if self._memory[place : place + _COUNT.size] != b"\0\0\0\0":
                _COUNT.pack_into(self._memory, place, 0)


def _open(path: str | None) -> int:
    if path is not None:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _owner_offset(index: int) -> int:
    return len(_MAGIC) + index * _OWNER.size


def _alive(pid: int, started: int) -> bool:
    """Say whether a process is there, and is the one that started then: process ids are used again."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _started_at(pid) == started


def _started_at(pid: int) -> int:
    """Return when a process started, in ticks since the machine did; -1 for a dead one not yet reaped; 0: not told."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return -1 if fields[0] in "ZX" else int(fields[19])
