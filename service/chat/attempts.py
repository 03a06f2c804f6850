"""The one loop of attempts: asks the plan's targets in turn until one answers, as the policy says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import TypeVar

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import ChatCompletion

from service.abreast import abreast
from service.chat.call import Call
from service.chat.deps import Deps
from service.chat.reading import check, whole
from service.chat.record import Attempted, Record
from service.chat.turn_stream import TurnStream
from service.errors import FailureKind, GatewayError, ProviderFailure
from service.providers.dialect import UpstreamRequest
from service.routing import (
    Again,
    Failed,
    GiveUp,
    Next,
    Plan,
    Position,
    Target,
    Ticket,
    Without,
    attempt_timeouts,
    decide,
)
from service.telemetry import Masker
from service.upstream import CallTimeouts, Response

T = TypeVar("T")
_OURS = (FailureKind.CONNECTION, FailureKind.TIMEOUT, FailureKind.CUT)
"""Kinds of failures whose message is the gateway's own: what a provider says may repeat the conversation."""
Ask = Callable[[Target, Ticket, UpstreamRequest, CallTimeouts], Awaitable[T]]


class Attempts:
    """The attempts of one request, over all its turns.

    A turn begins with the target that served the one before, without what that one refused.
    """

    def __init__(
        self,
        deps: Deps,
        plan: Plan,
        call: Call,
        record: Record,
        as_written: Callable[[GatewayError], GatewayError],
    ) -> None:
        """`as_written` returns an error with the paths that the caller knows."""
        self._as_written = as_written
        self._deps = deps
        self._targets = list(plan.targets)
        self._call = call
        self._record = record
        self._refused: frozenset[str] = frozenset()

    def complete(self, request: CreateChatCompletionRequest) -> Awaitable[tuple[Target, ChatCompletion]]:
        """Return a whole answer, and who gave it.

        Raises:
            GatewayError: nobody did.
        """
        return self._ask(request, self._whole)

    def open(self, request: CreateChatCompletionRequest) -> Awaitable[tuple[Target, OpenTurn]]:
        """Return a stream whose first content is there, and who gives it. The caller closes it.

        Raises:
            GatewayError: nobody did.
        """
        return self._ask(request, self._streamed)

    def note(self, failure: ProviderFailure) -> None:
        """Let the log say what went wrong between us and a provider."""
        if failure.kind in _OURS:
            self._call.facts["upstream_error"] = failure.message

    async def _ask(self, request: CreateChatCompletionRequest, ask: Ask[T]) -> tuple[Target, T]:
        targets = self._targets
        target, rest = targets[0], targets[1:]
        failed: list[Failed] = []
        refused, repeated = self._refused, False
        while True:
            try:
                answer = await self._attempt(request, target, refused, len(rest), len(failed), ask)
            except ProviderFailure as failure:
                failed.append(Failed(target, masked(failure, self._deps.masker)))
            else:
                if target is not targets[0]:
                    self._targets = [target, *(t for t in targets if t is not target)]
                self._refused = refused
                return target, answer
            position = Position(
                rest=rest,
                refused=refused,
                repeated=repeated,
                max_attempts=self._deps.config.server.max_attempts,
                remaining=self._remaining(target),
            )
            match decide(failed, position, self._deps.rng):
                case Next(targets=following):
                    target, rest = following[0], list(following[1:])
                    refused, repeated = frozenset(), False
                case Again(delay=delay):
                    repeated = True
                    await asyncio.sleep(delay)
                case Without(parameter=parameter):
                    refused |= {parameter}
                case GiveUp(error=error):
                    raise self._as_written(error) from failed[-1].failure

    async def _attempt(
        self,
        request: CreateChatCompletionRequest,
        target: Target,
        refused: frozenset[str],
        others: int,
        before: int,
        ask: Ask[T],
    ) -> T:
        endpoint, started = target.endpoint, time.monotonic()
        ticket = target.health.begin(started, streamed=request.stream)
        attempt = self._record.begin_attempt(endpoint)
        headers = self._call.headers
        headers["x-gateway-provider"] = endpoint.provider
        headers["x-gateway-attempts"] = str(len(self._record.attempts))
        try:
            await abreast()
            encoded = target.dialect.encode(request, target.provider, endpoint, refused)
            self._record.sent(encoded)
            if self._record.traces:
                self._record.step("ask", {"provider": endpoint.provider, "upstream_model": endpoint.model})
            await abreast()
            timeouts = attempt_timeouts(
                target.provider.timeouts,
                streamed=request.stream,
                attempts_left=min(others + 1, self._deps.config.server.max_attempts - before),
                remaining=self._remaining(target),
            )
            return await ask(target, ticket, encoded, timeouts)
        except ProviderFailure as failure:
            attempt.outcome = failure.kind.value
            attempt.status = failure.status
            ticket.failed(failure, time.monotonic())
            self._record.step("failed", {"provider": endpoint.provider, "outcome": failure.kind.value})
            self.note(failure)
            raise
        except BaseException:
            attempt.outcome = "cancelled"
            ticket.release()
            raise
        finally:
            attempt.ms = round((time.monotonic() - started) * 1000, 3)

    async def _whole(
        self, target: Target, ticket: Ticket, encoded: UpstreamRequest, timeouts: CallTimeouts
    ) -> ChatCompletion:
        started = time.monotonic()
        async with self._send(target, encoded, timeouts) as response:
            completion = await whole(response, target.dialect, self._record.received)
        now = time.monotonic()
        await abreast()
        ticket.first_event(now)
        ticket.succeeded(now, _speed(completion.usage.completion_tokens, now - started))
        self._record.first_content()
        return completion

    async def _streamed(
        self, target: Target, ticket: Ticket, encoded: UpstreamRequest, timeouts: CallTimeouts
    ) -> OpenTurn:
        stack = AsyncExitStack()
        try:
            response = await stack.enter_async_context(self._send(target, encoded, timeouts))
            await check(response, target.dialect, self._record.received)
            stream = await TurnStream.open(stack, response, target.dialect, self._record.received, encoded.choices)
        except BaseException:
            await stack.aclose()
            raise
        ticket.first_event(time.monotonic())
        self._record.first_content()
        return OpenTurn(stream, ticket, self._record.attempts[-1])

    def _send(
        self, target: Target, encoded: UpstreamRequest, timeouts: CallTimeouts
    ) -> AbstractAsyncContextManager[Response]:
        return self._deps.upstream.send(target.endpoint.provider, encoded, timeouts, self._call.before_sending)

    def _remaining(self, target: Target) -> float:
        """Return the seconds until the caller's deadline or the provider's `total`, the sooner."""
        now = time.monotonic()
        remaining = self._call.started + target.provider.timeouts.total - now
        if self._call.deadline is not None:
            remaining = min(remaining, self._call.deadline - now)
        return remaining


class OpenTurn:
    """A stream whose first content is there, with its say in the endpoint's health."""

    def __init__(self, stream: TurnStream, ticket: Ticket, attempt: Attempted) -> None:
        self.stream = stream
        self._ticket = ticket
        self._attempt = attempt
        self._began = time.monotonic()

    def succeeded(self, completion_tokens: int) -> None:
        """Tell that the stream ended well."""
        now = time.monotonic()
        self._ticket.succeeded(now, _speed(completion_tokens, now - self._began))

    def failed(self, failure: ProviderFailure) -> None:
        """Tell that the stream broke."""
        self._attempt.outcome = failure.kind.value
        self._ticket.failed(failure, time.monotonic())

    async def aclose(self) -> None:
        """Close the provider's connection. Without a verdict the ticket is given back."""
        if not self._ticket.ended:
            self._attempt.outcome = "cancelled"
            self._ticket.release()
        await self.stream.aclose()


def masked(failure: ProviderFailure, masker: Masker) -> ProviderFailure:
    """Return a failure with no secret in what the provider said of it."""
    failure.message = masker.mask(failure.message)
    failure.code = failure.code and masker.mask(failure.code)
    failure.param = failure.param and masker.mask(failure.param)
    return failure


def broken(target: Target, failure: ProviderFailure) -> GatewayError:
    """Return what the caller is told of a stream that broke after its first content."""
    provider = target.endpoint.provider
    detail = {"provider": provider, "upstream_model": target.endpoint.model, "outcome": failure.kind.value}
    if failure.timeout is not None:
        message = f"The provider {provider} took too long (timeout: {failure.timeout}): {failure.message}"
        return GatewayError("upstream_timeout", message, details=[detail])
    message = f"The provider {provider} broke its stream: {failure.message}"
    return GatewayError("upstream_stream_broken", message, details=[detail], upstream_code=failure.code)


def _speed(tokens: int, seconds: float) -> float | None:
    return tokens / seconds if tokens and seconds > 0 else None
