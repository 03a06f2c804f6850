"""The typed chat face: gateway.v1 messages in and out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from gateway.v1 import chat_service_pb2_grpc
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import ChatCompletionChunk
from google.protobuf.message import DecodeError

from service import codec
from service.config import Server
from service.errors import GatewayError
from service.faces.exchange import Exchange
from service.faces.interceptor import CALL, answer_headers, check_size
from service.faces.large import LargeRequests, check_fields
from service.runtime import Runtime


class ChatFace(chat_service_pb2_grpc.ChatCompletionServiceServicer):
    """Serves gateway.v1.ChatCompletionService."""

    def __init__(self, runtime: Runtime, large: LargeRequests) -> None:
        self._runtime = runtime
        self._large = large

    async def CreateChatCompletion(  # type: ignore[override]  # an exchange is request and context in one
        self, exchange: Exchange
    ) -> None:
        """Answer one chat completion, whole."""
        call = CALL.get()
        snapshot = self._runtime.snapshot
        request = await self._large.read(partial(_request, server=snapshot.config.server), [exchange.read()])
        completion = await snapshot.chat.complete(request, call)
        exchange.begin(answer_headers(call))
        await exchange.finish(completion.SerializeToString())

    async def StreamChatCompletion(  # type: ignore[override]  # as above
        self, exchange: Exchange
    ) -> None:
        """Answer one chat completion, streamed; the last chunk always carries usage."""
        call, snapshot = CALL.get(), self._runtime.snapshot
        request = await self._large.read(partial(_request, server=snapshot.config.server), [exchange.read()])
        request.stream_options.include_usage = True
        last: ChatCompletionChunk | None = None

        def take(texts: Sequence[str]) -> bool:
            if last is None or len(texts) > 1 or not exchange.quiet:
                return False
            last.choices[0].delta.content = texts[0]
            exchange.send(last.SerializeToString())
            return True

        async with await snapshot.chat.open(request, call, take) as stream:
            exchange.begin(answer_headers(call))
            async for runs in stream:
                for run in runs:
                    for chunk in run.chunks():
                        await exchange.write(chunk.SerializeToString())
                    last = run.chunk
        await exchange.end()


def _request(body: bytes, server: Server) -> CreateChatCompletionRequest:
    """Return the request, if it breaks no rule.

    Raises:
        GatewayError: it does.
    """
    check_size(body, server)
    check_fields(body, CreateChatCompletionRequest.DESCRIPTOR)
    try:
        request = CreateChatCompletionRequest.FromString(body)
    except DecodeError as error:
        message = "The request is no gateway.v1.CreateChatCompletionRequest."
        raise GatewayError("invalid_value", message) from error
    codec.validate(request)
    return request
