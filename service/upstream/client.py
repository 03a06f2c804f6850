"""The client of all providers: one connection pool each, one call at a time, one kind of failure."""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from yarl import URL

from service.config import Provider
from service.upstream.inprocess import ScriptedResponse
from service.upstream.network import NetworkResponse, connection_failure
from service.upstream.response import CallTimeouts, Response, answer_limit, timed_out
from service.upstream.script import Script

if TYPE_CHECKING:
    # Only for the type: `providers` imports `upstream.sse`, so importing it here would close a circle.
    from service.providers.dialect import UpstreamRequest

_KEEP_ALIVE_SECONDS = 60.0
_MAX_HEADER_BYTES = 32 * 1024
_WHOLE_WRITE_BYTES = 1024 * 1024
"""A larger body is written piece by piece, so that it does not hold up the event loop."""


class Upstream:
    """Sends requests to providers.

    `players` makes the scripts of the dialects that are served within this process. Certificate files are read at once.

    Raises:
        OSError: a provider's `ca_file` cannot be read, or holds no certificates (ssl.SSLError).
    """

    def __init__(
        self, providers: Mapping[str, Provider], players: Mapping[str, Callable[[UpstreamRequest], Script]]
    ) -> None:
        self._providers = providers
        self._players = players
        self._tls = {
            name: ssl.create_default_context(cafile=provider.ca_file)
            for name, provider in providers.items()
            if provider.ca_file is not None
        }
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    def send(
        self, provider: str, request: UpstreamRequest, timeouts: CallTimeouts
    ) -> AbstractAsyncContextManager[Response]:
        """Send a request; the context gives the answer once its headers are in, whatever its status.

        Leaving the context, also by an error or a cancellation, closes the provider's connection at once unless the
        body was read to its end. Redirects are answers like others. Proxies of the environment are not used.

        Raises (on entering):
            ProviderFailure: CONNECTION, TIMEOUT, or MALFORMED (no valid HTTP).
        """
        config = self._providers[provider]
        player = self._players.get(config.dialect)
        if player is not None:
            return self._play(provider, config, player(request), timeouts)
        return self._call(provider, config, request, timeouts)

    async def close(self) -> None:
        """Close all connections."""
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    @asynccontextmanager
    async def _play(
        self, name: str, provider: Provider, script: Script, timeouts: CallTimeouts
    ) -> AsyncIterator[Response]:
        yield ScriptedResponse(name, provider, script, timeouts)

    @asynccontextmanager
    async def _call(
        self, name: str, provider: Provider, request: UpstreamRequest, timeouts: CallTimeouts
    ) -> AsyncIterator[Response]:
        sent_at = asyncio.get_running_loop().time()
        http = await self._head(name, request, timeouts, sent_at)
        response = NetworkResponse(name, provider, http, timeouts, sent_at)
        try:
            yield response
        finally:
            response.close()

    async def _head(
        self, name: str, request: UpstreamRequest, timeouts: CallTimeouts, sent_at: float
    ) -> aiohttp.ClientResponse:
        limit = answer_limit(sent_at, timeouts)
        body = request.body if len(request.body) <= _WHOLE_WRITE_BYTES else io.BytesIO(request.body)
        # `from None`: aiohttp's own texts hold the URL, and with it keys in its query.
        try:
            async with asyncio.timeout_at(None if limit is None else limit.at):
                return await self._session(name).request(
                    "POST",
                    URL(request.url, encoded=True),
                    headers=request.headers,
                    data=body,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(connect=timeouts.connect),
                )
        except aiohttp.ServerTimeoutError:
            raise timed_out(name, "connect", timeouts.connect) from None
        except (aiohttp.ClientError, OSError) as error:
            if isinstance(error, TimeoutError) and limit is not None:
                raise timed_out(name, limit.name, limit.seconds) from None
            raise connection_failure(name, error) from None

    def _session(self, name: str) -> aiohttp.ClientSession:
        """Return the provider's session, made with its first call: it belongs to the running event loop."""
        session = self._sessions.get(name)
        if session is None:
            session = self._sessions[name] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS, ssl=self._tls.get(name, True)
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "chat-gateway"},
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
            )
        return session
