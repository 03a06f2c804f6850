"""Streams of a provider that is called with TLS or without, by a worker that is busy or rests."""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from service.config import Provider
from service.upstream import CallTimeouts, Upstream
from tests.fakes.wire import chunk

PATIENT = CallTimeouts(connect=5, first_event=5, idle=5, total=10)


def idle() -> float:
    """The clock of a thread that does nothing."""
    return 0.0


busy = time.monotonic
"""The clock of a thread that does not rest."""


class Tls(NamedTuple):
    """A server's certificate, and the file of who vouches for it; None of both where there is no TLS."""

    server: ssl.SSLContext | None = None
    authority: str | None = None


@asynccontextmanager
async def client(spent: Callable[[], float], tls: Tls) -> AsyncIterator[Upstream]:
    """Give a client of one provider, `acme`."""
    provider = Provider(dialect="openai", base_url="http://unused.example", ca_file=tls.authority)
    upstream = Upstream({"acme": provider}, {}, spent)
    try:
        yield upstream
    finally:
        await upstream.close()


def event(number: int) -> bytes:
    return chunk(b"data: %d\n\n" % number)
