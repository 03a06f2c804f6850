"""One HTTP/1.1 connection to a provider: a request out, its answer in, one after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from service.upstream.address import Origin
from service.upstream.gathering import Gathering

MAX_HEAD_BYTES = 64 * 1024
"""Of a status line and headers, those of informational answers with them; also of what follows without any body."""
_MAX_UNREAD_BYTES = 64 * 1024
"""A provider whose answer waits unread in this size is no longer read from; about so much is handed on at once."""
_PIECE_BYTES = 256 * 1024
"""A larger body is written piece by piece, so that it does not hold up the event loop, least of all with TLS."""
_SMALL_BYTES = 16 * 1024
"""A body of this size is rather copied behind its head than written from where it is."""


class Malformed(Exception):
    """The other side does not speak valid HTTP."""


class Lost(Exception):
    """The connection ended before the answer did. `error` is the socket's, None when it was simply closed."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__("connection lost")
        self.error = error


class Connection(asyncio.Protocol):
    """A connection. `exchange` sends a request and returns with the answer's head; `next` gives the body as it comes.

    Framing and bounds are strict: llhttp parses, and a body that has said how long it is must be that long.
    """

    def __init__(self, origin: Origin, on_lost: Callable[[Connection], None], gathering: Gathering) -> None:
        """`on_lost` is told once, when the connection is gone."""
        self.origin = origin
        self.gathering = gathering
        self.idle_since = 0.0
        self.status = 0
        self.fields: dict[bytes, bytes] = {}
        """The answer's header fields, by lower-case name; of repeated ones the last."""
        self.answered = False
        """Whether any byte of an answer has come."""
        self.left = False
        """Whether its user wants no more of the answer, though some is to come."""
        self._loop = asyncio.get_running_loop()
        self._on_lost = on_lost
        self._parser = HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._tcp: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Malformed | Lost | None = None
        self._head_bytes = 0
        self._has_head = False
        self._ends_by_closing = False
        self._complete = True
        self._sent = True
        self._keep_alive = True
        self._chunks: deque[bytes] = deque()
        self._unread = 0
        self._reading_paused = False
        self._take: Callable[[bytes], bool] | None = None
        self._gathers = False
        self._held = False
        self._writing_paused = False

    # What its user calls.

    @property
    def resting(self) -> bool:
        """Whether it will be reusable when what is left of its answer has come, which nobody wants."""
        return self.left and not (self._complete or self._ends_by_closing) and self._failure is None

    @property
    def reusable(self) -> bool:
        """Whether another request can be sent: the last one and its answer are through, and both sides stay."""
        return self._complete and self._sent and self._keep_alive and self._failure is None

    async def exchange(self, head: bytes, body: bytes) -> None:
        """Send a request, and return once the answer's head is in `status` and `fields`.

        Raises:
            Malformed: the answer is no valid HTTP.
            Lost: the connection ended before.
        """
        self.fields = {}
        self.answered = self.left = self._has_head = self._complete = self._sent = False
        self._head_bytes = 0
        self._gathers = self._ends_by_closing = False
        assert self._transport is not None
        if len(body) <= _SMALL_BYTES:
            self._transport.write(head + body)
        else:
            await self._write_pieces(self._transport, head, body)
        # An answer may come before the request has gone; then the rest of it is not wanted.
        self._sent = not self._has_head
        while not self._has_head:
            self._raise_failure()
            await self._woken()
        # Small bodies are sent in one go, but may not have left yet: the next request would wait behind them.
        self._sent = self._sent and not self._unsent()

    async def next(self) -> bytes:
        """Return more of what has come of the body, waiting for some; nothing at its end.

        Raises:
            Malformed, Lost: the body broke off.
        """
        while not self._chunks:
            self._raise_failure()
            if self._complete:
                return b""
            await self._woken()
        data = self._chunks.popleft()
        if self._chunks:
            parts, size = [data], len(data)
            while self._chunks and (size := size + len(self._chunks[0])) <= _MAX_UNREAD_BYTES:
                parts.append(self._chunks.popleft())
            data = b"".join(parts)
        self._unread -= len(data)
        if not self._chunks:
            self._resume_reading()
        return data

    def rest(self, most: int) -> bytes | None:
        """Return the rest of a body, all of which has come; None where it has not, or is more than `most` bytes."""
        if not self._complete or self._unread > most or self._reading_paused:
            return None
        data = b"".join(self._chunks)
        self.forget()
        return data

    def forget(self) -> None:
        """Let go of what has come: read or not wanted. What comes next is read: also that the connection is gone."""
        self._chunks.clear()
        self._unread = 0
        self._resume_reading()

    def gather(self) -> None:
        """Until the answer's end, hand nothing more on for a moment after each piece when the worker is busy."""
        self._gathers = True

    def stop_gathering(self) -> None:
        """From now on hand on what comes at once."""
        self._gathers = False
        if self._held:
            self.go_on()

    def offer_to(self, take: Callable[[bytes], bool] | None) -> None:
        """From now on offer what comes while `next` waits for it to `take` first; None ends that.

        What comes together with the end of the answer is not offered. It is to be ended before another request.
        What that says it has taken, `next` does not give: whoever waits goes on waiting. What it raises, `next` does.
        """
        self._take = take

    def go_on(self) -> None:
        """See `service.upstream.gathering.Reader`."""
        self._held = False
        if not self._reading_paused:
            self._read_on()

    def abort(self) -> None:
        """End the connection at once. Whoever waits on it reads `Lost`."""
        self._failure = self._failure or Lost(None)
        self._wake()
        if self._transport is not None:
            self._transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # uvloop's transports are asyncio's in all but their bases.
        self._transport = self._tcp = cast(asyncio.Transport, transport)
        # uvloop then writes at once, and not when the event loop has done what else it has to do. With TLS an empty
        # buffer counts as full at a limit of 0: writing is paused by it, and may never be resumed.
        self._transport.set_write_buffer_limits(high=1 if self.origin.scheme == "https" else 0, low=0)

    def secured(self, tls: asyncio.BaseTransport, tcp: asyncio.BaseTransport) -> None:
        """Begin with TLS. It is TCP that is not read from when enough has come.

        With its own reading paused uvloop's TLS reads on, and loses what it has when the other side closes meanwhile.
        """
        self.connection_made(tls)
        self._tcp = cast(asyncio.Transport, tcp)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._complete:
            # Nothing was asked for: whatever it is, no later request may take it for its answer.
            self.abort()
            return
        self.answered = True
        had_head, unread = self._has_head, self._unread
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._break()
        if self._unread != unread or had_head != self._has_head:
            self._head_bytes = 0
        else:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._break()
        if self._unread > _MAX_UNREAD_BYTES and not self._reading_paused and self._tcp is not None:
            self._reading_paused = True
            self._tcp.pause_reading()
        self._hold()
        self._hand_on()

    def eof_received(self) -> None:
        """See asyncio.Protocol."""
        self._end(None)
        if self._transport is not None and self._unsent():
            self._transport.abort()  # by itself it would wait until the rest is sent, which nobody reads

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._end(exc)
        self._on_lost(self)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._writing_paused = True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._writing_paused = False
        if not self._sent:
            self._wake()

    # What the parser calls.

    # Once the answer is complete, what else comes is a second one that was not asked for: none of it is kept.

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self._complete:
            self._keep_alive = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; trailers come after the head and are not kept."""
        if not self._has_head:
            self.fields[name.lower()] = value

    def on_headers_complete(self) -> None:
        """The head is there, or that of an informational answer before it."""
        if self._has_head:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self.fields.clear()
            return
        self.status = status
        self._has_head = True
        if b"content-length" not in self.fields:
            coding = self.fields.get(b"transfer-encoding", b"").rpartition(b",")[2].strip().lower()
            self._ends_by_closing = coding != b"chunked"

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if not self._complete:
            self._chunks.append(body)
            self._unread += len(body)

    def on_message_complete(self) -> None:
        """The answer is there whole, or an informational one before it."""
        if self._has_head and not self._complete:
            self._complete = True
            self._keep_alive = self._parser.should_keep_alive()

    async def _write_pieces(self, transport: asyncio.Transport, head: bytes, body: bytes) -> None:
        view = memoryview(body)
        transport.writelines((head, view[:_PIECE_BYTES]))
        for at in range(_PIECE_BYTES, len(body), _PIECE_BYTES):
            while self._writing_paused and not self._has_head:
                self._raise_failure()
                await self._woken()
            if self._has_head:
                return
            transport.write(view[at : at + _PIECE_BYTES])

    def _unsent(self) -> bool:
        """Say whether some of what was written has not left yet, as far as the transports know."""
        return any(t is not None and t.get_write_buffer_size() for t in (self._tcp, self._transport))

    def _end(self, error: Exception | None) -> None:
        """Nothing more comes: that may have been the answer's end."""
        if error is None and self._has_head and self._ends_by_closing and self._failure is None:
            self._complete = True
        self._failure = self._failure or Lost(error)
        self._wake()

    def _resume_reading(self) -> None:
        if self._reading_paused:
            self._reading_paused = False
            if not self._held:
                self._read_on()

    def _read_on(self) -> None:
        if self._tcp is not None and not self._tcp.is_closing():
            self._tcp.resume_reading()

    def _hold(self) -> None:
        """Hand nothing more on for a moment, where events are to be gathered."""
        if not (self._gathers and self.gathering.hold_s) or self._held or self._complete or self._failure is not None:
            return
        self._held = True
        self.gathering.hold(self)
        if not self._reading_paused and self._tcp is not None:
            self._tcp.pause_reading()

    def _hand_on(self) -> None:
        """Offer what has come, or wake up whoever waits for it."""
        take, waiter = self._take, self._waiter
        if take is None or waiter is None or waiter.done() or self._complete or self._failure is not None:
            self._wake()
            return
        try:
            taken = take(b"".join(self._chunks))
        except Exception as error:  # noqa: BLE001  # it is raised where the stream is read
            waiter.set_exception(error)
            self._waiter = None
            del waiter, take  # the error has hold of this frame
            return
        if taken:
            self.forget()
        else:
            self._wake()

    def _break(self) -> None:
        """Give up on an answer whose framing is wrong. What was sound before it can still be read."""
        if not self._complete:
            self._failure = self._failure or Malformed("no valid HTTP")
        self._keep_alive = False
        if self._transport is not None:
            self._transport.abort()

    def _raise_failure(self) -> None:
        if self._failure is not None and not self._complete:
            raise self._failure

    def _woken(self) -> asyncio.Future[None]:
        """Return what is done when something has changed. One at a time waits."""
        self._waiter = self._loop.create_future()
        return self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
