"""A gRPC client made from the protos alone, through Envoy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_service_pb2_grpc import ChatCompletionServiceStub
from gateway.v1.content_pb2 import ROLE_USER, ChatMessage
from gateway.v1.model_service_pb2 import ListModelsRequest
from gateway.v1.model_service_pb2_grpc import ModelServiceStub
from gateway.v1.tools_pb2 import DatetimeTool, Tool
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.e2e.running import Gateway

KEY = (("authorization", "Bearer sk-local"),)


@pytest.fixture(scope="module")
def channel(gateway: Gateway) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(gateway.url.removeprefix("http://")) as opened:
        yield opened


@pytest.fixture(scope="module")
def chat(channel: grpc.Channel) -> ChatCompletionServiceStub:
    return ChatCompletionServiceStub(channel)


def request(text: str = "Hi", model: str = "local/simulator") -> CreateChatCompletionRequest:
    return CreateChatCompletionRequest(model=model, messages=[ChatMessage(role=ROLE_USER, text=text)])


def test_a_whole_answer_with_its_metadata(chat: ChatCompletionServiceStub) -> None:
    completion, call = chat.CreateChatCompletion.with_call(request(), metadata=KEY)
    assert completion.choices[0].message.content
    assert completion.usage.total_tokens > 0
    told = dict(call.initial_metadata())
    assert told["x-generation-id"] == completion.id
    assert (told["x-gateway-provider"], told["x-gateway-attempts"]) == ("local", "1")
    assert "server-timing" in told


def test_a_stream_says_the_same_and_ends_with_usage(chat: ChatCompletionServiceStub) -> None:
    whole = chat.CreateChatCompletion(request("Say more."), metadata=KEY)
    chunks = list(chat.StreamChatCompletion(request("Say more."), metadata=KEY))
    text = "".join(choice.delta.content for chunk in chunks for choice in chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage
    assert not chunks[-1].choices


def test_the_gateways_clock(chat: ChatCompletionServiceStub) -> None:
    asked = request("What is the current datetime in Asia/Tokyo?")
    asked.tools.append(Tool(gateway_datetime=DatetimeTool(timezone="Asia/Tokyo")))
    completion = chat.CreateChatCompletion(asked, metadata=KEY)
    assert "Asia/Tokyo" in completion.choices[0].message.content
    assert completion.usage.server_tool_use.datetime_requests == 1


@pytest.mark.parametrize(
    ("asked", "key", "code", "reason", "field"),
    [
        (CreateChatCompletionRequest(model="m"), KEY, "INVALID_ARGUMENT", "MISSING_REQUIRED_PARAMETER", "messages"),
        (request(model="no/such"), KEY, "NOT_FOUND", "MODEL_NOT_FOUND", "model"),
        (request(), (), "UNAUTHENTICATED", "INVALID_API_KEY", None),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_errors_are_canonical_codes_with_details(
    chat: ChatCompletionServiceStub,
    asked: CreateChatCompletionRequest,
    key: tuple[tuple[str, str], ...],
    code: str,
    reason: str,
    field: str | None,
    streamed: bool,
) -> None:
    ask = (
        (lambda: list(chat.StreamChatCompletion(asked, metadata=key)))
        if streamed
        else (lambda: [chat.CreateChatCompletion(asked, metadata=key)])
    )
    with pytest.raises(grpc.RpcError) as failed:
        ask()
    assert failed.value.code().name == code
    trailing = {item.key: item.value for item in failed.value.trailing_metadata()}
    status, info = Status.FromString(trailing["grpc-status-details-bin"]), ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason, "gateway.v1")
    if field is not None:
        violations = BadRequest()
        assert status.details[1].Unpack(violations)
        assert violations.field_violations[0].field == field


@pytest.mark.parametrize("method", ["CreateChatCompletion", "StreamChatCompletion"])
def test_what_is_no_request_is_refused(channel: grpc.Channel, method: str) -> None:
    ask: Any = channel.unary_stream(f"/gateway.v1.ChatCompletionService/{method}")
    with pytest.raises(grpc.RpcError) as failed:
        list(ask(b"\xff", metadata=KEY))
    assert failed.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "CreateChatCompletionRequest" in (failed.value.details() or "")


def test_a_deadline_is_answered_before_it_passes(chat: ChatCompletionServiceStub) -> None:
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as failed:
        list(chat.StreamChatCompletion(request("word " * 500, "local/simulator-slow"), metadata=KEY, timeout=0.5))
    assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert "local" in (failed.value.details() or ""), "the service answered, not the client's own timer"
    assert time.monotonic() - started < 5


def test_a_cancelled_stream_ends(chat: ChatCompletionServiceStub) -> None:
    stream = chat.StreamChatCompletion(request("word " * 500, "local/simulator-slow"), metadata=KEY)
    next(stream)
    stream.cancel()
    with pytest.raises(grpc.RpcError) as failed:
        list(stream)
    assert failed.value.code() == grpc.StatusCode.CANCELLED


def test_models_health_and_reflection(channel: grpc.Channel) -> None:
    models = ModelServiceStub(channel).ListModels(ListModelsRequest(), metadata=KEY)
    assert "local/simulator" in [model.id for model in models.data]
    checks: Any = health_pb2_grpc.HealthStub(channel)  # the stubs' methods are made at run time
    health = checks.Check(health_pb2.HealthCheckRequest())
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    asked = reflection_pb2.ServerReflectionRequest(list_services="")
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    answer = next(iter(reflection.ServerReflectionInfo(iter([asked]))))
    names = [service.name for service in answer.list_services_response.service]
    assert "gateway.v1.ChatCompletionService" in names
