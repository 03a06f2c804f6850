"""The use case's door: one chat completion, whole or streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from types import TracebackType

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import ChatCompletion

from service.abreast import abreast
from service.chat.call import Call
from service.chat.deps import Deps
from service.chat.job import Job
from service.chat.turn_stream import Runs, Take


class ChatCompletions:
    """Serves chat completions with one configuration."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps

    async def complete(self, request: CreateChatCompletionRequest, call: Call) -> ChatCompletion:
        """Return one whole answer. `request` becomes the call's own: it is changed.

        Raises:
            GatewayError: what the caller is told.
        """
        request.ClearField("stream")
        await abreast()
        job = await Job.begin(self._deps, request, call)
        try:
            completion = await job.complete()
        finally:
            await job.end()
        await abreast()
        return completion

    async def open(
        self, request: CreateChatCompletionRequest, call: Call, take: Take = lambda texts: False
    ) -> ChatStream:
        """Return a streamed answer once its first chunks are there. `request` becomes the call's own: it is changed.

        `take` is offered texts the moment they arrive, where nobody between the provider and the caller has anything to
        add: what it takes the stream does not yield.

        Raises:
            GatewayError: what the caller is told; nothing has been sent then.
        """
        request.stream = True
        await abreast()
        job = await Job.begin(self._deps, request, call)
        runs = job.stream(take)
        try:
            first = await anext(runs)
        except StopAsyncIteration:
            # Not by a default of `anext`: CPython 3.11 cannot return a tuple that way.
            first = ()
        except BaseException:
            await runs.aclose()
            await job.end()
            raise
        return ChatStream(job, runs, first)


class ChatStream:
    """A streamed answer: runs of chunks, as they arrive. Leaving its context ends the provider's stream at once."""

    def __init__(self, job: Job, runs: AsyncGenerator[Runs, None], first: Runs) -> None:
        self._job = job
        self._runs = runs
        self._first = first

    async def __aenter__(self) -> ChatStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self._runs.aclose()
        finally:
            await self._job.end()

    def __aiter__(self) -> ChatStream:
        return self

    async def __anext__(self) -> Runs:
        """Return the next chunks; the last say usage, meta and debug where they were asked for.

        Raises:
            GatewayError: the answer broke; nothing follows.
        """
        if self._first:
            first, self._first = self._first, ()
            return first
        return await anext(self._runs)
