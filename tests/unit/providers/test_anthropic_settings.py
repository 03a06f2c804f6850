"""Where the Anthropic dialect sends requests, and what it makes of their settings."""

from __future__ import annotations

import json
from typing import Any

import pytest

from service.config import Provider
from tests.unit.providers.anthropic_requests import CLAUDE, CLOCK, HI, PROVIDER, adjusted, encode

SCHEMA: dict[str, Any] = {
    "type": "json_schema",
    "json_schema": {"name": "n", "schema": {"type": "object", "properties": {}, "additionalProperties": False}},
}


@pytest.mark.parametrize(
    ("settings_", "url", "headers"),
    [
        ({}, "https://api.anthropic.com/v1/messages", {"x-api-key": "k", "anthropic-version": "2023-06-01"}),
        (
            {"base_url": "https://proxy.example/claude/v1/", "query": {"region": "eu west"}},
            "https://proxy.example/claude/v1/messages?region=eu+west",
            {"x-api-key": "k", "anthropic-version": "2023-06-01"},
        ),
        (
            {"anthropic_version": "2026-10-21", "anthropic_beta": ("one-2026", "two-2026")},
            "https://api.anthropic.com/v1/messages",
            {"authorization": "Bearer k", "anthropic-version": "2026-10-21", "anthropic-beta": "one-2026,two-2026"},
        ),
        (
            {"api_key_header": "Authorization", "headers": {"X-Team": "search"}},
            "https://api.anthropic.com/v1/messages",
            {"authorization": "Bearer k", "anthropic-version": "2023-06-01", "x-team": "search"},
        ),
        (
            {"api_key_header": "api-key"},
            "https://api.anthropic.com/v1/messages",
            {"api-key": "k", "anthropic-version": "2023-06-01"},
        ),
        ({"api_key": None}, "https://api.anthropic.com/v1/messages", {"anthropic-version": "2023-06-01"}),
    ],
)
def test_address_and_credentials(settings_: dict[str, Any], url: str, headers: dict[str, str]) -> None:
    base = {"dialect": "anthropic", "base_url": "https://api.anthropic.com", "api_key": "k"}
    _, sent = encode(provider=Provider.model_validate(base | settings_))
    assert sent.url == url
    assert sent.headers == {"content-type": "application/json"} | headers


def test_the_smallest_request_gets_the_token_limit_that_anthropic_demands() -> None:
    body, sent = encode()
    assert body == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 4096,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }
    assert (sent.dropped, sent.adjusted) == ((), [])


@pytest.mark.parametrize(
    ("asked", "catalogue", "sent"), [(None, None, 4096), (None, 64000, 64000), (77, None, 77), (77, 64000, 77)]
)
def test_token_limit(asked: int | None, catalogue: int | None, sent: int) -> None:
    endpoint = CLAUDE.model_copy(update={"max_output_tokens": catalogue})
    fields: dict[str, Any] = {} if asked is None else {"max_completion_tokens": asked}
    assert encode(endpoint, **fields)[0]["max_tokens"] == sent


def test_a_stream_is_asked_for() -> None:
    assert encode(stream=True, stream_options={"include_usage": True})[0]["stream"] is True


@pytest.mark.parametrize(
    ("fields", "expected", "dropped", "changes"),
    [
        (
            {"temperature": 0.3, "top_p": 0.9, "top_k": 5},
            {"temperature": 0.3, "top_p": 0.9, "top_k": 5},
            (),
            [],
        ),
        ({"temperature": 1.7}, {"temperature": 1.0}, (), [("temperature", 1.7, 1.0)]),
        ({"stop": "END"}, {"stop_sequences": ["END"]}, (), []),
        ({"stop": ["\n", "END"]}, {"stop_sequences": ["END"]}, (), [("stop", ["\n", "END"], ["END"])]),
        ({"stop": "\n\n"}, {}, ("stop",), []),
        ({"user": "u1"}, {"metadata": {"user_id": "u1"}}, (), []),
        (
            {"user": "u1", "safety_identifier": "s1", "metadata": {"team": "a"}},
            {"metadata": {"user_id": "s1"}},
            ("metadata",),
            [],
        ),
        ({"metadata": {"user_id": "m1"}}, {"metadata": {"user_id": "m1"}}, (), []),
        ({"service_tier": "auto"}, {"service_tier": "auto"}, (), []),
        ({"service_tier": "priority"}, {"service_tier": "auto"}, (), []),
        ({"service_tier": "default"}, {"service_tier": "standard_only"}, (), []),
        ({"service_tier": "standard"}, {"service_tier": "standard_only"}, (), []),
        ({"service_tier": "flex"}, {}, ("service_tier",), []),
        (
            {"seed": 7, "frequency_penalty": 0.1, "logit_bias": {"5": 1}, "verbosity": "low", "store": False},
            {},
            ("frequency_penalty", "logit_bias", "seed", "verbosity", "store"),
            [],
        ),
        ({"modalities": ["text"], "n": 1}, {}, (), []),
        ({"somebody_elses_field": 1}, {}, ("somebody_elses_field",), []),
        (
            {"provider_options": {"anthropic": {"cache_control": {"type": "ephemeral", "ttl": "1h"}}}},
            {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
            (),
            [],
        ),
        (
            {
                "provider_options": {
                    "anthropic": {"inference_geo": "eu", "model": "other"},
                    "google": {"cache_ttl": "1"},
                }
            },
            {"inference_geo": "eu"},
            ("provider_options.google.cache_ttl", "provider_options.anthropic.model"),
            [],
        ),
    ],
)
def test_settings(
    fields: dict[str, Any], expected: dict[str, Any], dropped: tuple[str, ...], changes: list[tuple[str, Any, Any]]
) -> None:
    plain, _ = encode()
    body, sent = encode(**fields)
    assert body == plain | expected
    assert sent.dropped == dropped
    assert adjusted(sent) == changes


def test_sampling_is_gone_from_the_newer_version() -> None:
    provider = PROVIDER.model_copy(update={"anthropic_version": "2026-10-21"})
    body, sent = encode(provider=provider, temperature=0.3, top_p=0.9, top_k=5, stop="END")
    assert set(body) == {"model", "max_tokens", "messages", "stop_sequences"}
    assert sent.dropped == ("temperature", "top_p", "top_k")


def test_the_catalogue_says_what_an_endpoint_takes() -> None:
    endpoint = CLAUDE.model_copy(update={"supported_parameters": frozenset({"stop"})})
    body, sent = encode(endpoint, temperature=0.3, stop="END", max_completion_tokens=5, tools=[CLOCK])
    assert set(body) == {"model", "max_tokens", "messages", "tools", "stop_sequences"}
    assert sent.dropped == ("temperature",)


@pytest.mark.parametrize(
    ("refused", "fields", "dropped"),
    [
        ("temperature", {"temperature": 0.3}, ("temperature",)),
        ("stop_sequences", {"stop": "END"}, ("stop",)),
        ("thinking", {"reasoning": {"effort": "high"}}, ("reasoning",)),
        (
            "strict",
            {"tools": [{"type": "function", "function": {"name": "f", "strict": True}}]},
            ("tools[].function.strict",),
        ),
        (
            "cache_control",
            {"provider_options": {"anthropic": {"cache_control": {"type": "ephemeral"}}}},
            ("provider_options.anthropic.cache_control",),
        ),
        ("metadata", {"user": "u", "safety_identifier": "s"}, ("safety_identifier", "user_id")),
        ("metadata.user_id", {"metadata": {"user_id": "u"}}, ("metadata",)),
        ("output_config", {"response_format": SCHEMA}, ("response_format",)),
    ],
)
def test_what_the_provider_refused_is_not_sent_again(
    refused: str, fields: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    body, sent = encode(refused=frozenset({refused}), **fields)
    assert refused not in body
    assert "strict" not in body.get("tools", [{}])[0]
    assert sent.dropped == dropped


@pytest.mark.parametrize(
    ("refused", "left", "dropped"),
    [
        ("cache_control", None, ("cache_control",)),
        ("cache_control.ttl", {"type": "ephemeral"}, ("cache_control.ttl",)),
    ],
)
def test_cache_breakpoints_that_the_provider_refused_are_not_sent_again(
    refused: str, left: dict[str, Any] | None, dropped: tuple[str, ...]
) -> None:
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    text = {"type": "text", "text": "Hi", **mark}
    body, sent = encode(
        refused=frozenset({refused}),
        messages=[{"role": "system", "content": [text]}, {"role": "user", "content": [text]}],
        tools=[{**CLOCK, **mark}],
    )
    marked = (body["system"][0], body["messages"][0]["content"][0], body["tools"][0])
    assert [block.get("cache_control") for block in marked] == [left] * 3
    assert sent.dropped == dropped


def test_one_call_at_a_time_is_not_asked_for_again_where_it_was_refused() -> None:
    refused = frozenset({"tool_choice.disable_parallel_tool_use"})
    body, sent = encode(refused=refused, tools=[CLOCK], parallel_tool_calls=False)
    assert "tool_choice" not in body
    assert sent.dropped == ("parallel_tool_calls",)


def test_what_a_schema_is_for_is_reported() -> None:
    described = {**SCHEMA, "json_schema": {**SCHEMA["json_schema"], "description": "A name."}}
    assert encode(response_format=described)[1].dropped == ("response_format.json_schema.description",)


def test_a_schema_goes_up_verbatim_and_in_order() -> None:
    schema = {
        "type": "object",
        "properties": {"z": {"type": "number"}, "a": {"type": "string"}},
        "required": ["z", "a"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "out", "strict": True, "schema": schema}}
    _, sent = encode(response_format=form)
    text = json.dumps(schema, separators=(",", ":"))
    assert f'"output_config":{{"format":{{"type":"json_schema","schema":{text}}}}}'.encode() in sent.body


def test_open_objects_of_a_schema_are_closed() -> None:
    schema = {
        "type": "object",
        "properties": {
            "list": {"type": "array", "items": {"type": "object", "properties": {}}},
            "any": {"anyOf": [{}]},
        },
        "$defs": {"open": {"type": ["object", "null"], "additionalProperties": True}},
    }
    body, _ = encode(response_format={"type": "json_schema", "json_schema": {"name": "out", "schema": schema}})
    sent = body["output_config"]["format"]["schema"]
    assert sent["additionalProperties"] is False
    assert sent["properties"]["list"]["items"]["additionalProperties"] is False
    assert sent["$defs"] == schema["$defs"]
    assert list(sent) == ["type", "properties", "$defs", "additionalProperties"]


def test_constraints_that_anthropic_refuses_are_told_in_words() -> None:
    schema = {
        "type": "object",
        "properties": {
            "minimum": {"type": "integer", "minimum": 1, "maximum": 10, "description": "A number."},
            "list": {"type": "array", "minItems": 1, "maxItems": 3},
        },
        "additionalProperties": False,
    }
    body, sent = encode(response_format={"type": "json_schema", "json_schema": {"name": "out", "schema": schema}})
    assert body["output_config"]["format"]["schema"]["properties"] == {
        "minimum": {"type": "integer", "description": "A number.\n\n{minimum: 1, maximum: 10}"},
        "list": {"type": "array", "minItems": 1, "description": "{maxItems: 3}"},
    }
    assert sent.dropped == tuple(
        f"response_format.json_schema.schema[].{name}" for name in ("minimum", "maximum", "maxItems")
    )


def test_a_json_object_is_asked_for_in_words() -> None:
    body, sent = encode(response_format={"type": "json_object"}, messages=[{"role": "system", "content": "s"}, *HI])
    instruction = body["system"][1]["text"]
    assert "JSON object" in instruction
    assert adjusted(sent) == [("response_format", {"type": "json_object"}, instruction)]


def test_what_is_asked_of_a_stream_or_of_reasoning_and_is_not_there_is_reported() -> None:
    _, sent = encode(
        stream=True,
        stream_options={"include_usage": True, "include_obfuscation": True, "padding": 1},
        reasoning={"effort": "low", "summary": "detailed", "depth": 3},
        max_completion_tokens=5000,
    )
    assert set(sent.dropped) == {
        "stream_options.include_obfuscation",
        "stream_options.padding",
        "reasoning.summary",
        "reasoning.depth",
    }
