"""The least that a grpc.aio service can do: `python -m bench.floor PORT` answers with constant bytes.

It serves the gateway's own JSON method, so that the same Envoy and the same clients stand in front of it.
"""

from __future__ import annotations

import re
import sys
from typing import Any, TypeAlias

import grpc
import uvloop
from gateway.v1 import openai_service_pb2_grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.empty_pb2 import Empty
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from bench import wire

_COUNT = re.compile(rb"\d+ms(\d+)")
_ANSWER = HttpBody(content_type="application/json", data=b'{"id": "chatcmpl-abc", "object": "chat.completion"}')
_EVENT = HttpBody(content_type="text/event-stream", data=wire.events("/chat/completions", 2)[1])

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class Floor(openai_service_pb2_grpc.OpenAiServiceServicer):
    """Answers everything alike."""

    async def CreateChatCompletion(  # type: ignore[override]  # it writes to the context instead of yielding
        self, request: HttpBody, context: Context
    ) -> None:
        """Write one constant answer, or as many constant events as the model's name says."""
        count = _COUNT.search(request.data) if b'"stream"' in request.data else None
        if count is None:
            await context.write(_ANSWER)
            return
        for _ in range(int(count[1])):
            await context.write(_EVENT)

    async def GetOpenApi(self, request: Empty, context: Context) -> HttpBody:
        """Answer with the same."""
        return _ANSWER

    async def GetDocs(self, request: Empty, context: Context) -> HttpBody:
        """Answer with the same."""
        return _ANSWER


async def serve(port: int) -> None:
    """Serve on loopback until the process ends."""
    server = grpc.aio.server()
    checks = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(checks, server)
    openai_service_pb2_grpc.add_OpenAiServiceServicer_to_server(Floor(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
