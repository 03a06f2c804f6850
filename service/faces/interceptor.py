"""What every call goes through: key, deadline, ids, load limit, one catch-all for errors, one line of access log."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import DecodeError
from ulid_transform import ulid_now

from service.chat import Call
from service.config import Key, Server
from service.errors import INTERNAL_MESSAGE, GatewayError
from service.faces.exchange import Answer, Exchange, Metadata
from service.faces.http_body import packed
from service.faces.status import clipped, envelope, error_headers, status_code, status_details
from service.runtime import Runtime
from service.sent import Sending, SentRecord, admit

CALL: ContextVar[Call] = ContextVar("call")
"""The call that the running task serves."""

_METADATA: ContextVar[Metadata] = ContextVar("metadata")
"""What came with the running task's call. gRPC makes it anew whenever it is asked for."""

log = logging.getLogger("gateway")

_OPEN_PREFIXES = ("/grpc.",)
_OPEN_METHODS = frozenset(
    {
        "/gateway.v1.HealthService/GetHealth",
        "/gateway.v1.HealthService/GetReadiness",
        "/gateway.v1.OpenAiService/GetOpenApi",
        "/gateway.v1.OpenAiService/GetDocs",
    }
)
NATIVE_PREFIX = "/gateway.v1.ChatCompletionService/"

# The service answers a little before the caller's deadline, so that the caller reads a status and not a reset stream.
_DEADLINE_MARGIN_S = 0.1
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")
# Envoy asks no more until a health check succeeds.
_NO_MORE: Mapping[str, str] = MappingProxyType({"x-envoy-immediate-health-check-fail": "1"})
_MOST_OF_AN_ID = 200
"""Of a caller's own id in the log: a longer line may be mixed with others."""
_NOBODY = Key(name="", sha256="0" * 64)

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
"""The context of a call; the classes themselves are no generics at run time."""

Behaviour = Callable[[Any, Any], Awaitable[Any]]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps each method once; the handlers of health checks and reflection are left as they are."""

    def __init__(self, runtime: Runtime, sent: SentRecord | None = None) -> None:
        """Without `sent` what Envoy repeats is refused."""
        self._runtime = runtime
        self._sent = sent
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the method's wrapped handler; None for a method that is not there."""
        _METADATA.set(handler_call_details.invocation_metadata)
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None or method.startswith(_OPEN_PREFIXES):
                return handler
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def around(self, method: str, answer: Answer) -> Answer:
        """Return what answers a chat method: the same, with everything that a call goes through."""
        fail = _end if method.startswith(NATIVE_PREFIX) else _send_error
        serve = self._serve(
            method,
            lambda _, exchange: answer(exchange),
            fail,
            Exchange.invocation_metadata,
            lambda exchange: exchange.task,
            asks=True,
        )
        return partial(serve, None)

    def _wrap(self, method: str, handler: Handler) -> Handler:
        inner = cast(Behaviour, handler.unary_unary)  # what streams is chat, and that is answered directly
        read = cast("Callable[[bytes], Any]", handler.request_deserializer)

        async def answer(body: bytes, context: Any) -> Any:
            try:
                request = read(body)
            except DecodeError as error:
                raise GatewayError("invalid_value", "The request is no valid message.") from error
            return await inner(request, context)

        behaviour = self._serve(
            method, answer, _abort, lambda _: _METADATA.get(), lambda _: _running_task(), asks=False
        )
        return grpc.unary_unary_rpc_method_handler(behaviour, None, handler.response_serializer)

    def _serve(
        self,
        method: str,
        inner: Behaviour,
        fail: Callable[[Any, GatewayError, Call], Awaitable[None]],
        metadata_of: Callable[[Any], Metadata],
        task_of: Callable[[Any], asyncio.Task[Any]],
        *,
        asks: bool,
    ) -> Behaviour:
        runtime = self._runtime
        is_open = method in _OPEN_METHODS

        async def serve(request: Any, context: Any) -> Any:
            call = Call(f"chatcmpl-{ulid_now()}", _NOBODY, time.monotonic(), int(time.time()))
            task = task_of(context)
            runtime.enter(task)
            if not asks:
                # Not in `finally`: what the method returns is sent afterwards, and a slow reader may keep it waiting.
                task.add_done_callback(runtime.leave)
            outcome = "ok"
            sending: Sending | None = None
            try:
                if not is_open:
                    metadata = dict(metadata_of(context))
                    self._admit(call, context, metadata)
                    if asks and (sending := admit(metadata, self._sent)) is not None:
                        call.before_sending = sending.begin
                CALL.set(call)
                return await inner(request, context)
            except GatewayError as error:
                outcome = error.wire_code
                _note(call, error)
                return await fail(context, error, call)
            except asyncio.CancelledError:
                # A call whose status is sent has said what it had to.
                if runtime.overdue and not context.done():
                    task.uncancel()
                    fault = cut_short()
                    outcome = fault.wire_code
                    _note(call, fault)
                    return await fail(context, fault, call)
                outcome = "cancelled"
                call.facts["status"] = 499
                raise
            except grpc.aio.AbortError:
                raise
            except grpc.aio.InternalError as error:
                # A write failed: the caller has left, and gRPC has not cancelled the task yet.
                outcome = "cancelled"
                call.facts["status"] = 499
                raise asyncio.CancelledError from error
            except Exception:
                outcome = "internal_error"
                log.exception("internal error", extra={"facts": {"generation_id": call.generation_id}})
                fault = GatewayError("internal_error", INTERNAL_MESSAGE)
                _note(call, fault)
                return await fail(context, fault, call)
            finally:
                if sending is not None:
                    sending.end()
                if not is_open:
                    runtime.access_log.add(_facts(method, call, outcome))
                if asks:
                    runtime.leave(task)

        return serve

    def _admit(self, call: Call, context: Context | Exchange, metadata: Mapping[str, str | bytes]) -> None:
        runtime, snapshot = self._runtime, self._runtime.snapshot
        call.facts["request_id"] = metadata.get("x-request-id", "")[:_MOST_OF_AN_ID]
        if runtime.draining:
            raise _refused("This worker is shutting down; send the request again.", _NO_MORE)
        if runtime.active > snapshot.config.server.max_concurrency:
            raise _refused("The gateway has too many requests in flight.", {})
        if metadata.get("content-encoding", "identity") != "identity":
            message = "Compressed requests are not taken: send the body without a content-encoding."
            raise GatewayError("unsupported_content_encoding", message)
        authorization = cast("str | None", metadata.get("authorization"))
        call.key = snapshot.keyring.authenticate(authorization, _now)
        call.deadline = _deadline(metadata, context.time_remaining(), call.started)


def check_size(body: bytes | memoryview, server: Server) -> None:
    """Refuse a request that is too large.

    Raises:
        GatewayError: request_too_large.
    """
    if len(body) > server.max_body_bytes:
        raise GatewayError("request_too_large", f"The body is over the limit of {server.max_body_bytes} bytes.")


def _refused(message: str, headers: Mapping[str, str]) -> GatewayError:
    """Return the error for a call that was not taken: Envoy asks another worker, and takes the header off."""
    return GatewayError("overloaded", message, retry_after=1, headers={"x-gateway-refused": "1", **headers})


def cut_short() -> GatewayError:
    """Return the error for a call that took longer than a worker that shuts down waits."""
    message = "This worker is shutting down, and the request took longer than it waits; send it again."
    return GatewayError("overloaded", message, retry_after=1)


def _running_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def _now() -> datetime:
    return datetime.now(UTC)


def _deadline(metadata: Mapping[str, str | bytes], remaining: float | None, now: float) -> float | None:
    """Return the monotonic time by which to answer, a little before the gRPC deadline or `x-request-timeout` is up."""
    waits = [] if remaining is None or remaining > 1e8 else [remaining]
    text = metadata.get("x-request-timeout")
    if text is not None:
        seconds = float(text) if isinstance(text, str) and _SECONDS.fullmatch(text) else 0.0
        if not 0 < seconds < math.inf:
            raise GatewayError(
                "invalid_value",
                "x-request-timeout is to be a positive number of seconds, such as 30 or 0.5",
                param="x-request-timeout",
            )
        waits.append(seconds)
    if not waits:
        return None
    soonest = min(waits)
    return now + soonest - min(_DEADLINE_MARGIN_S, soonest / 10)


def answer_headers(call: Call) -> tuple[tuple[str, str], ...]:
    """Return the initial metadata of an answer."""
    total_ms = (time.monotonic() - call.started) * 1000
    return (
        ("x-generation-id", call.generation_id),
        ("server-timing", f"gateway;dur={total_ms:.1f}"),
        *call.headers.items(),
    )


async def _send_error(exchange: Exchange, error: GatewayError, call: Call) -> None:
    """Answer a JSON method with OpenAI's envelope; the HTTP status travels in a header."""
    exchange.begin((*answer_headers(call), *error_headers(error).items()))
    await exchange.finish(packed(envelope(error, call.generation_id)))


async def _end(exchange: Exchange, error: GatewayError, call: Call) -> None:
    """Answer a typed chat method with a canonical status."""
    code: int = status_code(error).value[0]
    await exchange.end(code, clipped(error.message), _trailing(error, call))


async def _abort(context: Context, error: GatewayError, call: Call) -> None:
    """Answer a method that Envoy may have transcoded, with the HTTP body beside the status."""
    body = ("x-error-body-bin", envelope(error, call.generation_id))
    await context.abort(status_code(error), clipped(error.message), (*_trailing(error, call), body))


def _trailing(error: GatewayError, call: Call) -> tuple[tuple[str, str | bytes], ...]:
    details = ("grpc-status-details-bin", status_details(error, call.generation_id))
    return (*answer_headers(call), *error_headers(error).items(), details)


def _note(call: Call, error: GatewayError) -> None:
    call.facts["status"] = error.http_status
    if error.param:
        call.facts["param"] = error.param


def _facts(method: str, call: Call, outcome: str) -> Mapping[str, object]:
    """Return what the access log says of a call."""
    return {
        "method": method.rpartition("/")[2],
        "generation_id": call.generation_id,
        "key": call.key.name,
        "status": 200,
        "ms": round((time.monotonic() - call.started) * 1000, 2),
        "outcome": outcome,
        **call.facts,
    }
