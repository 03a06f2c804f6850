"""The gateway without what makes it one: `python -m bench.passing PORT SOCKET PROVIDER` passes bodies on and back.

Its server, its event loop and its HTTP client are the gateway's, and so are the threads' habits; the provider's answer
leaves with as many headers. Nothing is checked, read or written down.
"""

from __future__ import annotations

import asyncio
import sys

from gateway.v1 import openai_service_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from bench.floor import Floor
from service.accepting import accepting_server
from service.config import Provider
from service.faces.exchange import Exchange
from service.faces.http_body import packed, unpacked
from service.loop import EventLoop
from service.pinning import Pinner
from service.providers.dialect import UpstreamRequest
from service.threads import polite_threads
from service.upstream import CallTimeouts, Upstream

_METHOD = "/gateway.v1.OpenAiService/CreateChatCompletion"
_PROVIDER = "provider"
_TIMEOUTS = CallTimeouts(connect=5.0, response=60.0)
_UP = {"content-type": "application/json", "authorization": "Bearer sk-upstream-key"}
_BACK = (("x-one", "1"), ("x-two", "2"), ("x-three", "3"), ("x-four", "4"))


async def serve(port: int, socket: str, provider: str) -> None:
    """Serve on loopback and an abstract Unix socket until the process ends. `provider` is a base URL."""
    upstream = Upstream({_PROVIDER: Provider(dialect="openai", base_url=provider)}, {})
    url = f"{provider}/v1/chat/completions"

    async def pass_on(exchange: Exchange) -> None:
        request = UpstreamRequest(url, _UP, bytes(unpacked(exchange.read())))
        async with upstream.send(_PROVIDER, request, _TIMEOUTS) as response:
            body = await response.read()
        exchange.begin(_BACK)
        await exchange.finish(packed(body))

    with polite_threads():
        server = accepting_server((), (), direct={_METHOD: pass_on})
        checks = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        openai_service_pb2_grpc.add_OpenAiServiceServicer_to_server(Floor(), server)
        server.add_insecure_port(f"127.0.0.1:{port}")
        server.add_insecure_port(f"unix-abstract:{socket}")
        await server.start()
    await checks.set("", health_pb2.HealthCheckResponse.SERVING)
    pinner = Pinner()
    pinner.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=EventLoop) as runner:
        runner.run(serve(int(sys.argv[1]), *sys.argv[2:4]))
