"""Large requests: read beside the event loop, one at a time; messages that would become far more than they are, not.

One that is made to be slow would hold up everybody else, and each takes several times its size while it is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

from google.protobuf.descriptor import Descriptor

from service.errors import GatewayError

T = TypeVar("T")
LARGE_BYTES = 1024 * 1024
"""What is as large as this is large."""
MOST_FIELDS = 500_000
"""Of a message, with those of the messages within it. An empty one is two bytes on the wire, and 180 in memory."""


class LargeRequests:
    """The thread that reads them."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "large-body")

    async def read(self, read: Callable[[bytes], T], bodies: list[bytes]) -> T:
        """Return what `read` makes of the one body, which is taken out of its list: nobody else is to keep it.

        What `read` raises is raised.
        """
        if len(bodies[0]) < LARGE_BYTES:
            return read(bodies.pop())
        return await asyncio.get_running_loop().run_in_executor(self._thread, read, bodies.pop())


def check_fields(message: bytes, descriptor: Descriptor, most: int = MOST_FIELDS) -> None:
    """Refuse a large message of more fields than any that means something.

    What is no valid message is left to protobuf.

    Raises:
        GatewayError: request_too_large.
    """
    if len(message) >= LARGE_BYTES and _has_more(message, descriptor, most):
        raise GatewayError("request_too_large", f"The request has more than {most} fields.")


def _has_more(data: bytes, descriptor: Descriptor, most: int) -> bool:
    count, pieces = 0, [(0, len(data), descriptor)]
    try:
        while pieces:
            at, end, kind = pieces.pop()
            within = _within(kind)
            while at < end:
                count += 1
                if count > most:
                    return True
                tag, at = _varint(data, at)
                match tag & 7:  # the wire type: a number, 8 bytes, so many bytes, 4 bytes
                    case 0:
                        _, at = _varint(data, at)
                    case 1:
                        at += 8
                    case 2:
                        size, at = _varint(data, at)
                        if (inner := within.get(tag >> 3)) is not None:
                            pieces.append((at, min(at + size, end), inner))
                        at += size
                    case 5:
                        at += 4
    except (IndexError, OverflowError):  # it ends within a field, or a number does not end
        pass
    return False


@cache
def _within(descriptor: Descriptor) -> Mapping[int, Descriptor]:
    """Return which fields are messages."""
    return {field.number: inner for field in descriptor.fields if (inner := field.message_type) is not None}


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at a place, and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise OverflowError
