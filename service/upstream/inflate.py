"""Bodies that come compressed though nobody asked for it: inflated piece by piece, in bounded memory."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable

_PIECE_BYTES = 64 * 1024
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS

CODINGS = frozenset({"gzip", "x-gzip", "deflate"})
"""Content codings that `Inflated` reads."""

Read = Callable[[], Awaitable[bytes]]


class BadlyCompressed(ValueError):
    """A body is not compressed as it says, or ends before its end."""


class Inflated:
    """Reads what another reader gives, inflated, at most 64 KiB at a time."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._rest = b""
        self._begun = False

    async def next(self) -> bytes:
        """Return some more; nothing at the end.

        Raises:
            BadlyCompressed: it breaks off, or is no such thing.
        """
        while True:
            if not self._rest:
                self._rest = await self._read()
                if not self._rest:
                    if self._begun and not self._inflate.eof:
                        raise BadlyCompressed("ends before its end")
                    return b""
            else:
                # Little may become much, and none of that need be an event: others have their turn between.
                await asyncio.sleep(0)
            if self._inflate.eof:
                # gzip may come in several members.
                self._inflate = zlib.decompressobj(_GZIP_OR_ZLIB)
            self._begun = True
            try:
                data = self._inflate.decompress(self._rest, _PIECE_BYTES)
            except zlib.error as error:
                raise BadlyCompressed("not compressed as it says") from error
            self._rest = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            if data:
                return data
