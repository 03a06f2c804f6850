"""Answers that come over the network: reading them in bounded memory and time, and naming what goes wrong."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from service.config import Provider
from service.errors import FailureKind, ProviderFailure
from service.upstream.alarms import Waiting
from service.upstream.connection import Connection, Lost, Malformed
from service.upstream.inflate import CODINGS, BadlyCompressed, Inflated
from service.upstream.pool import Pool
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
        case Malformed():
            return ProviderFailure(FailureKind.MALFORMED, f"{provider} did not answer in valid HTTP")
        case Lost(error=None):
            return ProviderFailure(FailureKind.CONNECTION, f"{provider} closed the connection without an answer")
        case Lost(error=Exception() as cause):
            return connection_failure(provider, cause)
        case ssl.SSLError():
            text = f"the TLS handshake with {provider} failed: {_reason(error)}"
            return ProviderFailure(FailureKind.CONNECTION, text)
        case socket.gaierror():
            return ProviderFailure(FailureKind.CONNECTION, f"the host name of {provider} was not found")
        case OSError(errno=int(number)) if number in errno.errorcode:
            text = os.strerror(number)
            return ProviderFailure(FailureKind.CONNECTION, f"the connection to {provider} failed: {text}")
    return ProviderFailure(FailureKind.CONNECTION, f"the connection to {provider} failed")


def _reason(error: ssl.SSLError) -> str:
    """Return why TLS failed. What OpenSSL says after a comma may be a host's name."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message.partition(",")[0]
    return (error.reason or "no reason given").replace("_", " ").lower()


class Watch:
    """The one timer of a call. Events do not touch it: when it goes off, it looks whether anything is late."""

    __slots__ = (
        "_alarms",
        "_expire",
        "_far",
        "_first",
        "_loop",
        "_sent_at",
        "_timeouts",
        "_timer",
        "expired",
        "waiting_since",
    )

    def __init__(self, pool: Pool, sent_at: float, timeouts: CallTimeouts, expire: Callable[[], None]) -> None:
        self._loop = pool.loop
        self._alarms = pool.alarms
        self._expire = expire
        self._sent_at = sent_at
        self._timeouts = timeouts
        self._first = answer_limit(sent_at, timeouts)
        self._timer: asyncio.TimerHandle | None = None
        self._far: set[Waiting] | None = None
        """With whom it waits for the time to set the timer."""
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
        if self._far is not None:
            self._far.discard(self)
            self._far = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _next(self) -> Limit | None:
        if self._first is not None:
            return self._first
        idle, total = self._timeouts.idle, self._timeouts.total
        whole = None if total is None else Limit(self._sent_at + total, "total", total)
        if idle is None:
            return whole
        since = self._loop.time() if self.waiting_since is None else self.waiting_since
        silent = Limit(since + idle, "idle", idle)
        return silent if whole is None else min(silent, whole)

    def _arm(self, limit: Limit | None) -> None:
        if limit is None:
            return
        self._far = far = self._alarms.far(limit.at)
        if far is None:
            self._timer = self._loop.call_at(limit.at, self.look)
        else:
            far.add(self)

    def look(self) -> None:
        """See what is late."""
        self.stop()
        limit = self._next()
        if limit is None or limit.at > self._loop.time():
            self._arm(limit)
        else:
            self.expired = limit
            self._expire()


class NetworkResponse:
    """A `Response` that a connection carries. The connection's owner gives it back."""

    def __init__(self, name: str, provider: Provider, connection: Connection, watch: Watch) -> None:
        self.status = connection.status
        self._name = name
        self._provider = provider
        self._watch = watch
        self._connection = connection
        # A coding that is not known here is read as it is: some servers write a charset there.
        self._fields = connection.fields
        self._compressed = self._fields.get(b"content-encoding", b"").decode("latin-1").lower() in CODINGS
        self._next = Inflated(connection.next).next if self._compressed else connection.next
        self._decoder: EventDecoder | None = None
        """Of a body that is read as events."""

    @property
    def headers(self) -> Mapping[str, str]:
        """See `Response.headers`."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self._fields.items()}

    async def read(self) -> bytes:
        """See `Response.read`."""
        is_error = self.status >= 400
        most = MAX_ERROR_BYTES if is_error else self._provider.max_response_bytes
        # Most answers come in one piece.
        if not self._compressed and (rest := self._connection.rest(most)) is not None:
            return rest
        parts: list[bytes] = []
        size = 0
        try:
            while size <= most and (part := await self._next()):
                parts.append(part)
                size += len(part)
        except (Lost, Malformed, BadlyCompressed):
            raise self._broken() from None
        if size > most and not is_error:
            message = f"the answer of {self._name} is larger than {most} bytes"
            raise ProviderFailure(FailureKind.MALFORMED, message, status=self.status)
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return body if size <= most else body[:most]

    async def events(self) -> AsyncGenerator[Sequence[Event], None]:
        """See `Response.events`."""
        watch = self._watch
        clock = asyncio.get_running_loop().time
        decoder = self._decoder = EventDecoder(self._provider.max_event_bytes)
        seen = False
        gathering = self._connection.gathering
        gathering.begin()
        try:
            while True:
                watch.waiting_since = clock()
                try:
                    chunk = await self._next()
                except (Lost, Malformed, BadlyCompressed):
                    raise self._broken() from None
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
                        self._connection.gather()
                    yield events
            watch.stop()
        finally:
            gathering.end()

    def offer_to(self, take: Callable[[Sequence[Event]], bool]) -> None:
        """See `Response.offer_to`."""
        watch, clock, decoder = self._watch, asyncio.get_running_loop().time, self._decoder
        if decoder is None or self._compressed:
            return

        def offer(chunk: bytes) -> bool:
            events = decoder.whole(chunk)
            if events is None or not take(events):
                return False
            watch.waiting_since = clock()
            return True

        self._connection.offer_to(offer)

    def leave(self) -> None:
        """See `Response.leave`."""
        self._connection.left = True

    def _broken(self) -> ProviderFailure:
        expired = self._watch.expired
        if expired is not None:
            return timed_out(self._name, expired.name, expired.seconds)
        return broken_off(self._name, self.status)
