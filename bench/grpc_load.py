"""Calls of the typed gRPC face by grpc's own client: `python -m bench.grpc_load '{...}'`."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass

import grpc
import uvloop
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_service_pb2_grpc import ChatCompletionServiceStub
from gateway.v1.content_pb2 import ROLE_USER


@dataclass(frozen=True, slots=True)
class Load:
    """What to ask for: `calls` at once, each followed by the next, for so many seconds."""

    address: str
    authorization: str
    model: str
    stream: bool
    calls: int
    seconds: float


@dataclass(slots=True)
class Outcome:
    """What came of it. `items` are answers, or the chunks of streams; `p50_ms` is until the first of a call."""

    items: int = 0
    seconds: float = 0.0
    p50_ms: float = 0.0


async def run(load: Load) -> Outcome:
    """Load a server. Raises grpc.RpcError."""
    request = CreateChatCompletionRequest(model=load.model)
    request.messages.add(role=ROLE_USER, text="The quick brown fox jumps over the lazy dog.")
    metadata = (("authorization", load.authorization),)
    outcome = Outcome()
    delays: list[float] = []
    async with grpc.aio.insecure_channel(load.address) as channel:
        stub = ChatCompletionServiceStub(channel)
        begun = time.perf_counter()
        until = begun + load.seconds

        async def call_on() -> None:
            while time.perf_counter() < until:
                sent = time.perf_counter()
                if load.stream:
                    first = True
                    async for _ in stub.StreamChatCompletion(request, metadata=metadata):
                        if first:
                            delays.append((time.perf_counter() - sent) * 1000)
                        first = False
                        outcome.items += 1
                else:
                    await stub.CreateChatCompletion(request, metadata=metadata)
                    delays.append((time.perf_counter() - sent) * 1000)
                    outcome.items += 1

        await asyncio.gather(*[call_on() for _ in range(load.calls)])
        outcome.seconds = time.perf_counter() - begun
    outcome.p50_ms = statistics.median(delays)
    return outcome


if __name__ == "__main__":
    print(json.dumps(asdict(uvloop.run(run(Load(**json.loads(sys.argv[1])))))))
