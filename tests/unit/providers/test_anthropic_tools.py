"""What the Anthropic dialect makes of tools and the choice of one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit.providers.anthropic_requests import CLOCK, WEATHER, encode


@pytest.mark.parametrize(
    ("parameters", "schema"),
    [
        (None, '{"type":"object","properties":{}}'),
        ("{}", '{"type":"object"}'),
        ('{"properties":{"b":{},"a":{}}}', '{"type":"object","properties":{"b":{},"a":{}}}'),
        (
            '{"type":"object","properties":{"z":{"type":"number","maximum":1.0},"a":{}}}',
            '{"type":"object","properties":{"z":{"type":"number","maximum":1.0},"a":{}}}',
        ),
    ],
)
def test_a_tools_schema_goes_up_verbatim(parameters: str | None, schema: str) -> None:
    function: dict[str, Any] = {"name": "f", "description": "Does f.", "strict": True}
    if parameters is not None:
        function["parameters"] = json.loads(parameters)
    tool = {"type": "function", "function": function, "cache_control": {"type": "ephemeral", "scope": "global"}}
    body, sent = encode(tools=[tool])
    assert f'"input_schema":{schema}'.encode() in sent.body
    assert {name: value for name, value in body["tools"][0].items() if name != "input_schema"} == {
        "name": "f",
        "description": "Does f.",
        "strict": True,
        "cache_control": {"type": "ephemeral"},
    }
    assert sent.dropped == ("cache_control.scope",)


@pytest.mark.parametrize(
    ("fields", "names", "choice"),
    [
        ({}, ["get_weather", "clock"], None),
        ({"tool_choice": "auto"}, ["get_weather", "clock"], {"type": "auto"}),
        ({"tool_choice": "none"}, ["get_weather", "clock"], {"type": "none"}),
        ({"tool_choice": "required"}, ["get_weather", "clock"], {"type": "any"}),
        (
            {"tool_choice": {"type": "function", "function": {"name": "clock"}}},
            ["get_weather", "clock"],
            {"type": "tool", "name": "clock"},
        ),
        (
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "required",
                        "tools": [{"type": "function", "function": {"name": "clock"}}],
                    },
                }
            },
            ["clock"],
            {"type": "any"},
        ),
        ({"parallel_tool_calls": True}, ["get_weather", "clock"], None),
        (
            {"parallel_tool_calls": False},
            ["get_weather", "clock"],
            {"type": "auto", "disable_parallel_tool_use": True},
        ),
        (
            {"parallel_tool_calls": False, "tool_choice": "required"},
            ["get_weather", "clock"],
            {"type": "any", "disable_parallel_tool_use": True},
        ),
        ({"parallel_tool_calls": False, "tool_choice": "none"}, ["get_weather", "clock"], {"type": "none"}),
    ],
)
def test_tool_choice(fields: dict[str, Any], names: list[str], choice: dict[str, Any] | None) -> None:
    body, sent = encode(tools=[WEATHER, CLOCK], **fields)
    assert [tool["name"] for tool in body["tools"]] == names
    assert body.get("tool_choice") == choice
    assert sent.dropped == ()


def test_a_tool_choice_without_tools_is_dropped() -> None:
    body, sent = encode(tool_choice="auto")
    assert "tool_choice" not in body
    assert sent.dropped == ("tool_choice",)
