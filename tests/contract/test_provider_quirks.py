"""What providers of OpenAI's API do differently, and what is then sent and told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.content_pb2 import ChatMessage, Role

from tests.contract.client import Client, request
from tests.contract.provider import HELLO, Provider, Stream, Turn, Whole, chunk


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": None}, {"include_usage": True}),
        ({"stream_options": {}}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False}}, {"include_usage": True}),
        ({"stream_options": {"include_usage": True}}, {"include_usage": True}),
        (
            {"stream_options": {"include_obfuscation": False}},
            {"include_obfuscation": False, "include_usage": True},
        ),
        (
            {"stream_options": {"continuous_usage_stats": True}},
            {"continuous_usage_stats": True, "include_usage": True},
        ),
    ],
)
def test_stream_options(given: Mapping[str, Any], sent: Mapping[str, Any], client: Client, provider: Provider) -> None:
    answer = client.stream(request(**given))
    assert provider.bodies[0]["stream_options"] == sent
    asked = (given.get("stream_options") or {}).get("include_usage", False)
    assert [event for event in answer.events if "usage" in event] == ([answer.events[-1]] if asked else [])


def test_a_provider_that_takes_no_stream_options(client: Client, provider: Provider) -> None:
    provider.says(Turn(text="Hi", usage=None))
    answer = client.stream(request("silent", stream_options={"include_usage": True}))
    assert "stream_options" not in provider.bodies[0]
    assert (answer.text, answer.done) == ("Hi", True)


def test_a_token_limit_that_is_refused_by_one_name_is_sent_by_the_other(client: Client, provider: Provider) -> None:
    error = {"message": "Unsupported parameter", "param": "max_tokens", "code": "unsupported_parameter"}
    provider.says(Whole(400, {"error": error}), HELLO)
    answer = client.ask(request("two", max_tokens=5, provider={"only": ["other"]}, meta=True))
    limits = [{name: body[name] for name in body if "max" in name} for body in provider.bodies]
    assert limits == [{"max_tokens": 5}, {"max_completion_tokens": 5}]
    assert answer["meta"]["dropped_parameters"] == []


def test_an_essential_parameter_is_never_left_out(client: Client, provider: Provider) -> None:
    error = {"message": "No tools here", "param": "tools", "code": "unsupported_parameter"}
    provider.says(Whole(400, {"error": error}))
    response = client.post(request(tools=[{"type": "function", "function": {"name": "f"}}]))
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_parameter")
    assert len(provider.requests) == 1


def test_a_whole_answer_to_a_streamed_call_is_streamed(client: Client, provider: Provider) -> None:
    provider.says(Whole(200, Turn(text="Hi", calls=[("c", "f", "{}")]).whole()))
    answer = client.stream(request(usage=True))
    assert (answer.text, answer.finish_reasons, answer.done) == ("Hi", ["tool_calls"], True)
    assert answer.choices[0]["delta"]["tool_calls"][0]["index"] == 0
    assert answer.events[-1]["usage"]["total_tokens"] == 15


def test_calls_without_ids_get_some_and_keep_them(client: Client, provider: Provider) -> None:
    call = {"index": 0, "function": {"name": "f", "arguments": "{"}}
    more = {"index": 0, "function": {"arguments": "}"}}
    provider.says(Stream([chunk({"tool_calls": [call]}), chunk({"tool_calls": [more]}), chunk({}, "tool_calls")]))
    first, second = [c["delta"]["tool_calls"][0] for c in client.stream(request()).choices if c["delta"]]
    assert first["id"].startswith("call_")
    assert (first["type"], first["function"]) == ("function", {"name": "f", "arguments": "{"})
    assert second == {"index": 0, "function": {"arguments": "}"}}


def test_a_typed_message_over_grpcs_limit(client: Client) -> None:
    large = [ChatMessage(role=Role.ROLE_USER, text="a" * 3_000_000)]
    with pytest.raises(grpc.RpcError) as caught:
        client.call(CreateChatCompletionRequest(model="plain", messages=large))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
