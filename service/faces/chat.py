"""The typed chat face: gateway.v1 messages in and out."""

from __future__ import annotations

from gateway.v1 import chat_service_pb2_grpc
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import ChatCompletion

from service import codec
from service.faces.interceptor import CALL, Context, answer_headers
from service.runtime import Runtime


class ChatFace(chat_service_pb2_grpc.ChatCompletionServiceServicer):
    """Serves gateway.v1.ChatCompletionService."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def CreateChatCompletion(self, request: CreateChatCompletionRequest, context: Context) -> ChatCompletion:
        """Answer one chat completion, whole."""
        call = CALL.get()
        codec.validate(request)
        completion = await self._runtime.snapshot.chat.complete(request, call)
        await context.send_initial_metadata(answer_headers(call))
        return completion

    async def StreamChatCompletion(  # type: ignore[override]  # it writes to the context instead of yielding
        self, request: CreateChatCompletionRequest, context: Context
    ) -> None:
        """Answer one chat completion, streamed; the last chunk always carries usage."""
        call = CALL.get()
        codec.validate(request)
        request.stream_options.include_usage = True
        begun = False
        async with await self._runtime.snapshot.chat.open(request, call) as stream:
            async for runs in stream:
                if not begun:
                    begun = True
                    await context.send_initial_metadata(answer_headers(call))
                for run in runs:
                    for chunk in run.chunks():
                        await context.write(chunk)
