"""A worker that does as its caller tells it, for tests of what Envoy does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from gateway.v1 import (
    chat_service_pb2_grpc,
    health_service_pb2_grpc,
    model_service_pb2_grpc,
    openai_service_pb2_grpc,
)
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import ChatCompletion, ChatCompletionChunk
from gateway.v1.health_service_pb2 import GetHealthRequest, GetHealthResponse, GetReadinessRequest, GetReadinessResponse
from gateway.v1.model_service_pb2 import GetModelRequest, ListModelsRequest, ListModelsResponse, Model
from google.api.httpbody_pb2 import HttpBody
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

MODEL_ERROR = (
    '{"error":{"message":"no model \\"é\\"","type":"invalid_request_error","param":"model","code":"model_not_found"}}'
)
_MEBIBYTE = 1024 * 1024


class StubWorker(
    openai_service_pb2_grpc.OpenAiServiceServicer,
    model_service_pb2_grpc.ModelServiceServicer,
    health_service_pb2_grpc.HealthServiceServicer,
    chat_service_pb2_grpc.ChatCompletionServiceServicer,
):
    """Serves on a free port of 127.0.0.1 until `close`.

    A chat request's JSON body may have: `headers` (initial metadata of the answer), `events` (how many), `every_s`,
    `event_bytes`, `refuse_at` (a port: the worker there refuses). Any other body is answered with what the worker saw.
    """

    def __init__(self) -> None:
        self.sent = 0
        """Events sent since the start."""
        self.cancelled = threading.Event()
        options = (
            ("grpc.max_receive_message_length", 40 * _MEBIBYTE),
            ("grpc.so_reuseport", 0),
            ("grpc.max_metadata_size", 65536),
            ("grpc.absolute_max_metadata_size", 131072),
        )
        self._server = grpc.server(ThreadPoolExecutor(16), options=options)
        checks = health.HealthServicer()
        checks.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(checks, self._server)
        openai_service_pb2_grpc.add_OpenAiServiceServicer_to_server(self, self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self, self._server)
        health_service_pb2_grpc.add_HealthServiceServicer_to_server(self, self._server)
        chat_service_pb2_grpc.add_ChatCompletionServiceServicer_to_server(self, self._server)
        self.port: int = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def close(self) -> None:
        """Stop at once."""
        self._server.stop(None).wait()

    def CreateChatCompletion(self, request: Any, context: Any) -> Any:
        """Serve both chat services' method of this name."""
        if isinstance(request, CreateChatCompletionRequest):
            return self._typed(context)
        return self._answer(request, context)

    def StreamChatCompletion(self, request: Any, context: Any) -> Iterator[ChatCompletionChunk]:
        """Stream two chunks."""
        yield ChatCompletionChunk(id="1")
        yield ChatCompletionChunk(id="2")

    def GetModel(self, request: GetModelRequest, context: Any) -> Model:
        """Answer with the model that was asked for; `nope` is not found, `broken` fails without an envelope."""
        if request.model == "nope":
            context.set_trailing_metadata(
                (("x-http-status", "404"), ("x-generation-id", "g-1"), ("x-error-body-bin", MODEL_ERROR.encode()))
            )
            context.abort(grpc.StatusCode.NOT_FOUND, "no model")
        if request.model == "broken":
            context.abort(grpc.StatusCode.INTERNAL, "secret")
        return Model(id=request.model, object="model")

    def ListModels(self, request: ListModelsRequest, context: Any) -> ListModelsResponse:
        """Answer with no models."""
        return ListModelsResponse(object="list")

    def GetHealth(self, request: GetHealthRequest, context: Any) -> GetHealthResponse:
        """Answer that all is well."""
        return GetHealthResponse(status="ok")

    def GetReadiness(self, request: GetReadinessRequest, context: Any) -> GetReadinessResponse:
        """Answer that the worker is ready."""
        return GetReadinessResponse(status="ready")

    def GetOpenApi(self, request: Any, context: Any) -> HttpBody:
        """Answer with JSON."""
        return HttpBody(content_type="application/json", data=b"{}")

    def GetDocs(self, request: Any, context: Any) -> HttpBody:
        """Answer with a page, larger than Envoy's buffer for a connection."""
        return HttpBody(content_type="text/html; charset=utf-8", data=b"<p>" * _MEBIBYTE)

    def _typed(self, context: Any) -> ChatCompletion:
        metadata = dict(context.invocation_metadata())
        if metadata.get("x-test") == "fail":
            context.set_trailing_metadata((("x-http-status", "401"), ("grpc-status-details-bin", b"\x08\x10")))
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")
        return ChatCompletion(id="typed")

    def _answer(self, request: HttpBody, context: Any) -> Iterator[HttpBody]:
        orders = _orders(request.data)
        if orders.get("refuse_at") == self.port:
            orders = {"headers": {"x-http-status": "503", "x-gateway-refused": "1"}}
        if headers := orders.get("headers"):
            context.send_initial_metadata(tuple(headers.items()))
        if events := orders.get("events"):
            context.add_callback(self.cancelled.set)
            yield from self._events(events, orders.get("every_s", 0), b"x" * orders.get("event_bytes", 1))
            return
        seen = {"port": self.port, "length": len(request.data), "metadata": _text(context.invocation_metadata())}
        yield HttpBody(content_type="application/json", data=json.dumps(seen).encode())

    def _events(self, count: int, every_s: float, text: bytes) -> Iterator[HttpBody]:
        for _ in range(count):
            yield HttpBody(content_type="text/event-stream", data=b"data: " + text + b"\n\n")
            self.sent += 1
            time.sleep(every_s)


def _orders(body: bytes) -> Mapping[str, Any]:
    if len(body) > _MEBIBYTE or not body.startswith(b"{"):
        return {}
    orders: Mapping[str, Any] = json.loads(body)
    return orders


def _text(metadata: Any) -> Mapping[str, str]:
    return {name: str(value) for name, value in metadata}
