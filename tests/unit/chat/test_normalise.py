"""Requests brought to their one form: read as JSON, normalised, written again."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest

from service import codec
from service.chat.normalise import Normalised, Options, normalise
from service.errors import GatewayError
from service.tools import REGISTRY

USER = {"role": "user", "content": "hi"}
CLOCK = {"type": "gateway:datetime"}


def read(**fields: Any) -> Normalised:
    body = orjson.dumps({"model": "m", "messages": [USER], **fields})
    return normalise(codec.decode_request(CreateChatCompletionRequest, body, max_depth=64), REGISTRY)


def written(**fields: Any) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(codec.encode(read(**fields).request))
    return {name: each for name, each in value.items() if name not in ("model", "messages")}


def options(**fields: Any) -> Options:
    return read(**fields).options


@pytest.mark.parametrize(
    ("given", "becomes"),
    [
        ({}, {}),
        ({"speed": "fast"}, {"service_tier": "priority"}),
        ({"speed": "fast", "service_tier": "flex"}, {"service_tier": "priority"}),
        ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low"}}),
        ({"thinking": {"effort": "high"}, "reasoning_effort": "low"}, {"reasoning": {"effort": "high"}}),
        ({"reasoning": {"effort": "none"}, "thinking": {"effort": "high"}}, {"reasoning": {"effort": "none"}}),
        ({"thinking": {"type": "enabled", "budgetTokens": 9}}, {"reasoning": {"enabled": True, "max_tokens": 9}}),
        ({"thinking": {"type": "disabled"}}, {"reasoning": {"enabled": False}}),
        ({"thinking": {"type": "disabled", "enabled": True}}, {"reasoning": {"enabled": True}}),
        (
            {"reasoning": {"enabled": False}, "thinking": {"type": "enabled", "include_thoughts": True}},
            {"reasoning": {"enabled": False, "include_thoughts": True}},
        ),
        ({"response_format": "text"}, {"response_format": {"type": "text"}}),
        ({"response_format": "json"}, {"response_format": {"type": "json_object"}}),
        ({"response_format": {"type": "json"}}, {"response_format": {"type": "json_object"}}),
        (
            {"response_format": {"type": "json_schema", "schema": {"b": 1, "a": 2}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "response", "schema": {"b": 1, "a": 2}},
                }
            },
        ),
        ({"session_id": "s", "usage": True, "meta": True, "echo_upstream_request": True, "max_tool_calls": 3}, {}),
        ({"debug": {"enabled": True}}, {}),
    ],
)
def test_a_field_becomes_its_one_form(given: dict[str, Any], becomes: dict[str, Any]) -> None:
    assert written(**given) == becomes


def test_system_becomes_the_first_system_message() -> None:
    request = read(system="Be brief.").request
    assert orjson.loads(codec.encode(request))["messages"] == [{"role": "system", "content": "Be brief."}, USER]


@pytest.mark.parametrize(
    ("tools", "zone"),
    [
        ([CLOCK], None),
        ([{**CLOCK, "timezone": "Asia/Tokyo"}], "Asia/Tokyo"),
        ([{**CLOCK, "parameters": {"timezone": "Asia/Tokyo"}}], "Asia/Tokyo"),
        ([{**CLOCK, "parameters": {"timezone": "Asia/Tokyo"}, "timezone": "Europe/London"}], "Asia/Tokyo"),
        ([{**CLOCK, "timezone": "Asia/Tokyo"}, {**CLOCK, "timezone": "Europe/Paris"}], "Europe/Paris"),
        ([{**CLOCK, "timezone": "Asia/Tokyo"}, CLOCK], "Asia/Tokyo"),
    ],
)
def test_the_clock_takes_its_zone_from_any_of_its_shapes(tools: list[Any], zone: str | None) -> None:
    normalised = read(tools=tools)
    assert normalised.tools["gateway_datetime"][1].get("timezone") == zone
    assert [tool.function.function.name for tool in normalised.request.tools] == ["gateway_datetime"]


def test_the_clock_stands_after_the_clients_own_tools() -> None:
    own = {"type": "function", "function": {"name": "mine"}}
    request = read(tools=[CLOCK, own]).request
    assert [tool.function.function.name for tool in request.tools] == ["mine", "gateway_datetime"]


@pytest.mark.parametrize("choice", ["gateway:datetime", {"type": "gateway:datetime"}])
def test_a_choice_of_the_clock_points_to_its_function(choice: Any) -> None:
    assert written(tools=[CLOCK], tool_choice=choice)["tool_choice"] == {
        "type": "function",
        "function": {"name": "gateway_datetime"},
    }


@pytest.mark.parametrize(
    ("given", "code", "param"),
    [
        ({"tools": [{**CLOCK, "timezone": "Nowhere"}]}, "invalid_timezone", "tools[0].timezone"),
        (
            {"tools": [CLOCK, {**CLOCK, "parameters": {"timezone": "Nowhere"}}]},
            "invalid_timezone",
            "tools[1].parameters.timezone",
        ),
        (
            {"tools": [CLOCK, {"type": "function", "function": {"name": "gateway_datetime"}}]},
            "invalid_value",
            "tools[1].function.name",
        ),
        ({"tools": [CLOCK], "n": 2}, "invalid_value", "n"),
        ({"tool_choice": "gateway:datetime"}, "invalid_value", "tool_choice"),
        (
            {"tool_choice": {"type": "function", "function": {"name": "mine"}}},
            "invalid_value",
            "tool_choice.function.name",
        ),
        (
            {"tool_choice": {"type": "custom", "custom": {"name": "mine"}}},
            "invalid_value",
            "tool_choice.custom.name",
        ),
        ({"response_format": {"type": "json_schema"}}, "missing_required_parameter", "response_format.json_schema"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "missing_required_parameter",
            "response_format.json_schema.schema",
        ),
    ],
)
def test_contradictions_are_refused(given: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(GatewayError) as refused:
        read(**given)
    assert (refused.value.code, refused.value.param) == (code, param)


def test_a_function_of_the_clocks_name_alone_is_an_ordinary_one() -> None:
    normalised = read(tools=[{"type": "function", "function": {"name": "gateway_datetime"}}])
    assert not normalised.tools
    assert normalised.request.tools[0].function.function.name == "gateway_datetime"


@pytest.mark.parametrize(
    ("given", "trace", "request_told", "response_told"),
    [
        ({}, "", False, False),
        ({"echo_upstream_request": True}, "", True, False),
        ({"debug": {"enabled": True}}, "summary", False, False),
        ({"debug": {"enabled": True, "trace_level": "full"}}, "full", False, False),
        ({"debug": {"trace": True, "trace_level": "full"}}, "full", False, False),
        ({"debug": {"enabled": True, "return_upstream_response": True}}, "", False, True),
        ({"debug": {"enabled": True, "trace": False}}, "", False, False),
        ({"debug": {"enabled": False, "trace": True, "return_upstream_request": True}}, "", False, False),
    ],
)
def test_debug_controls(given: dict[str, Any], trace: str, request_told: bool, response_told: bool) -> None:
    told = options(**given)
    assert (told.trace, told.upstream_request, told.upstream_response) == (trace, request_told, response_told)


def test_settings_that_mean_nothing_here_are_reported() -> None:
    told = options(debug={"colour": 1}, provider={"zdr": True}, provider_options={"cohere": {}}, speed="slow")
    assert told.dropped == ("debug.colour", "provider.zdr", "provider_options.cohere", "speed")
