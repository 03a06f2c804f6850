"""A bug of the gateway's own is told in fixed words on both faces; where it came from stands in the log only."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import AsyncIterator
from typing import cast

import grpc
import pytest
from gateway.v1 import chat_service_pb2_grpc, openai_service_pb2_grpc
from google.api.httpbody_pb2 import HttpBody

from service.chat import ChatCompletions
from service.config import Config, Key
from service.faces.interceptor import CallInterceptor
from service.keys import Keyring
from service.limits import Limiter
from service.routing import HealthBoard
from service.runtime import Runtime, Snapshot
from service.server import make_server
from service.telemetry import JsonFormatter, Masker
from service.upstream import Upstream
from tests.contract.client import read_refusal, request, typed

METADATA = (("authorization", "Bearer any"),)
SECRET = "the prompt of a caller"


class BuggyChat:
    """A use case that always fails, with something that nobody is to read."""

    async def complete(self, *arguments: object) -> None:
        raise KeyError(SECRET)

    async def open(self, *arguments: object) -> None:
        raise KeyError(SECRET)


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """Serve the chat faces in front of a buggy use case."""
    config = Config(providers={}, models={})
    keyring = Keyring([Key(name="any", sha256=hashlib.sha256(b"any").hexdigest())], loopback=True)
    limiter, upstream = Limiter(config, 0, None), Upstream({}, {})
    snapshot = Snapshot(config, keyring, cast(ChatCompletions, BuggyChat()), Masker(config), upstream)
    runtime = Runtime(snapshot, HealthBoard(config), limiter)
    server, _ = make_server(CallInterceptor(runtime), runtime, config)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(None)
    await limiter.close()
    await upstream.close()


@pytest.mark.parametrize("stream", [False, True])
async def test_json_callers(stream: bool, channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture) -> None:
    face = openai_service_pb2_grpc.OpenAiServiceStub(channel)
    body = HttpBody(content_type="application/json", data=json.dumps(request(stream=stream)).encode())
    call = face.CreateChatCompletion(body, metadata=METADATA)
    answers = [answer async for answer in call]
    metadata = dict(await call.initial_metadata() or ())
    assert metadata["x-http-status"] == "500"
    (answer,) = answers
    assert answer.content_type == "application/json"
    error = json.loads(answer.data)["error"]
    assert error.pop("generation_id") == metadata["x-generation-id"]
    assert error == {
        "message": "The gateway failed to serve this request. The fault is the gateway's, not the request's.",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }
    check_log(caplog)


async def test_typed_callers(channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture) -> None:
    face = chat_service_pb2_grpc.ChatCompletionServiceStub(channel)
    message = typed(request())
    assert message is not None
    with pytest.raises(grpc.RpcError) as caught:
        await face.CreateChatCompletion(message, metadata=METADATA)
    refusal = read_refusal(caught.value)
    assert (refusal.code, refusal.info.reason, refusal.fields) == ("INTERNAL", "INTERNAL_ERROR", [])
    assert SECRET not in repr(caught.value) + repr(refusal.metadata)
    with pytest.raises(grpc.RpcError) as caught:
        _ = [chunk async for chunk in face.StreamChatCompletion(message, metadata=METADATA)]
    assert read_refusal(caught.value).info.reason == "INTERNAL_ERROR"
    check_log(caplog)


def check_log(caplog: pytest.LogCaptureFixture) -> None:
    """The log tells where the bug is, and not what it was about."""
    records = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert records
    for record in records:
        line = JsonFormatter().format(record)
        assert "BuggyChat" in line or "test_internal_error.py" in line
        assert "KeyError" in line
        assert SECRET not in line
