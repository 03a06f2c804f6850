"""What the workers of one Envoy have sent to providers, so that a request that Envoy repeats is never sent twice.

Envoy repeats a request when the worker that had it is gone. Only that worker knew whether it had asked a provider, so
each writes that down, before it asks, in a file of its own in a directory that all of them read. The files are memory
that they share: it stays when a process is killed.

An attempt is what Envoy hands to a worker: a call, and a count from 1. A repetition says in a table that the attempts
before it are overtaken, then looks whether one of them was sent. An attempt writes that it is sent, then looks whether
it is overtaken. So at most one goes on, also when the worker that Envoy has given up still lives.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import secrets
import struct
import time
from collections import deque
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from service.errors import GatewayError
from service.shared_file import lengthen

_ENTRY_BYTES = 8
_BUCKETS = 4096
"""Of the table of what is overtaken; an entry's first bytes say in which it is."""
_BUCKET_ENTRIES = 8
_BUCKET_BYTES = _BUCKET_ENTRIES * _ENTRY_BYTES
_COUNTS: Mapping[str | bytes | None, int] = {str(count): count for count in range(1, 17)}
_KEPT_S = 900.0
"""A dead worker's file stays so long: longer than Envoy lets a request be silent."""
# A worker's file: when its death was noticed (Unix time; 0 while it lives), then the entries.
_DEATH = struct.Struct("<d")


class SentRecord:
    """This worker's file, and a view of the others'. One writer; nobody waits for a lock.

    An entry outlives its request until its place is needed, those first that were given back first: the answer may
    still be on its way when the worker is killed.
    """

    def __init__(self, directory: str, places: int) -> None:
        """Make this worker's file, for so many entries: several times more than requests at once.

        Raises:
            OSError: the directory cannot be used.
            ValueError: it is full.
        """
        folder = Path(directory)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _forget_the_dead(folder, time.time())
        self._path = folder / f"{secrets.token_hex(8)}.sent"
        self._memory = _shared(self._path, _DEATH.size + places * _ENTRY_BYTES, held=True)
        _DEATH.pack_into(self._memory, 0, 0.0)
        self._overtaken = _shared(folder / "overtaken", _BUCKETS * _BUCKET_BYTES, held=False)
        self._turns = bytearray(secrets.token_bytes(_BUCKETS))  # workers do not begin at the same places
        self._unused = iter(range(_DEATH.size, len(self._memory), _ENTRY_BYTES))
        self._given_back: deque[int] = deque()

    def write(self, entry: bytes) -> int | None:
        """Write down that an attempt is sent. Return its place, to be given back; None when all are in use."""
        place = next(self._unused, None)
        if place is None and self._given_back:
            place = self._given_back.popleft()
        if place is not None:
            self._memory[place : place + _ENTRY_BYTES] = entry
        return place

    def give_back(self, place: int) -> None:
        """Let a place be used again."""
        self._given_back.append(place)

    def overtake(self, entry: bytes) -> None:
        """Stop an attempt that is not sent yet, whichever worker has it."""
        bucket = _bucket(entry)
        turn = self._turns[bucket] = (self._turns[bucket] + 1) % _BUCKET_ENTRIES
        at = bucket * _BUCKET_BYTES + turn * _ENTRY_BYTES
        self._overtaken[at : at + _ENTRY_BYTES] = entry

    def is_overtaken(self, entry: bytes) -> bool:
        """Say whether a later attempt has come."""
        at = _bucket(entry) * _BUCKET_BYTES
        # Not by `mmap.find`: CPython's search reads a byte beyond, which at the file's end is nobody's memory.
        return entry in self._overtaken[at : at + _BUCKET_BYTES]

    def has_any(self, entries: Sequence[bytes]) -> bool:
        """Say whether a worker, dead or alive, has sent one of these attempts, or may have."""
        paths = list(self._path.parent.glob("*.sent"))
        # Where this worker's own file was deleted, so may be others'.
        return self._path not in paths or any(entry in content for content in map(_content, paths) for entry in entries)


class Sending:
    """One attempt: `begin` before the first byte goes to a provider, `end` when the request has ended."""

    __slots__ = ("_entry", "_place", "_record")

    def __init__(self, record: SentRecord, entry: bytes) -> None:
        self._record = record
        self._entry = entry
        self._place: int | None = None

    def begin(self) -> None:
        """Write down that the request is sent; only the first time counts.

        Raises:
            GatewayError: it must not be sent.
        """
        if self._place is not None:
            return
        self._place = self._record.write(self._entry)
        if self._place is None:
            raise GatewayError("overloaded", "The gateway has too many requests in flight.", retry_after=1)
        if self._record.is_overtaken(self._entry):
            raise _refusal("Another worker has taken the request over")

    def end(self) -> None:
        """Give the place back."""
        if self._place is not None:
            self._record.give_back(self._place)


def admit(metadata: Mapping[str, str | bytes], record: SentRecord | None) -> Sending | None:
    """Return a request's attempt; None where nothing is kept of it: it does not come from Envoy, or there is no record.

    Raises:
        GatewayError: Envoy repeats what was sent to a provider, or may have been.
    """
    text, call = metadata.get("x-envoy-attempt-count"), metadata.get("x-gateway-call")
    if text is None:
        return None
    count = _COUNTS.get(text)
    if record is None or call is None or count is None:
        if count == 1:
            return None
        raise _refusal("The worker that had it is gone; only workers that share GATEWAY_SENT_DIR know what it had sent")
    if count > 1:
        earlier = [_entry(call, each) for each in range(1, count)]
        for entry in earlier:
            record.overtake(entry)
        if record.has_any(earlier):
            raise _refusal("The worker that had it is gone, and had sent it to a provider")
    return Sending(record, _entry(call, count))


def _refusal(why: str) -> GatewayError:
    # Without the header that makes Envoy ask one more worker.
    message = f"The request is not sent again. {why}. Repeat it if it may be answered twice."
    return GatewayError("overloaded", message, retry_after=1)


def _entry(call: str | bytes, count: int) -> bytes:
    return blake2b(f"{count} {call!r}".encode(), digest_size=_ENTRY_BYTES).digest()


def _bucket(entry: bytes) -> int:
    return int.from_bytes(entry[:2]) % _BUCKETS


def _shared(path: Path, size: int, *, held: bool) -> mmap.mmap:
    """Map a file, making it where it is not. `held`: locked for the process's life; the kernel lets go when it ends."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        lengthen(file, size)
        # All of it at once: it will be used, and memory that grows for minutes looks like a leak.
        memory = mmap.mmap(file, size, mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0))  # it has the lock too
        if not held:
            fcntl.flock(file, fcntl.LOCK_UN)
        return memory
    finally:
        os.close(file)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # its worker died long ago
        return b""


def _forget_the_dead(folder: Path, now: float) -> None:
    """Note which workers are dead, and delete the files of those that have been so for long."""
    for path in folder.glob("*.sent"):
        try:
            with path.open("r+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (death,) = _DEATH.unpack(file.read(_DEATH.size).ljust(_DEATH.size, b"\0"))
                if not death:
                    file.seek(0)
                    file.write(_DEATH.pack(now))
                elif abs(now - death) > _KEPT_S:
                    path.unlink()
        except (BlockingIOError, FileNotFoundError):  # it lives, or another worker has deleted its file
            continue
