"""The OpenAI-JSON face: HttpBody in, JSON or server-sent events out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

import grpc
from gateway.v1 import openai_service_pb2_grpc
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty

from service import codec
from service.chat import Call, ChatStream, Runs
from service.config import Server
from service.errors import INTERNAL_MESSAGE, GatewayError
from service.faces.events import EventEncoder
from service.faces.exchange import Exchange
from service.faces.http_body import EVENTS, JSON, packed, unpacked
from service.faces.interceptor import CALL, Context, answer_headers, check_size, cut_short, log
from service.faces.large import LargeRequests
from service.faces.status import error_event
from service.runtime import Runtime

_DONE = packed(b"data: [DONE]\n\n", EVENTS)
_COMMENT = packed(b": keep-alive\n\n", EVENTS)


class OpenAiFace(openai_service_pb2_grpc.OpenAiServiceServicer):
    """Serves gateway.v1.OpenAiService."""

    def __init__(self, runtime: Runtime, large: LargeRequests, openapi: bytes, docs: bytes) -> None:
        """`openapi` and `docs` are the bodies of /openapi.json and /docs."""
        self._runtime = runtime
        self._large = large
        self._openapi = HttpBody(content_type=JSON, data=openapi)
        self._docs = HttpBody(content_type="text/html; charset=utf-8", data=docs)

    async def CreateChatCompletion(  # type: ignore[override]  # an exchange is request and context in one
        self, exchange: Exchange
    ) -> None:
        """Answer one chat completion, whole or as events."""
        call, snapshot = CALL.get(), self._runtime.snapshot
        server = snapshot.config.server
        message = await self._large.read(partial(_decode, server=server), [exchange.read()])
        if not message.stream:
            completion = await snapshot.chat.complete(message, call)
            exchange.begin(answer_headers(call))
            await exchange.finish(packed(codec.encode(completion)))
            return
        usage = message.stream_options.include_usage
        lines = _EventWriter(exchange, EventEncoder(usage=usage), server.keep_alive)
        async with await snapshot.chat.open(message, call, lines.take) as stream:
            await _send_events(stream, lines, call, self._runtime)

    async def GetOpenApi(self, request: Empty, context: Context) -> HttpBody:
        """Answer with the OpenAPI description."""
        return self._openapi

    async def GetDocs(self, request: Empty, context: Context) -> HttpBody:
        """Answer with the page that renders it."""
        return self._docs


def _decode(message: bytes, server: Server) -> CreateChatCompletionRequest:
    body = unpacked(message)
    check_size(body, server)
    return codec.decode_request(CreateChatCompletionRequest, body, max_depth=server.max_json_depth)


async def _send_events(stream: ChatStream, lines: _EventWriter, call: Call, runtime: Runtime) -> None:
    """Send a stream's events, and last what ends it, or the error with which it broke off."""
    exchange = lines.exchange
    try:
        async for runs in stream:
            await lines.write(runs, call)
        await exchange.finish(_DONE)
    except GatewayError as error:
        if not lines.begun:
            raise
        await lines.fail(error, call)
    except asyncio.CancelledError:
        if not (lines.begun and runtime.overdue) or exchange.done():
            raise
        exchange.task.uncancel()
        await lines.fail(cut_short(), call)
    except grpc.aio.InternalError:
        raise  # nobody reads any more
    except Exception:
        if not lines.begun:
            raise
        log.exception("internal error", extra={"facts": {"generation_id": call.generation_id}})
        await lines.fail(GatewayError("internal_error", INTERNAL_MESSAGE), call)
    finally:
        lines.close()


class _EventWriter:
    """Writes chunks as events, and a comment line whenever the stream has been idle for a while.

    One timer a stream, re-armed when it fires and not at every event.
    """

    def __init__(self, exchange: Exchange, encoder: EventEncoder, keep_alive_s: float) -> None:
        self.begun = False
        self.exchange = exchange
        self._encoder = encoder
        self._keep_alive_s = keep_alive_s
        self._loop = asyncio.get_running_loop()
        self._last = 0.0
        self._timer: asyncio.TimerHandle | None = None

    async def write(self, runs: Runs, call: Call) -> None:
        data = self._encoder.encode(runs)
        if not self.begun:
            self.exchange.begin((*answer_headers(call), ("cache-control", "no-cache")))
            self.begun = True
            self._timer = self._loop.call_later(self._keep_alive_s, self._tick)
        await self.exchange.write(packed(data, EVENTS))
        self._last = self._loop.time()

    def take(self, texts: Sequence[str]) -> bool:
        """Write texts, each of which means the last chunk over again with this text.

        False where the reader has yet to take what was written, or has left, and where it is not known what the last
        chunk was written as.
        """
        if not self.exchange.quiet or (data := self._encoder.again(texts)) is None:
            return False
        self.exchange.send(packed(data, EVENTS))
        self._last = self._loop.time()
        return True

    async def fail(self, error: GatewayError, call: Call) -> None:
        """Send an error event as the stream's last message."""
        call.facts.update(status=200, outcome=error.wire_code)
        await self.exchange.finish(packed(error_event(error, call.generation_id), EVENTS))

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        idle = self._loop.time() - self._last
        # A reader that has not taken the last message needs no comment.
        if idle >= self._keep_alive_s and self.exchange.quiet:
            self.exchange.send(_COMMENT)
            self._last = self._loop.time()
            idle = 0.0
        self._timer = self._loop.call_later(max(self._keep_alive_s - idle, 0.01), self._tick)
