"""The client of all providers: one connection pool each, one call at a time, one kind of failure."""

from __future__ import annotations

import asyncio
import errno
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING

from service.config import Provider
from service.errors import GatewayError, ProviderFailure
from service.upstream.address import Address, address
from service.upstream.connection import Connection, Lost, Malformed
from service.upstream.gathering import Gathering
from service.upstream.inprocess import ScriptedResponse
from service.upstream.network import NetworkResponse, Watch, connection_failure
from service.upstream.pool import Pool
from service.upstream.response import CallTimeouts, Response, answer_limit, timed_out
from service.upstream.script import Script

if TYPE_CHECKING:
    # Only for the type: `providers` imports `upstream.sse`, so importing it here would close a circle.
    from service.providers.dialect import UpstreamRequest

# Compression is declined: it holds back the events of a stream, and answers are small.
_HEADERS: Mapping[str, str] = MappingProxyType(
    {"user-agent": "chat-gateway", "accept": "*/*", "accept-encoding": "identity"}
)

_OURS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""What keeps this machine from connecting, to whomever."""


class Upstream:
    """Sends requests to providers.

    `players` makes the scripts of the dialects that are served within this process. `spent` is a reading of the time
    that the event loop's thread has worked, in seconds: streams of a busy one gather their events. Certificate files
    are read at once. It belongs to the event loop in which it is made.

    Raises:
        OSError: a provider's `ca_file` cannot be read, or holds no certificates (ssl.SSLError).
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        players: Mapping[str, Callable[[UpstreamRequest], Script]],
        spent: Callable[[], float] = time.thread_time,
    ) -> None:
        self._providers = providers
        self._players = players
        # Reading the system's certificates takes some 20 ms; without them a context trusts nobody.
        secure = any(provider.base_url.startswith("https:") for provider in providers.values())
        usual = _tls(None) if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        gathering = Gathering(spent)
        self._pools = {
            name: Pool(usual if provider.ca_file is None else _tls(provider.ca_file), gathering)
            for name, provider in providers.items()
        }

    def send(
        self,
        provider: str,
        request: UpstreamRequest,
        timeouts: CallTimeouts,
        before_sending: Callable[[], None] | None = None,
    ) -> AbstractAsyncContextManager[Response]:
        """Send a request; the context gives the answer once its headers are in, whatever its status.

        Leaving the context, also by an error or a cancellation, closes the provider's connection at once unless the
        body was read to its end, or left (`Response.leave`). Redirects are answers like others. Proxies of the
        environment are not used. A kept connection that turns out to be gone before any byte of an answer is replaced
        by a new one, once.

        `before_sending` is called on a connection that is made, right before the first byte goes out. What it raises
        is raised, and nothing is sent.

        Raises (on entering):
            ProviderFailure: CONNECTION, TIMEOUT, or MALFORMED (no valid HTTP).
            GatewayError: overloaded, this machine has no connections left.
        """
        config = self._providers[provider]
        player = self._players.get(config.dialect)
        if player is not None:
            return _Played(ScriptedResponse(provider, config, player(request), timeouts), before_sending)
        return _Call(provider, config, self._pools[provider], request, timeouts, before_sending)

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            pool.close()


class _Played:
    """A call that a script answers."""

    def __init__(self, response: ScriptedResponse, before_sending: Callable[[], None] | None) -> None:
        self._response = response
        self._before_sending = before_sending

    async def __aenter__(self) -> Response:
        if self._before_sending is not None:
            self._before_sending()
        return self._response

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


class _Call:
    """A call over the network."""

    def __init__(
        self,
        name: str,
        provider: Provider,
        pool: Pool,
        request: UpstreamRequest,
        timeouts: CallTimeouts,
        before_sending: Callable[[], None] | None,
    ) -> None:
        self._name = name
        self._provider = provider
        self._pool = pool
        self._request = request
        self._timeouts = timeouts
        self._before_sending = before_sending
        self._connection: Connection | None = None
        self._watch: Watch | None = None

    async def __aenter__(self) -> Response:
        sent_at = self._pool.loop.time()
        to = address(self._request.url)
        head = _head(to, self._request)
        # `from None`: the errors' own texts may hold addresses.
        try:
            connection = self._pool.take(to.origin)
            if connection is not None:
                try:
                    return await self._exchange(connection, sent_at, head)
                except Lost:
                    # The provider may have closed it while it was idle.
                    if connection.answered or self._expired():
                        raise
                    self._end()
            return await self._exchange(await self._connect(to, sent_at), sent_at, head)
        except (Lost, Malformed, OSError) as error:
            self._end()
            if isinstance(error, OSError) and error.errno in _OURS:
                text = "The gateway has no connections left to call providers with; send the request again later."
                raise GatewayError("overloaded", text, retry_after=1) from None
            raise self._failure(error) from None
        except BaseException:
            self._end()
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end()

    async def _exchange(self, connection: Connection, sent_at: float, head: bytes) -> Response:
        self._connection = connection
        self._watch = watch = Watch(self._pool, sent_at, self._timeouts, connection.abort)
        if self._before_sending is not None:
            self._before_sending()
        await connection.exchange(head, self._request.body)
        return NetworkResponse(self._name, self._provider, connection, watch)

    async def _connect(self, to: Address, sent_at: float) -> Connection:
        """Raises OSError; ProviderFailure: it took too long."""
        timeouts = self._timeouts
        connect_at = self._pool.loop.time() + timeouts.connect
        limit = answer_limit(sent_at, timeouts)
        first = connect_at if limit is None else min(connect_at, limit.at)
        try:
            async with asyncio.timeout_at(first) as timer:
                return await self._pool.connect(to.origin)
        except TimeoutError:
            if not timer.expired():
                raise
        if limit is None or connect_at <= limit.at:
            raise timed_out(self._name, "connect", timeouts.connect)
        raise timed_out(self._name, limit.name, limit.seconds)

    def _failure(self, error: Exception) -> ProviderFailure:
        watch = self._watch
        if watch is not None and watch.expired is not None:
            return timed_out(self._name, watch.expired.name, watch.expired.seconds)
        return connection_failure(self._name, error)

    def _expired(self) -> bool:
        return self._watch is not None and self._watch.expired is not None

    def _end(self) -> None:
        if self._watch is not None:
            self._watch.stop()
        connection, self._connection = self._connection, None
        if connection is not None:
            # It is not to keep whoever took texts, nor its own watch, which has hold of it.
            connection.offer_to(None)
            self._pool.give_back(connection)


def _head(to: Address, request: UpstreamRequest) -> bytes:
    """Return a request's head.

    Raises:
        ValueError: a header holds a line break.
    """
    return b"%bcontent-length: %d\r\n\r\n" % (_lines(to, tuple(request.headers.items())), len(request.body))


@lru_cache(maxsize=256)
def _lines(to: Address, own: tuple[tuple[str, str], ...]) -> bytes:
    """Return what the heads of all requests with the same headers begin with."""
    headers = {"host": to.authority, **_HEADERS, **dict(own)}
    headers.pop("content-length", None)  # each request's own follows
    lines = [f"POST {to.target} HTTP/1.1", *[f"{name}: {value}" for name, value in headers.items()]]
    text = "\r\n".join((*lines, ""))
    if text.count("\n") != len(lines) or text.count("\r") != len(lines):
        raise ValueError("a header of the request holds a line break")
    return text.encode()


def _tls(ca_file: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
