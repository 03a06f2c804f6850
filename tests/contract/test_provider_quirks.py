"""What providers of OpenAI's API do differently, and what is then sent and told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.content_pb2 import ChatMessage, Role

from tests.contract.client import Client, request
from tests.contract.good_conversations import F
from tests.contract.provider import HELLO, Provider, Stream, Turn, Whole, chunk, completion


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
    if asked:
        assert [event["usage"] for event in answer.events[:-1]] == [None] * (len(answer.events) - 1)
        assert answer.events[-1]["usage"]["total_tokens"] == 15
    else:
        assert not any("usage" in event for event in answer.events)


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


def choices(*texts: str | None) -> list[dict[str, Any]]:
    """Return the chunks of choices that end one after the other; None is one that does not come."""
    events = []
    for index, text in enumerate(texts):
        if text is not None:
            for each in (chunk({"content": text}), chunk({}, "stop")):
                each["choices"][0]["index"] = index
                events.append(each)
    return events


def test_a_stream_ends_with_the_last_choice_that_was_asked_for(client: Client, provider: Provider) -> None:
    """Only the first choice had come when this one was cut."""
    provider.says(Stream(choices("a", "b")))
    answer = client.stream(request(n=2))
    said = {c["index"]: c["delta"]["content"] for e in answer.events for c in e["choices"] if c["delta"].get("content")}
    assert (said, answer.done) == ({0: "a", 1: "b"}, True)
    provider.says(Stream(choices("a"), cut=True))
    answer = client.stream(request(n=2))
    assert answer.events[-1]["error"]["code"] == "upstream_stream_broken"
    assert not answer.done


def test_a_provider_that_gives_one_choice_however_many_were_asked_for(client: Client, provider: Provider) -> None:
    provider.says(Stream(choices("a")))
    answer = client.stream(request(n=2))
    assert (answer.text, answer.finish_reasons, answer.done) == ("a", ["stop"], True)


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"content": "Hi"}, "stop"),
        ({"content": None, "tool_calls": [CALL]}, "tool_calls"),
        ({"content": None, "function_call": {"name": "f", "arguments": "{}"}}, "function_call"),
    ],
)
def test_a_whole_answer_has_a_finish_reason(
    message: Mapping[str, Any], reason: str, client: Client, provider: Provider
) -> None:
    for finish_reason in (None, ""):
        body = completion(message)
        body["choices"][0]["finish_reason"] = finish_reason
        provider.says(Whole(200, body), Whole(200, body))
        assert client.ask(request())["choices"][0]["finish_reason"] == reason
        streamed = client.stream(request())
        assert (streamed.finish_reasons, streamed.done) == ([reason], True)


def test_an_answer_with_neither_content_nor_a_finish_reason_is_none(client: Client, provider: Provider) -> None:
    body = completion({"content": ""})
    del body["choices"][0]["finish_reason"]
    for asked in (request("two"), request("two", stream=True)):
        provider.says(Whole(200, body), Turn(text="Hi"))
        response = client.post(asked)
        assert response.headers["x-gateway-attempts"] == "2"
        assert "Hi" in response.text


def test_usage_of_nothing_is_usage(client: Client, provider: Provider) -> None:
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    provider.says(Turn(text="Hi", usage=nothing), Turn(text="Hi", usage=nothing))
    whole = client.ask(request())
    streamed = client.stream(request(stream_options={"include_usage": True}))
    assert whole["usage"] == streamed.events[-1]["usage"]
    assert whole["usage"]["total_tokens"] == 0


def test_a_choice_of_no_tool_where_an_endpoint_takes_no_choice(client: Client, provider: Provider) -> None:
    """Without tools none can be called."""
    answer = client.ask(request("uncontrolled", tools=[F], tool_choice="none", parallel_tool_calls=True, meta=True))
    assert not provider.bodies[0].keys() & {"tools", "tool_choice", "parallel_tool_calls"}
    assert answer["meta"]["dropped_parameters"] == []
    refused = client.post(request("uncontrolled", tools=[F], tool_choice="required"))
    assert refused.json()["error"]["code"] == "unsupported_by_model"


def test_the_place_of_a_mistake_is_that_in_the_callers_messages(client: Client, provider: Provider) -> None:
    image = {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}}
    seen = [{"role": "user", "content": "Hi"}, {"role": "user", "content": [image]}]
    for fields in ({}, {"system": "Be kind."}):
        error = client.post(request("short", messages=seen, **fields)).json()["error"]
        assert error["param"] == "messages[1].content[0]"


@pytest.mark.parametrize(("told", "read"), [("messages[1].content", "messages[0].content"), ("messages[0]", "system")])
def test_the_place_that_a_provider_names_too(told: str, read: str, client: Client, provider: Provider) -> None:
    error = {"message": "Too odd", "param": told, "type": "invalid_request_error", "code": None}
    provider.says(Whole(400, {"error": error}))
    assert client.post(request(system="Be kind.")).json()["error"]["param"] == read


def test_content_without_parts_is_sent_as_it_is(client: Client, provider: Provider) -> None:
    client.ask(request(messages=[{"role": "user", "content": []}]))
    assert provider.bodies[0]["messages"] == [{"role": "user", "content": []}]
