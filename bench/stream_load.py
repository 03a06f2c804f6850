"""Streams asked for and read at once, and their first events' delay: `python -m bench.stream_load '{...}'`."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from urllib.parse import urlsplit

import uvloop
from httptools import HttpResponseParser

_MARK = b"data: {"


@dataclass(frozen=True, slots=True)
class Load:
    """What to ask for: `streams` at once, each begun anew when it ends, for so many seconds."""

    url: str
    headers: Mapping[str, str]
    body: str
    streams: int
    seconds: float


@dataclass(slots=True)
class Outcome:
    """What came of it. `events` came within `seconds`, `all_events` with the warm-up; `first` are delays in ms."""

    events: int = 0
    all_events: int = 0
    seconds: float = 0.0
    first_p50_ms: float = 0.0
    first_p99_ms: float = 0.0
    ended: int = 0
    failed: int = 0
    error: str = ""
    first: list[float] = field(default_factory=list)


class Reader(asyncio.Protocol):
    """One connection, one stream after the other."""

    def __init__(self, request: bytes, outcome: Outcome) -> None:
        self._request = request
        self._outcome = outcome
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.WriteTransport | None = None
        self._sent_at = 0.0
        self._tail = b""
        self._seen = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's transports have other bases
        self._ask()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._transport is not None:
            self._outcome.failed += 1
            self._outcome.error = self._outcome.error or f"connection lost: {exc}"

    def on_body(self, body: bytes) -> None:
        """Count the events that begin here."""
        text = self._tail + body
        count = text.count(_MARK)
        self._tail = text[-len(_MARK) + 1 :]
        if count:
            self._outcome.events += count
            if not self._seen:
                self._seen = True
                self._outcome.first.append((time.perf_counter() - self._sent_at) * 1000)

    def on_message_complete(self) -> None:
        """Ask for the next stream."""
        if self._parser.get_status_code() != 200 or not self._seen:
            self._outcome.failed += 1
            self._outcome.error = self._outcome.error or f"status {self._parser.get_status_code()}: {self._tail!r}"
        self._outcome.ended += 1
        self._ask()

    def stop(self) -> None:
        """Hang up."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()

    def _ask(self) -> None:
        self._seen = False
        self._tail = b""
        self._sent_at = time.perf_counter()
        if self._transport is not None:
            self._transport.write(self._request)


async def run(load: Load) -> Outcome:
    """Load a server; the first tenth of the time is warm-up."""
    parts = urlsplit(load.url)
    body = load.body.encode()
    headers = {
        "host": parts.netloc,
        "content-type": "application/json",
        "content-length": str(len(body)),
        **load.headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    request = f"POST {parts.path} HTTP/1.1\r\n{lines}\r\n".encode() + body
    outcome = Outcome()
    loop = asyncio.get_running_loop()
    readers = []
    for number in range(load.streams):
        _, reader = await loop.create_connection(
            lambda: Reader(request, outcome), parts.hostname or "", parts.port or 80
        )
        readers.append(reader)
        if number % 10 == 9:
            await asyncio.sleep(0.001)
    await asyncio.sleep(load.seconds / 10)
    begun, before = time.perf_counter(), outcome.events
    await asyncio.sleep(load.seconds)
    outcome.events -= before
    outcome.all_events = outcome.events + before
    outcome.seconds = time.perf_counter() - begun
    for reader in readers:
        reader.stop()
    if outcome.first:
        outcome.first_p50_ms = statistics.median(outcome.first)
        outcome.first_p99_ms = sorted(outcome.first)[int(len(outcome.first) * 0.99)]
    outcome.first = []
    return outcome


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run(Load(**json.loads(sys.argv[1])))))))
