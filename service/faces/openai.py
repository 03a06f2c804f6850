"""The OpenAI-JSON face: HttpBody in, JSON or server-sent events out."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import grpc
from gateway.v1 import openai_service_pb2_grpc
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty

from service import codec
from service.chat import Call, ChatStream
from service.config import Server
from service.errors import INTERNAL_MESSAGE, GatewayError
from service.faces.events import EventEncoder
from service.faces.interceptor import CALL, Context, answer_headers, cut_short, http_body, log, running_task
from service.faces.status import error_event
from service.runtime import Runtime

_LARGE_BYTES = 1024 * 1024
"""A body from this size on is decoded beside the event loop: one made to be slow would hold up everybody else.

One at a time: each takes several times its size while it is decoded.
"""
_EVENTS = "text/event-stream"
_DONE = b"data: [DONE]\n\n"
_COMMENT = b": keep-alive\n\n"


class OpenAiFace(openai_service_pb2_grpc.OpenAiServiceServicer):
    """Serves gateway.v1.OpenAiService."""

    def __init__(self, runtime: Runtime, openapi: bytes, docs: bytes) -> None:
        """`openapi` and `docs` are the bodies of /openapi.json and /docs."""
        self._runtime = runtime
        self._beside = ThreadPoolExecutor(1, "large-body")
        self._openapi = HttpBody(content_type="application/json", data=openapi)
        self._docs = HttpBody(content_type="text/html; charset=utf-8", data=docs)

    async def CreateChatCompletion(  # type: ignore[override]  # as the interceptor calls it
        self, request: list[bytes], context: Context
    ) -> bytes:
        """Answer one chat completion, whole or as events.

        `request` holds the body, to be popped. Returns the last message; those before are written to the context.
        """
        call, snapshot = CALL.get(), self._runtime.snapshot
        server = snapshot.config.server
        if len(request[0]) < _LARGE_BYTES:
            message = _decode(request.pop(), server)
        else:
            message = await asyncio.get_running_loop().run_in_executor(self._beside, _decode, request.pop(), server)
        if not message.stream:
            body = codec.encode(await snapshot.chat.complete(message, call))
            await context.send_initial_metadata(answer_headers(call))
            return http_body(body)
        async with await snapshot.chat.open(message, call) as stream:
            return await _send_events(stream, call, context, self._runtime)

    async def GetOpenApi(self, request: Empty, context: Context) -> HttpBody:
        """Answer with the OpenAPI description."""
        return self._openapi

    async def GetDocs(self, request: Empty, context: Context) -> HttpBody:
        """Answer with the page that renders it."""
        return self._docs


def _decode(body: bytes, server: Server) -> CreateChatCompletionRequest:
    if len(body) > server.max_body_bytes:
        raise GatewayError("request_too_large", f"The body is over the limit of {server.max_body_bytes} bytes.")
    return codec.decode_request(CreateChatCompletionRequest, body, max_depth=server.max_json_depth)


async def _send_events(stream: ChatStream, call: Call, context: Context, runtime: Runtime) -> bytes:
    """Write a stream's events, and return the last message: what ends it, or the error with which it broke off."""
    lines = _EventWriter(context, runtime.snapshot.config.server.keep_alive)
    encoder = EventEncoder()
    try:
        async for runs in stream:
            events = encoder.encode(runs)
            if not lines.begun:
                await context.send_initial_metadata((*answer_headers(call), ("cache-control", "no-cache")))
            await lines.write(events)
        return await lines.last(_DONE)
    except GatewayError as error:
        if not lines.begun:
            raise
        return await lines.fail(error, call)
    except asyncio.CancelledError:
        if not (lines.begun and runtime.overdue):
            raise
        running_task().uncancel()
        return await lines.fail(cut_short(), call)
    except grpc.aio.InternalError:
        raise  # nobody reads any more
    except Exception:
        if not lines.begun:
            raise
        log.exception("internal error", extra={"facts": {"generation_id": call.generation_id}})
        return await lines.fail(GatewayError("internal_error", INTERNAL_MESSAGE), call)
    finally:
        lines.close()


class _EventWriter:
    """Writes events, and a comment line whenever the stream has been idle for a while.

    One timer a stream, re-armed when it fires and not at every event.
    """

    def __init__(self, context: Context, keep_alive_s: float) -> None:
        self.begun = False
        self._context = context
        self._keep_alive_s = keep_alive_s
        self._loop = asyncio.get_running_loop()
        self._writing = False
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._comment: asyncio.Task[None] | None = None

    async def write(self, data: bytes) -> None:
        await self._comment_written()
        if not self.begun:
            self.begun = True
            self._timer = self._loop.call_later(self._keep_alive_s, self._tick)
        self._writing = True
        await self._context.write(http_body(data, _EVENTS))
        self._writing = False
        self._last = self._loop.time()

    async def last(self, data: bytes) -> bytes:
        """Return the stream's last message, once nothing else is being written."""
        await self._comment_written()
        return http_body(data, _EVENTS)

    async def fail(self, error: GatewayError, call: Call) -> bytes:
        """Return an error event as the stream's last message."""
        call.facts.update(status=200, outcome=error.wire_code)
        return await self.last(error_event(error, call.generation_id))

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._comment is not None:
            self._comment.cancel()

    def _tick(self) -> None:
        idle = self._loop.time() - self._last
        if idle >= self._keep_alive_s and not self._writing and self._comment is None:
            self._comment = self._loop.create_task(self._write_comment())
            idle = 0.0
        self._timer = self._loop.call_later(max(self._keep_alive_s - idle, 0.01), self._tick)

    async def _write_comment(self) -> None:
        try:
            await self._context.write(http_body(_COMMENT, _EVENTS))
            self._last = self._loop.time()
        finally:
            self._comment = None

    async def _comment_written(self) -> None:
        """Wait until no comment is being written: gRPC takes one message of a call at a time."""
        if self._comment is not None:
            await asyncio.wait((self._comment,))
