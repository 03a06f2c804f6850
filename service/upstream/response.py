"""A provider's answer as the rest of the service reads it, and the time it may take."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from service.errors import FailureKind, ProviderFailure
from service.upstream.sse import Event

MAX_ERROR_BYTES = 1024 * 1024
"""An error's body is read so far; the rest is left."""


class CallTimeouts(NamedTuple):
    """Limits of one call, in seconds. All but `connect` and `idle` count from sending; None is no limit.

    `first_event` (streamed calls) ends with the first event, `response` (unary calls) with the whole body. `idle` is
    the time without any bytes after the first event, while the caller waits for them.
    """

    connect: float
    first_event: float | None = None
    idle: float | None = None
    response: float | None = None
    total: float | None = None


class Limit(NamedTuple):
    """A moment on the event loop's clock at which a wait ends, and the timeout it comes from."""

    at: float
    name: str
    seconds: float


def answer_limit(sent_at: float, timeouts: CallTimeouts) -> Limit | None:
    """Return the earliest limit of what `sent_at` began: for the headers, a whole body, or the first event."""
    name, soonest = "", math.inf
    if timeouts.first_event is not None:
        name, soonest = "first_event", timeouts.first_event
    if timeouts.response is not None and timeouts.response < soonest:
        name, soonest = "response", timeouts.response
    if timeouts.total is not None and timeouts.total < soonest:
        name, soonest = "total", timeouts.total
    return Limit(sent_at + soonest, name, soonest) if name else None


_TIMEOUT_TEXTS = {
    "connect": "{provider} could not be connected to within {seconds:g} s",
    "first_event": "{provider} sent no event within {seconds:g} s",
    "idle": "{provider} sent nothing for {seconds:g} s",
    "response": "{provider} did not answer within {seconds:g} s",
    "total": "{provider} did not finish within {seconds:g} s",
}


def timed_out(provider: str, name: str, seconds: float) -> ProviderFailure:
    """Return the failure of a passed limit."""
    text = _TIMEOUT_TEXTS[name].format(provider=provider, seconds=seconds)
    return ProviderFailure(FailureKind.TIMEOUT, f"{text} ({name} timeout)", timeout=name)


def broken_off(provider: str, status: int) -> ProviderFailure:
    """Return the failure of a body that ended before its end."""
    return ProviderFailure(FailureKind.CUT, f"the answer of {provider} broke off", status=status)


def event_too_large(provider: str, limit: int, status: int) -> ProviderFailure:
    """Return the failure of an event of more than `limit` bytes."""
    return ProviderFailure(FailureKind.MALFORMED, f"{provider} sent an event of more than {limit} bytes", status=status)


class Response(Protocol):
    """A provider's answer: its head, and its body either whole or as events."""

    @property
    def status(self) -> int:
        """The HTTP status, 200 and above."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers by lower-case name; of repeated ones the last."""
        ...

    async def read(self) -> bytes:
        """Return the whole body, decompressed. Of an error (status 400 and above) at most MAX_ERROR_BYTES.

        Raises:
            ProviderFailure: TIMEOUT; CUT, the body broke off; MALFORMED, it is larger than the provider's limit.
        """
        ...

    def events(self) -> AsyncGenerator[Sequence[Event], None]:
        """Yield the body's server-sent events, one item for each network chunk that completed any.

        Ends where the body ends, which a body that is ended by closing cannot tell from being cut: only the events
        themselves can. Reading to the end lets the connection be used again.

        Raises:
            ProviderFailure: TIMEOUT; CUT, the body broke off; MALFORMED, an event is larger than the provider's limit.
        """
        ...

    def offer_to(self, take: Callable[[Sequence[Event]], bool]) -> None:
        """From now on, once `events` has begun, offer what arrives while somebody waits for it to `take` first.

        What that says it has taken, `events` does not yield. It is called where the bytes arrive, so that a stream's
        usual events need not wake up everybody on their way. What it raises, `events` does. Not all that could be
        offered is.
        """
        ...

    def leave(self) -> None:
        """Say that no more of the body is wanted, and that little more will come.

        The connection is used again once that has come, and closed if it does not soon.
        """
        ...
