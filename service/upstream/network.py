"""Answers that come over the network: reading them in bounded memory and time, and naming what goes wrong."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

import aiohttp

from service.config import Provider
from service.errors import FailureKind, ProviderFailure
from service.upstream.response import (
    MAX_ERROR_BYTES,
    CallTimeouts,
    Limit,
    answer_limit,
    broken_off,
    event_too_large,
    timed_out,
)
from service.upstream.sse import Event, EventDecoder, EventTooLarge


def connection_failure(provider: str, error: Exception) -> ProviderFailure:
    """Return what an error before the answer's headers means. Its text has no address, query or other internals."""
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientConnectorSSLError():
            return ProviderFailure(FailureKind.CONNECTION, f"the TLS handshake with {provider} failed")
        case aiohttp.ClientConnectorDNSError():
            return ProviderFailure(FailureKind.CONNECTION, f"the host name of {provider} was not found")
        case aiohttp.ClientResponseError():
            return ProviderFailure(FailureKind.MALFORMED, f"{provider} did not answer in valid HTTP")
        case OSError(errno=int(number)) if number in errno.errorcode:
            return ProviderFailure(
                FailureKind.CONNECTION, f"the connection to {provider} failed: {os.strerror(number)}"
            )
        case aiohttp.ServerDisconnectedError():
            return ProviderFailure(FailureKind.CONNECTION, f"{provider} closed the connection without an answer")
    return ProviderFailure(FailureKind.CONNECTION, f"the connection to {provider} failed")


class Watch:
    """The one timer of a stream. Events do not touch it: when it goes off, it looks whether anything is late."""

    __slots__ = ("_expire", "_first", "_idle", "_loop", "_timer", "_total", "expired", "waiting_since")

    def __init__(self, sent_at: float, timeouts: CallTimeouts, expire: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._expire = expire
        self._first = answer_limit(sent_at, timeouts)
        self._idle = timeouts.idle
        self._total = None if timeouts.total is None else Limit(sent_at + timeouts.total, "total", timeouts.total)
        self._timer: asyncio.TimerHandle | None = None
        self.waiting_since: float | None = None
        """When the caller began to wait for bytes; None while it does not."""
        self.expired: Limit | None = None
        self._arm(self._first)

    def first_event(self) -> None:
        """From now on `idle` holds instead of `first_event`."""
        self._first = None
        self.stop()
        self._arm(self._next())

    def stop(self) -> None:
        """Put the timer away."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> Limit | None:
        if self._first is not None:
            return self._first
        if self._idle is None:
            return self._total
        since = self._loop.time() if self.waiting_since is None else self.waiting_since
        idle = Limit(since + self._idle, "idle", self._idle)
        return idle if self._total is None else min(idle, self._total)

    def _arm(self, limit: Limit | None) -> None:
        if limit is not None:
            self._timer = self._loop.call_at(limit.at, self._look)

    def _look(self) -> None:
        limit = self._next()
        if limit is None or limit.at > self._loop.time():
            self._arm(limit)
        else:
            self.expired = limit
            self._expire()


def _look_at_error(lost: asyncio.Future[None]) -> None:
    if not lost.cancelled():
        lost.exception()


class NetworkResponse:
    """A `Response` over aiohttp. Its owner calls `close`."""

    def __init__(
        self, name: str, provider: Provider, http: aiohttp.ClientResponse, timeouts: CallTimeouts, sent_at: float
    ) -> None:
        self.status = http.status
        self.headers: Mapping[str, str] = {key.lower(): value for key, value in http.headers.items()}
        self._name = name
        self._provider = provider
        self._http = http
        self._timeouts = timeouts
        self._sent_at = sent_at
        self._watch: Watch | None = None
        # aiohttp leaves a reader waiting when a chunk's framing is broken: it closes and tells only who waits for that.
        protocol = None if http.connection is None else http.connection.protocol
        self._lost = None if protocol is None else protocol.closed
        if self._lost is not None:
            self._lost.add_done_callback(self._on_lost)

    def close(self) -> None:
        """Close the connection at once, unless the body was read to its end."""
        if self._watch is not None:
            self._watch.stop()
        if self._lost is not None:
            self._lost.remove_done_callback(self._on_lost)
            # One is kept, for asyncio logs errors that nobody looked at.
            self._lost.remove_done_callback(_look_at_error)
            self._lost.add_done_callback(_look_at_error)
        self._http.close()

    def _on_lost(self, lost: asyncio.Future[None]) -> None:
        _look_at_error(lost)
        self._http.close()

    async def read(self) -> bytes:
        """See `Response.read`."""
        is_error = self.status >= 400
        most = MAX_ERROR_BYTES if is_error else self._provider.max_response_bytes
        limit = answer_limit(self._sent_at, self._timeouts)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout_at(None if limit is None else limit.at):
                while size <= most and (part := await self._http.content.readany()):
                    parts.append(part)
                    size += len(part)
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError) and limit is not None:
                raise timed_out(self._name, limit.name, limit.seconds) from None
            raise broken_off(self._name, self.status) from None
        if size > most and not is_error:
            message = f"the answer of {self._name} is larger than {most} bytes"
            raise ProviderFailure(FailureKind.MALFORMED, message, status=self.status)
        return b"".join(parts)[:most]

    async def events(self) -> AsyncGenerator[Sequence[Event], None]:
        """See `Response.events`."""
        self._watch = watch = Watch(self._sent_at, self._timeouts, self._http.close)
        clock = asyncio.get_running_loop().time
        decoder = EventDecoder(self._provider.max_event_bytes)
        content = self._http.content
        seen = False
        while True:
            watch.waiting_since = clock()
            try:
                chunk = await content.readany()
            except (aiohttp.ClientError, OSError):
                if watch.expired is not None:
                    raise timed_out(self._name, watch.expired.name, watch.expired.seconds) from None
                raise broken_off(self._name, self.status) from None
            watch.waiting_since = None
            if not chunk:
                break
            try:
                events = decoder.feed(chunk)
            except EventTooLarge as error:
                raise event_too_large(self._name, self._provider.max_event_bytes, self.status) from error
            if events:
                if not seen:
                    seen = True
                    watch.first_event()
                yield events
        watch.stop()
