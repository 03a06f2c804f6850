"""What the OpenAI dialect sends, checked against the types of OpenAI's own package."""

from __future__ import annotations

import json
from typing import Any

import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest

from service import codec
from service.config import Endpoint, Provider
from service.providers import DIALECTS, UpstreamRequest
from tests.fakes.openai import check_request

OPENAI = Provider(
    dialect="openai",
    base_url="https://api.openai.com/v1",
    api_key="sk-1",
    token_limit_field="max_completion_tokens",
)
GPT = Endpoint(provider="openai", model="gpt-5-nano")
HI: dict[str, Any] = {"model": "openai/gpt-5-nano", "messages": [{"role": "user", "content": "Hi"}]}


def encode(
    *,
    provider: Provider = OPENAI,
    endpoint: Endpoint = GPT,
    refused: frozenset[str] = frozenset(),
    request: dict[str, Any],
) -> UpstreamRequest:
    message = codec.decode_request(CreateChatCompletionRequest, json.dumps({**HI, **request}).encode(), max_depth=64)
    return DIALECTS["openai"].encode(message, provider, endpoint, refused)


def sent(**request: Any) -> dict[str, Any]:
    """The body that OpenAI gets for a request, checked; without the model and messages that every request has."""
    body = check_request(encode(request=request).body)
    assert body.pop("model") == "gpt-5-nano"
    if "messages" not in request:
        assert body.pop("messages") == HI["messages"]
    return body


def lists(*names: str) -> Endpoint:
    return Endpoint(provider="openai", model="m", supported_parameters=frozenset(names))


def body_of(upstream: UpstreamRequest) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(upstream.body)
    return body


def test_nothing_is_sent_that_was_not_asked_for() -> None:
    upstream = encode(request={})

    assert upstream.body == b'{"model":"gpt-5-nano","messages":[{"role":"user","content":"Hi"}]}'
    assert (upstream.dropped, upstream.adjusted) == ((), [])


AS_GIVEN: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 1.5},
    {"top_p": 0.1},
    {"frequency_penalty": -2, "presence_penalty": 2},
    {"logit_bias": {"50256": -100, "15": 3}},
    {"seed": 9223372036854775807},
    {"stop": "END"},
    {"stop": ["a", "b"]},
    {"logprobs": True, "top_logprobs": 5},
    {"n": 2},
    {"response_format": {"type": "text"}},
    {"response_format": {"type": "json_object"}},
    {
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"type": "object"}, "strict": True, "description": "d"},
        }
    },
    {"verbosity": "low"},
    {"prediction": {"type": "content", "content": "abc"}},
    {"prediction": {"type": "content", "content": [{"type": "text", "text": "abc"}]}},
    {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
    {
        "tools": [{"type": "function", "function": {"name": "f", "description": "d", "strict": True}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
    },
    {
        "tools": [{"type": "custom", "custom": {"name": "c", "description": "d", "format": {"type": "text"}}}],
        "tool_choice": {"type": "custom", "custom": {"name": "c"}},
    },
    {
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "tool_choice": {
            "type": "allowed_tools",
            "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
        },
    },
    {"functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"}},
    {"functions": [{"name": "f", "parameters": {}}], "function_call": "auto"},
    {
        "web_search_options": {
            "search_context_size": "low",
            "user_location": {"type": "approximate", "approximate": {"city": "Zürich"}},
        }
    },
    {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "mp3"}},
    {"service_tier": "flex"},
    {"service_tier": "priority"},
    {"prompt_cache_key": "k", "prompt_cache_retention": "24h", "safety_identifier": "u"},
    {"prompt_cache_options": {"mode": "explicit", "ttl": "30m"}},
    {"metadata": {"a": "b"}, "store": False},
    {"moderation": {"model": "omni", "policy": {"input": {"mode": "block"}}}},
]


@pytest.mark.parametrize("request_", AS_GIVEN, ids=[" ".join(given) for given in AS_GIVEN])
def test_openais_own_fields_go_out_as_they_came(request_: dict[str, Any]) -> None:
    assert sent(**request_) == request_


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"max_completion_tokens": 5}, {"max_completion_tokens": 5}),
        ({"max_tokens": 5}, {"max_completion_tokens": 5}),
        ({"user_id": "u"}, {"user": "u"}),
        ({"service_tier": "standard"}, {"service_tier": "default"}),
        ({"provider_options": {"openai": {"prompt_cache_retention": "24h"}}}, {"prompt_cache_retention": "24h"}),
        ({"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}),
        ({"reasoning": {"effort": "minimal"}}, {"reasoning_effort": "minimal"}),
        ({"reasoning": {"effort": "xhigh"}}, {"reasoning_effort": "xhigh"}),
        ({"reasoning": {"effort": "none"}}, {"reasoning_effort": "none"}),
        ({"reasoning": {"enabled": False, "effort": "high"}}, {"reasoning_effort": "none"}),
        ({"reasoning": {"max_tokens": 0}}, {"reasoning_effort": "none"}),
        ({"reasoning": {"enabled": True}}, {"reasoning_effort": "medium"}),
        ({"reasoning": {}}, {}),
    ],
)
def test_fields_with_another_name_or_value_at_openai(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sent(**given) == expected


@pytest.mark.parametrize(
    "own",
    [
        {"provider": {"order": ["openai"]}},
        {"debug": {"trace": True}},
        {"meta": True, "usage": True, "session_id": "s", "echo_upstream_request": True},
        {"max_tool_calls": 3},
        {"stream_options": {"include_usage": True}},
        {"stream": False},
    ],
)
def test_the_gateways_own_fields_are_never_sent(own: dict[str, Any]) -> None:
    assert sent(**own) == {}


def test_unknown_fields_are_passed_on_verbatim() -> None:
    text = b'{"model": "m", "messages": [{"role": "user", "content": "Hi"}], "guided_choice": ["b",  1.0, "a"]}'
    request = codec.decode_request(CreateChatCompletionRequest, text, max_depth=64)

    upstream = DIALECTS["openai"].encode(request, OPENAI, GPT, frozenset())

    assert b'"guided_choice":["b",1.0,"a"]' in upstream.body.replace(b" ", b"")
    assert upstream.dropped == ()


def test_the_order_of_a_schemas_keys_is_kept() -> None:
    schema = '{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"number"}},"required":["z","a"]}'
    text = (
        '{"model": "m", "messages": [{"role": "user", "content": "Hi"}],'
        f'"tools": [{{"type": "function", "function": {{"name": "f", "parameters": {schema}}}}}],'
        f'"response_format": {{"type": "json_schema", "json_schema": {{"name": "x", "schema": {schema}}}}}}}'
    )
    request = codec.decode_request(CreateChatCompletionRequest, text.encode(), max_depth=64)

    body = DIALECTS["openai"].encode(request, OPENAI, GPT, frozenset()).body

    assert body.count(schema.encode()) == 2


@pytest.mark.parametrize(
    ("settings", "given", "expected"),
    [
        ({}, {}, {"include_usage": True}),
        ({}, {"include_usage": False}, {"include_usage": True}),
        ({}, {"include_obfuscation": False}, {"include_obfuscation": False, "include_usage": True}),
        ({"stream_usage": False}, {"include_usage": True}, None),
        ({"stream_usage": False}, {"include_obfuscation": False}, {"include_obfuscation": False}),
    ],
)
def test_streams(settings: dict[str, Any], given: dict[str, Any], expected: dict[str, Any] | None) -> None:
    provider = OPENAI.model_copy(update=settings)

    body = check_request(encode(provider=provider, request={"stream": True, "stream_options": given}).body)

    assert body["stream"] is True
    assert body.get("stream_options") == expected


@pytest.mark.parametrize(
    ("field", "refused", "expected"),
    [
        ("max_tokens", (), "max_tokens"),
        ("max_completion_tokens", (), "max_completion_tokens"),
        ("max_tokens", ("max_tokens",), "max_completion_tokens"),
        ("max_completion_tokens", ("max_completion_tokens", "temperature"), "max_tokens"),
        ("max_tokens", ("max_tokens", "max_completion_tokens"), "max_tokens"),
    ],
)
def test_the_token_limit_is_never_dropped(field: str, refused: tuple[str, ...], expected: str) -> None:
    provider = OPENAI.model_copy(update={"token_limit_field": field})

    upstream = encode(provider=provider, refused=frozenset(refused), endpoint=lists(), request={"max_tokens": 7})

    body = body_of(upstream)
    assert {name: body[name] for name in body if "max" in name} == {expected: 7}
    assert upstream.dropped == ()


@pytest.mark.parametrize(
    ("refused", "given", "dropped"),
    [
        ("temperature", {"temperature": 1}, "temperature"),
        ("user", {"user": "u"}, "user_id"),
        ("reasoning_effort", {"reasoning": {"effort": "low"}}, "reasoning"),
        ("guided_choice", {"guided_choice": 1}, "guided_choice"),
        ("service_tier", {"service_tier": "flex"}, "service_tier"),
        (
            "prompt_cache_retention",
            {"provider_options": {"openai": {"prompt_cache_retention": "24h"}}},
            "provider_options.openai.prompt_cache_retention",
        ),
    ],
)
def test_what_the_provider_refused_is_left_out(refused: str, given: dict[str, Any], dropped: str) -> None:
    upstream = encode(refused=frozenset({refused}), request={**given, "top_p": 0.5})

    assert body_of(upstream) == {"model": "gpt-5-nano", "messages": HI["messages"], "top_p": 0.5}
    assert upstream.dropped == (dropped,)


def test_a_part_of_a_field_that_was_refused_takes_the_field_with_it() -> None:
    upstream = encode(refused=frozenset({"stream_options.include_usage"}), request={"stream": True})

    assert "stream_options" not in body_of(upstream)


FOREIGN: list[dict[str, Any]] = [{"top_k": 5}, {"image_config": {"aspect_ratio": "16:9", "image_size": "2K"}}]


@pytest.mark.parametrize("given", FOREIGN)
@pytest.mark.parametrize("listed", [True, False])
def test_fields_that_openai_does_not_have_go_where_they_are_listed(given: dict[str, Any], listed: bool) -> None:
    (name,) = given

    upstream = encode(endpoint=lists(name) if listed else GPT, request=given)

    assert {key: value for key, value in body_of(upstream).items() if key == name} == (given if listed else {})
    assert upstream.dropped == (() if listed else (name,))


def test_parameters_that_the_endpoint_does_not_list_are_dropped() -> None:
    given = {"temperature": 1, "top_p": 0.5, "seed": 4, "stop": "x", "user": "u", "metadata": {"a": "b"}}

    upstream = encode(endpoint=lists("temperature", "stop"), request=given)

    assert body_of(upstream).keys() == {"model", "messages", "temperature", "stop", "user", "metadata"}
    assert set(upstream.dropped) == {"top_p", "seed"}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("structured_outputs", {"response_format": {"type": "json_object"}}),
        ("tools", {"functions": [{"name": "f"}]}),
        ("tool_choice", {"function_call": "none"}),
    ],
)
def test_names_that_stand_for_another(name: str, given: dict[str, Any]) -> None:
    assert encode(endpoint=lists(name), request=given).dropped == ()
    assert encode(endpoint=lists(), request=given).dropped == tuple(given)


@pytest.mark.parametrize(
    ("tokens", "effort"),
    [(1, "low"), (4096, "low"), (4097, "medium"), (16384, "medium"), (16385, "high"), (100_000, "high")],
)
def test_a_reasoning_budget_becomes_an_effort(tokens: int, effort: str) -> None:
    upstream = encode(request={"reasoning": {"max_tokens": tokens}})

    assert check_request(upstream.body)["reasoning_effort"] == effort
    (adjusted,) = upstream.adjusted
    assert (adjusted.name, getattr(adjusted, "from"), adjusted.to) == (
        "reasoning.max_tokens",
        str(tokens),
        f'"{effort}"',
    )


def test_reasoning_settings_without_a_form_are_reported() -> None:
    reasoning = {"effort": "low", "summary": "auto", "include_thoughts": True, "max_tokens": 9, "x": 1}

    upstream = encode(request={"reasoning": reasoning})

    assert check_request(upstream.body)["reasoning_effort"] == "low"
    assert set(upstream.dropped) == {f"reasoning.{name}" for name in ("summary", "include_thoughts", "max_tokens", "x")}


@pytest.mark.parametrize(
    ("endpoint", "expected", "dropped"),
    [
        (lists("reasoning_effort"), {"reasoning_effort": "high"}, ("reasoning.summary",)),
        (lists("reasoning"), {"reasoning": {"effort": "high", "summary": "auto"}}, ()),
        (lists("reasoning", "reasoning_effort"), {"reasoning_effort": "high"}, ("reasoning.summary",)),
        (lists("temperature"), {}, ("reasoning",)),
        (Endpoint(provider="p", model="m", reasoning="none"), {}, ("reasoning",)),
    ],
)
def test_reasoning_goes_out_in_the_form_that_the_endpoint_lists(
    endpoint: Endpoint, expected: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    upstream = encode(endpoint=endpoint, request={"reasoning": {"effort": "high", "summary": "auto"}})

    assert {name: value for name, value in body_of(upstream).items() if "reasoning" in name} == expected
    assert upstream.dropped == dropped


def test_options_of_other_vendors_are_reported() -> None:
    options = {
        "openai": {"context_management": {"type": "compaction", "compact_threshold": 5}, "new": 1, "temperature": 2},
        "anthropic": {"cache_control": {"type": "ephemeral"}},
        "google": {"cached_content": "c", "x": 1},
    }

    upstream = encode(request={"provider_options": options})

    assert body_of(upstream) == {
        "model": "gpt-5-nano",
        "messages": HI["messages"],
        "context_management": {"type": "compaction", "compact_threshold": 5},
        "new": 1,
        "temperature": 2,
    }
    assert set(upstream.dropped) == {
        "provider_options.anthropic.cache_control",
        "provider_options.google.cached_content",
        "provider_options.google.x",
    }


@pytest.mark.parametrize("name", ["model", "messages", "stream", "temperature", "max_tokens", "max_completion_tokens"])
def test_an_unknown_option_of_openai_replaces_nothing(name: str) -> None:
    given = {"temperature": 1, "max_tokens": 5, "provider_options": {"openai": {name: "evil"}}}

    upstream = encode(request=given)

    assert b"evil" not in upstream.body
    assert upstream.dropped == (f"provider_options.openai.{name}",)


def messages_sent(*messages: dict[str, Any], endpoint: Endpoint = GPT) -> tuple[list[dict[str, Any]], set[str]]:
    upstream = encode(endpoint=endpoint, request={"messages": list(messages)})
    body = body_of(upstream)
    return body["messages"], set(upstream.dropped)


AS_SPOKEN: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief.", "name": "s"},
    {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}}]},
    {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]},
    {"role": "user", "content": [{"type": "file", "file": {"file_id": "f", "filename": "n", "file_data": "d"}}]},
    {
        "role": "user",
        "content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}],
    },
    {"role": "assistant", "content": None, "refusal": "No."},
    {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}], "audio": {"id": "audio_1"}},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "call_2", "type": "custom", "custom": {"name": "c", "input": "text"}},
        ],
    },
    {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
    {"role": "tool", "content": "42", "tool_call_id": "call_1"},
    {"role": "tool", "content": [{"type": "text", "text": "42"}], "tool_call_id": "call_1"},
    {"role": "function", "content": "42", "name": "f"},
]


@pytest.mark.parametrize("message", AS_SPOKEN)
def test_messages_go_out_as_they_came(message: dict[str, Any]) -> None:
    assert sent(messages=[message])["messages"] == [message]


def test_only_a_listed_cache_control_is_sent() -> None:
    part = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    tool = {"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}
    request = {"messages": [{"role": "user", "content": [part]}], "tools": [tool]}

    plain, listed = encode(request=request), encode(endpoint=lists("tools", "cache_control"), request=request)

    assert "cache_control" not in check_request(plain.body)["messages"][0]["content"][0]
    assert plain.dropped == ("cache_control",)
    assert body_of(listed)["messages"][0]["content"] == [part]
    assert body_of(listed)["tools"] == [tool]
    assert listed.dropped == ()


@pytest.mark.parametrize("video", ["https://x/y.mp4", {"url": "https://x/y.mp4"}])
def test_videos_go_out_in_the_form_that_others_take(video: str | dict[str, Any]) -> None:
    messages, _ = messages_sent({"role": "user", "content": [{"type": "input_video", "video_url": video}]})

    assert messages[0]["content"] == [{"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}]


def test_what_only_some_providers_take_in_an_answer_is_sent_where_it_is_listed() -> None:
    answer = {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "hm",
        "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}],
        "audios": [{"type": "audio_url", "audio_url": {"url": "data:audio/wav;base64,AA"}}],
    }

    assert messages_sent(answer) == (
        [{"role": "assistant", "content": "a"}],
        {"messages[].reasoning_content", "messages[].images", "messages[].audios"},
    )
    assert messages_sent(answer, endpoint=lists("reasoning_content", "images", "audios")) == ([answer], set())


def test_tool_calls_among_the_content_become_tool_calls() -> None:
    given = {
        "role": "assistant",
        "content": [
            {"type": "text", "text": "Let me see."},
            {"type": "tool_call", "id": "1", "function": {"name": "f", "arguments": "{}", "description": "d"}},
        ],
        "tool_calls": [{"id": "2", "type": "function", "index": 0, "function": {"name": "g", "parameters": {}}}],
    }

    assert sent(messages=[given])["messages"] == [
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "Let me see."}],
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                {"id": "2", "type": "function", "function": {"name": "g", "arguments": ""}},
            ],
        }
    ]


def test_a_message_of_tool_calls_alone_has_no_content() -> None:
    part = {"type": "tool_call", "id": "1", "function": {"name": "f", "arguments": "{}"}}

    assert sent(messages=[{"role": "assistant", "content": [part]}])["messages"][0]["content"] is None


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "https://api.openai.com/v1/chat/completions"),
        ({"base_url": "https://x.example/"}, "https://x.example/chat/completions"),
        ({"base_url": "http://x.example:8000"}, "http://x.example:8000/chat/completions"),
        (
            {
                "base_url": "https://r.openai.azure.com/openai/deployments/{model}",
                "query": {"api-version": "2024-10-21", "a": "b c"},
            },
            "https://r.openai.azure.com/openai/deployments/gpt-5-nano/chat/completions?api-version=2024-10-21&a=b+c",
        ),
    ],
)
def test_where_it_is_sent(settings: dict[str, Any], url: str) -> None:
    provider = Provider.model_validate({"dialect": "openai", "base_url": "https://api.openai.com/v1", **settings})

    assert encode(provider=provider, request={}).url == url


def test_a_model_name_is_escaped_in_the_address() -> None:
    provider = Provider(dialect="openai", base_url="https://x.example/{model}/v1")

    upstream = encode(provider=provider, endpoint=Endpoint(provider="p", model="a/b?c"), request={})

    assert upstream.url == "https://x.example/a%2Fb%3Fc/v1/chat/completions"
    assert body_of(upstream)["model"] == "a/b?c"


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({}, {}),
        ({"api_key": "sk"}, {"authorization": "Bearer sk"}),
        ({"api_key": "sk", "api_key_header": "Authorization"}, {"authorization": "Bearer sk"}),
        ({"api_key": "sk", "api_key_header": "api-key"}, {"api-key": "sk"}),
        ({"headers": {"OpenAI-Organization": "o"}}, {"openai-organization": "o"}),
    ],
)
def test_with_which_headers(settings: dict[str, Any], headers: dict[str, str]) -> None:
    provider = Provider.model_validate({"dialect": "openai", "base_url": "https://x.example", **settings})

    assert encode(provider=provider, request={}).headers == {"content-type": "application/json", **headers}


def test_a_call_that_is_a_part_too_is_sent_once() -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    parts = [{**call, "type": "tool_call"}, {**call, "type": "tool_call", "id": "t2"}]
    results = [{"role": "tool", "tool_call_id": name, "content": "1"} for name in ("t1", "t2")]
    messages = [*HI["messages"], {"role": "assistant", "content": parts, "tool_calls": [call]}, *results]
    said = sent(messages=messages)["messages"][1]
    assert ([each["id"] for each in said["tool_calls"]], said["content"]) == (["t2", "t1"], None)
