"""One provider's stream as chunks: decoded, primed to the first content, closed with the connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing

from gateway.v1.chat_response_pb2 import ChatCompletionChunk

from service.chat.accumulate import as_chunk, has_content
from service.chat.reading import Received, decoding, whole
from service.errors import FailureKind, ProviderFailure
from service.providers.dialect import Dialect, Run, StreamDecoder
from service.upstream import Event, Response

Runs = Sequence[Run]
Take = Callable[[Sequence[str]], bool]
"""Takes texts, each of which means the last chunk over again with this text; False where it cannot at the moment."""

# Usage, or the end of the body, so that the connection can be used again. What says nothing makes it no longer.
_AFTER_FINISH_S = 2.0
# A provider that sends faster than events can be read must not keep the other calls waiting.
_EVENTS_AT_ONCE = 32
# A stream that has sent so many chunks without content has begun: they are not kept for longer.
_MOST_HELD = 1000
_EVENT_STREAMS = ("text/event-stream", "text/plain", "application/octet-stream", "")


class TurnStream:
    """The chunks of one provider's answer, a list of runs for each piece that arrived.

    `open` returns once content is there (or the whole of an answer without any, or very much of one), so that until
    then another provider can be asked. Whoever has opened a stream closes it.
    """

    def __init__(
        self, stack: AsyncExitStack, response: Response, dialect: Dialect, received: Received, choices: int
    ) -> None:
        """See `open`."""
        self._stack = stack
        self._response = response
        self._reader = _Reader(dialect.stream_decoder(choices), received)
        self._runs = _decoded(response, dialect, self._reader)
        self._held: deque[Runs] = deque()

    @classmethod
    async def open(
        cls, stack: AsyncExitStack, response: Response, dialect: Dialect, received: Received, choices: int = 1
    ) -> TurnStream:
        """Read up to the first content. `choices`: how many were asked for.

        Raises:
            ProviderFailure: the stream failed or ended before.
        """
        stream = cls(stack, response, dialect, received, choices)
        size = 0
        async for piece in stream._runs:
            stream._held.append(piece)
            size += len(piece)
            if size > _MOST_HELD or any(map(_says_something, piece)):
                break
        return stream

    def offer_to(self, take: Take) -> None:
        """From now on offer `take` the texts that arrive while somebody waits; what it takes is not yielded."""
        read = self._reader.texts

        def take_events(events: Sequence[Event]) -> bool:
            if len(events) > _EVENTS_AT_ONCE:
                return False
            texts = read(events)
            return len(texts) == len(events) and take(texts)

        self._response.offer_to(take_events)

    def __aiter__(self) -> TurnStream:
        return self

    def __anext__(self) -> Awaitable[Runs]:
        """Return the next piece, those already read first.

        Raises:
            ProviderFailure: the stream broke.
        """
        return _given(self._held.popleft()) if self._held else anext(self._runs)

    async def aclose(self) -> None:
        """Close the provider's connection, unless its answer was read to the end, or has said that it is over."""
        try:
            await self._runs.aclose()
        finally:
            await self._stack.aclose()


async def _given(piece: Runs) -> Runs:
    return piece


def _says_something(run: Run) -> bool:
    """Say whether a run has content, or the end of an answer without any."""
    return any(run.texts) or any(has_content(choice.delta) or choice.finish_reason for choice in run.chunk.choices)


def _decoded(response: Response, dialect: Dialect, reader: _Reader) -> AsyncGenerator[Runs, None]:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _whole(response, dialect, reader.received)
    if kind not in _EVENT_STREAMS:
        raise ProviderFailure(FailureKind.MALFORMED, f"answered a streamed call with {kind}", status=response.status)
    return _events(response, reader)


async def _whole(response: Response, dialect: Dialect, received: Received) -> AsyncGenerator[Runs, None]:
    """A JSON answer to a streamed call is a stream of one chunk."""
    yield (Run(as_chunk(await whole(response, dialect, received)), []),)


async def _events(response: Response, reader: _Reader) -> AsyncGenerator[Runs, None]:
    decoder = reader.decoder
    loop, until = asyncio.get_running_loop(), 0.0
    try:
        async with aclosing(response.events()) as pieces:
            while (piece := await (_last(pieces, until) if decoder.finished else anext(pieces, None))) is not None:
                says = False
                for runs in reader.runs(piece):
                    says = True
                    yield runs
                if decoder.over:
                    response.leave()
                    break
                if decoder.finished and (says or not until):
                    until = loop.time() + _AFTER_FINISH_S
    except ProviderFailure:
        # After its terminal event a stream has ended well, whatever its connection does then.
        if not decoder.finished:
            raise
    if not decoder.finished:
        raise ProviderFailure(FailureKind.CUT, "ended its stream without saying that it had finished")


class _Reader:
    """Reads a stream's events, each with what is known of those before."""

    def __init__(self, decoder: StreamDecoder, received: Received) -> None:
        self.decoder = decoder
        self.received = received
        self._last: ChatCompletionChunk | None = None

    def texts(self, events: Sequence[Event]) -> Sequence[str]:
        """Return the texts of the first events, those which mean the last chunk over again with another text.

        Raises:
            ProviderFailure: they cannot be read.
        """
        with decoding:
            return self.decoder.again(self._shown(events))

    def runs(self, piece: Sequence[Event]) -> Iterator[Runs]:
        """Yield what a piece means up to the stream's end, some events at a time.

        Raises:
            ProviderFailure: it cannot be read, or tells of one.
        """
        for start in range(0, len(piece), _EVENTS_AT_ONCE):
            runs: list[Run] = []
            try:
                with decoding:
                    self._add(runs, self._shown(piece[start : start + _EVENTS_AT_ONCE]))
            except ProviderFailure:
                # What came with the failure goes out first, unless nothing did yet: then another can be asked.
                if runs and (self._last is not None or self.decoder.finished):
                    yield runs
                raise
            if runs:
                self._last = runs[-1].chunk
                yield runs

    def _shown(self, events: Sequence[Event]) -> Sequence[Event]:
        """Return events as they are to be read."""
        data = [event.data for event in events]
        shown = self.received(data)
        if shown is data:
            return events
        return [Event(event.event, each) for event, each in zip(events, shown, strict=True)]

    def _add(self, runs: list[Run], events: Sequence[Event]) -> None:
        """Add what events mean."""
        decoder, last, place = self.decoder, self._last, 0
        while place < len(events) and not decoder.over:
            rest = events[place:] if place else events
            texts = decoder.again(rest) if runs or last is not None else ()
            if not texts:
                runs += [Run(chunk, []) for chunk in decoder.decode(rest[0])]
                place += 1
                continue
            if runs:
                runs[-1].texts.extend(texts)
            elif last is not None:
                runs.append(Run(last, list(texts), told=True))
            place += len(texts)


async def _last(pieces: AsyncGenerator[Sequence[Event], None], until: float) -> Sequence[Event] | None:
    """Return the next events of a finished stream, None at the end, or at the loop's time `until`."""
    try:
        async with asyncio.timeout_at(until):
            return await anext(pieces, None)
    except TimeoutError:
        return None
