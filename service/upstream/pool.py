"""The connections to one provider: made when needed, kept while idle, used again."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress

import aiohappyeyeballs

from service.upstream.address import Origin
from service.upstream.alarms import Alarms
from service.upstream.connection import Connection, Lost, Malformed
from service.upstream.gathering import Gathering

_KEEP_ALIVE_SECONDS = 60.0
_NEXT_ADDRESS_SECONDS = 0.25
"""When an address of a host does not answer so long, the next is tried beside it (RFC 8305)."""
_REST_S = 2.0
"""What nobody reads of an answer may take so long to come, or the connection is not used again..."""
_REST_BYTES = 64 * 1024
"""...and be so much, with what was already there."""
# A provider that is gone without a word is noticed, and middle boxes keep a call that is silent for minutes.
_PROBES = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


class Pool:
    """The connections to one provider."""

    def __init__(self, tls: ssl.SSLContext, gathering: Gathering) -> None:
        self.loop = asyncio.get_running_loop()
        """The event loop that all of them belong to. Asking for the running one takes a system call."""
        self.alarms = Alarms(self.loop)
        """The timeouts of its calls."""
        self._tls = tls
        self._gathering = gathering
        self._idle: dict[Origin, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._skipping: set[asyncio.Task[None]] = set()
        self._sweep: asyncio.TimerHandle | None = None

    def take(self, origin: Origin) -> Connection | None:
        """Return the idle connection that was used last; None when there is none."""
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
        return None

    async def connect(self, origin: Origin) -> Connection:
        """Return a new connection, with TLS for https.

        Raises:
            OSError: it cannot be made; socket.gaierror: there is no such host; ssl.SSLError: the handshake failed.
        """
        loop = self.loop
        addresses = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, interleave=1, loop=loop
        )
        connection = Connection(origin, self._forget, self._gathering)
        self._open.add(connection)
        try:
            _tune(sock)
            if origin.scheme == "https":
                await self._secure(connection, sock)
            else:
                await loop.create_connection(lambda: connection, sock=sock)
            if not connection.reusable:
                raise ConnectionResetError
        except BaseException:
            self._open.discard(connection)
            connection.abort()
            sock.close()
            raise
        return connection

    async def _secure(self, connection: Connection, sock: socket.socket) -> None:
        """Begin a connection with TLS, on one that is there: see `Connection.secured`."""
        tcp, before = await self.loop.create_connection(_Before, sock=sock)
        try:
            if before.failure is not None:
                raise before.failure
            tls = await self.loop.start_tls(tcp, connection, self._tls, server_hostname=connection.origin.host)
        except BaseException:
            tcp.abort()
            raise
        assert tls is not None
        connection.secured(tls, tcp)

    def give_back(self, connection: Connection) -> None:
        """Keep a connection for the next request if it can serve one, or soon will, else end it."""
        if connection.resting:
            skipping = self.loop.create_task(self._skip(connection))
            self._skipping.add(skipping)
            skipping.add_done_callback(self._skipping.discard)
            return
        if not connection.reusable:
            connection.abort()
            return
        connection.forget()
        connection.idle_since = self.loop.time()
        self._idle.setdefault(connection.origin, []).append(connection)
        if self._sweep is None:
            self._sweep = self.loop.call_later(_KEEP_ALIVE_SECONDS, self._end_idle)

    def close(self) -> None:
        """End all connections, also those in use."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.abort()
        self._idle.clear()
        self.alarms.close()

    async def _skip(self, connection: Connection) -> None:
        """Let the rest of an answer come that nobody reads, then give the connection back."""
        connection.left = False
        connection.stop_gathering()
        size = 0
        with suppress(TimeoutError, Lost, Malformed):
            async with asyncio.timeout(_REST_S):
                while size <= _REST_BYTES and (part := await connection.next()):
                    size += len(part)
        if size > _REST_BYTES:
            connection.abort()
        self.give_back(connection)

    def _end_idle(self) -> None:
        """End what has been idle for too long; look again while anything is idle."""
        self._sweep = None
        before = self.loop.time() - _KEEP_ALIVE_SECONDS
        for connection in [c for idle in self._idle.values() for c in idle if c.idle_since <= before]:
            connection.abort()
            self._drop(connection)
        if any(self._idle.values()):
            self._sweep = self.loop.call_later(_KEEP_ALIVE_SECONDS / 2, self._end_idle)

    def _forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        idle = self._idle.get(connection.origin)
        if idle and connection in idle:
            idle.remove(connection)


class _Before(asyncio.Protocol):
    """What hears a connection until TLS begins, a turn of the loop later: nobody is to speak or leave before."""

    def __init__(self) -> None:
        self.failure: OSError | None = None

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        error = ssl.SSLError("spoken to before TLS has begun")
        error.reason = "WRONG_VERSION_NUMBER"  # as OpenSSL says of what is no TLS
        self.failure = error

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        self.failure = self.failure or ConnectionResetError()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self.failure = self.failure or (exc if isinstance(exc, OSError) else ConnectionResetError())


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _PROBES:
        if hasattr(socket, name):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
