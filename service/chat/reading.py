"""Reads a provider's answer, and makes what cannot be read the provider's failure, so that another can be asked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from types import TracebackType

from gateway.v1.chat_response_pb2 import ChatCompletion

from service.chat.accumulate import end_choices
from service.errors import FailureKind, ProviderFailure
from service.providers.dialect import Dialect
from service.upstream import Response

log = logging.getLogger("gateway")

Received = Callable[[Sequence[bytes]], Sequence[bytes]]
"""Takes what came back, a whole body or the events of a piece, and returns it as it is to be read."""


async def check(response: Response, dialect: Dialect, received: Received) -> None:
    """Read an error.

    Raises:
        ProviderFailure: the answer is one.
    """
    if response.status != 200:
        (body,) = received([await response.read()])
        try:
            failure = dialect.decode_error(response.status, response.headers, body)
        except Exception as error:
            raise _unforeseen(error, response.status) from error
        raise failure


async def whole(response: Response, dialect: Dialect, received: Received) -> ChatCompletion:
    """Return an answer that comes in one piece.

    Raises:
        ProviderFailure: it is an error, or malformed.
    """
    await check(response, dialect, received)
    (body,) = received([await response.read()])
    with decoding:
        completion = dialect.decode(body)
        end_choices(completion)
    return completion


class _Decoding:
    """Where something is decoded. What the decoder did not foresee is logged, for it is a fault of ours as well.

    Leaving it raises:
        ProviderFailure: what is decoded cannot be read, be that foreseen or not.
    """

    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not isinstance(error, ProviderFailure):
            raise _unforeseen(error) from error


decoding = _Decoding()


def _unforeseen(error: Exception, status: int | None = None) -> ProviderFailure:
    log.error("unforeseen answer", exc_info=error)
    return ProviderFailure(FailureKind.MALFORMED, "the provider's answer cannot be read", status=status)
