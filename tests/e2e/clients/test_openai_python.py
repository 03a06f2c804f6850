"""The official OpenAI package for Python, unchanged but for its base URL."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from typing import Any, cast

import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from tests.e2e.running import Gateway

MODEL = "local/simulator"
WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
LIMITED = f"""
providers: {{ local: {{ dialect: simulator }} }}
models:
  local/simulator: {{ endpoints: [{{ provider: local, model: simulator }}] }}
  local/other: {{ endpoints: [{{ provider: local, model: simulator }}] }}
keys:
  - {{ name: once, sha256: {hashlib.sha256(b"sk-once").hexdigest()}, requests_per_minute: 1 }}
  - {{ name: narrow, sha256: {hashlib.sha256(b"sk-narrow").hexdigest()}, models: ["local/other"] }}
"""


def said(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> OpenAI:
    return OpenAI(base_url=f"{gateway.url}/v1", api_key="sk-local", max_retries=0)


def test_a_plain_completion(client: OpenAI) -> None:
    answer = client.chat.completions.with_raw_response.create(model=MODEL, messages=said("Say hello."))
    completion = answer.parse()
    assert completion.object == "chat.completion"
    assert completion.id.startswith("chatcmpl-")
    assert completion.model == MODEL
    assert completion.choices[0].finish_reason == "stop"
    assert completion.choices[0].message.content
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens
    assert answer.headers["x-generation-id"] == completion.id
    assert answer.headers["x-gateway-provider"] == "local"
    assert answer.headers["x-gateway-attempts"] == "1"


def test_a_streamed_completion_says_the_same_word_by_word(client: OpenAI) -> None:
    messages = said("Say hello to the world.")
    whole = client.chat.completions.create(model=MODEL, messages=messages)
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == whole.choices[0].message.content
    assert sum(bool(text) for text in texts) > 3
    assert [c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert {chunk.id for chunk in chunks} == {chunks[0].id}


def test_a_stream_without_usage_asked_for_has_none(client: OpenAI) -> None:
    stream = client.chat.completions.create(model=MODEL, messages=said("Hi"), stream=True)
    assert all(chunk.usage is None and chunk.choices for chunk in stream)


def test_a_function_is_called_and_its_result_read(client: OpenAI) -> None:
    messages = said("What is the weather in Paris?")
    first = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    assert first.choices[0].finish_reason == "tool_calls"
    calls = first.choices[0].message.tool_calls
    assert calls is not None
    call = calls[0]
    assert call.type == "function"
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Paris"})
    result = '{"temperature": 21, "sky": "clear"}'
    messages.append(cast(ChatCompletionMessageParam, first.choices[0].message.model_dump(exclude_none=True)))
    messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
    second = client.chat.completions.create(model=MODEL, messages=messages, tools=[WEATHER])
    assert second.choices[0].finish_reason == "stop"
    assert "21" in (second.choices[0].message.content or "")


def test_a_streamed_function_call_adds_up(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model=MODEL,
        messages=said("What is the weather in Paris?"),
        tools=[WEATHER],
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.tool_calls is not None
    assert json.loads(message.tool_calls[0].function.arguments) == {"city": "Paris"}


@pytest.mark.parametrize("streamed", [False, True])
def test_the_gateways_clock_is_read_and_its_call_never_seen(client: OpenAI, streamed: bool) -> None:
    request: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "What is the current datetime in Europe/London?"}],
        "tools": [{"type": "gateway:datetime", "parameters": {"timezone": "Europe/London"}}],
        "tool_choice": "auto",
    }
    if streamed:
        with client.chat.completions.with_streaming_response.create(**request, stream=True) as raw:
            body = raw.read().decode()
        assert body.endswith("data: [DONE]\n\n")
        assert "tool_calls" not in body
        chunks = [json.loads(line[6:]) for line in body.splitlines() if line.startswith("data: {")]
        text = "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])
    else:
        completion = client.chat.completions.create(**request)
        text = completion.choices[0].message.content
        assert completion.choices[0].message.tool_calls is None
        assert completion.usage.model_extra["server_tool_use"] == {"datetime_requests": 1}
    assert "Europe/London" in text


class City(BaseModel):
    name: str
    population: int
    rivers: list[str]


def test_structured_output_is_parsed(client: OpenAI) -> None:
    completion = client.chat.completions.parse(model=MODEL, messages=said("Describe Paris."), response_format=City)
    assert isinstance(completion.choices[0].message.parsed, City)


def test_the_asynchronous_client_whole_and_streamed(gateway: Gateway) -> None:
    async def both() -> tuple[str | None, str]:
        async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="sk-local") as client:
            messages = said("Hi there.")
            whole = await client.chat.completions.create(model=MODEL, messages=messages)
            stream = await client.chat.completions.create(model=MODEL, messages=messages, stream=True)
            return whole.choices[0].message.content, "".join([c.choices[0].delta.content or "" async for c in stream])

    whole, streamed = asyncio.run(both())
    assert whole == streamed


def test_models_are_listed_and_found_by_their_id_with_a_slash(client: OpenAI) -> None:
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL


def test_each_error_raises_its_class(client: OpenAI, gateway: Gateway) -> None:
    messages = said("Hi")
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=MODEL, messages=messages, temperature=3)
    assert (bad.value.param, bad.value.code, bad.value.type) == ("temperature", "out_of_range", "invalid_request_error")
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="local/simulatr", messages=messages)
    assert missing.value.code == "model_not_found"
    assert "local/simulator" in missing.value.message
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no/such")
    with pytest.raises(openai.AuthenticationError) as unknown:
        client.with_options(api_key="sk-wrong").models.list()
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="sk-wrong").chat.completions.create(model=MODEL, messages=messages)


def test_limits_and_permissions_raise_their_classes(gateway_of: Callable[..., Gateway]) -> None:
    url = f"{gateway_of(LIMITED).url}/v1"
    messages = said("Hi")
    once = OpenAI(base_url=url, api_key="sk-once", max_retries=0)
    once.chat.completions.create(model=MODEL, messages=messages)
    with pytest.raises(openai.RateLimitError) as limited:
        once.chat.completions.create(model=MODEL, messages=messages)
    assert limited.value.code == "rate_limit_exceeded"
    assert int(limited.value.response.headers["retry-after"]) > 0
    assert limited.value.response.headers["x-ratelimit-limit-requests"] == "1"
    narrow = OpenAI(base_url=url, api_key="sk-narrow", max_retries=0)
    with pytest.raises(openai.PermissionDeniedError) as denied:
        narrow.chat.completions.create(model=MODEL, messages=messages)
    assert denied.value.code == "model_not_allowed"
    assert [model.id for model in narrow.models.list()] == ["local/other"]
