"""Tools and the choice of a tool in Anthropic's words.

https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.tools_pb2 import AllowedTools, Tool, ToolChoiceMode
from orjson import Fragment

from service.codec import parse
from service.providers.anthropic.messages import cache_control
from service.providers.report import Report

_NO_PARAMETERS = '{"type":"object","properties":{}}'


def tool_fields(
    request: CreateChatCompletionRequest,
    turns: Sequence[Mapping[str, Any]],
    one_at_a_time: bool,
    strict: bool,
    report: Report,
) -> dict[str, Any]:
    """Return the body's `tools` and `tool_choice`.

    `one_at_a_time`: the model is to make one call at most. `strict`: tools may carry that field.
    """
    if not request.tools:
        if request.WhichOneof("tool_choice") is not None:
            report.drop("tool_choice")
        past = _past_tools(turns)
        # Turns with calls need definitions of what was called, also where the model is to call nothing.
        return {"tools": past, "tool_choice": {"type": "none"}} if past else {}
    tools: Iterable[Tool] = request.tools
    allowed = request.tool_choice_object.allowed_tools
    if allowed.HasField("allowed_tools"):
        names = _allowed_names(allowed.allowed_tools)
        tools = [tool for tool in tools if tool.function.function.name in names]
    fields: dict[str, Any] = {"tools": [_tool(tool, strict, report) for tool in tools]}
    choice = _choice(request)
    if one_at_a_time and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    if choice:
        fields["tool_choice"] = choice
    return fields


def forces_call(fields: Mapping[str, Any]) -> bool:
    """Say whether the body's tool choice forces a call."""
    return fields.get("tool_choice", {}).get("type") in ("any", "tool")


def _tool(tool: Tool, strict: bool, report: Report) -> dict[str, Any]:
    function = tool.function.function
    report.drop_unknown("tools[]", tool.function)
    report.drop_unknown("tools[].function", function)
    block: dict[str, Any] = {"name": function.name}
    if function.description:
        block["description"] = function.description
    block["input_schema"] = Fragment(_input_schema(function.parameters))
    if function.HasField("strict"):
        if strict:
            block["strict"] = function.strict
        else:
            report.drop("tools[].function.strict")
    if tool.function.HasField("cache_control"):
        block["cache_control"] = cache_control(tool.function.cache_control, report)
    return block


def _input_schema(parameters: str) -> str:
    """Return a function's parameters verbatim, given the `type` that Anthropic demands where they have none."""
    if not parameters:
        return _NO_PARAMETERS
    if "type" in parse(parameters.encode()):
        return parameters
    rest = parameters.strip()[1:].lstrip()
    return '{"type":"object"' + ("}" if rest == "}" else f",{rest}")


def _choice(request: CreateChatCompletionRequest) -> dict[str, Any]:
    match request.WhichOneof("tool_choice"):
        case "tool_choice_mode":
            return _mode(request.tool_choice_mode)
        case "tool_choice_object":
            choice = request.tool_choice_object
            if choice.HasField("allowed_tools"):
                return {"type": "any" if choice.allowed_tools.allowed_tools.mode == "required" else "auto"}
            return {"type": "tool", "name": choice.function.function.name}
        case _:
            return {}


def _mode(mode: int) -> dict[str, Any]:
    match mode:
        case ToolChoiceMode.TOOL_CHOICE_MODE_NONE:
            return {"type": "none"}
        case ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED:
            return {"type": "any"}
        case _:
            return {"type": "auto"}


def _allowed_names(allowed: AllowedTools) -> frozenset[str]:
    names: set[str] = set()
    for text in allowed.tools:
        match parse(text.encode()):
            case {"function": {"name": str(name)}}:
                names.add(name)
    return frozenset(names)


def _past_tools(turns: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    blocks = (block for turn in turns for block in turn["content"])
    names = dict.fromkeys(block["name"] for block in blocks if block["type"] == "tool_use")
    return [{"name": name, "input_schema": Fragment(_NO_PARAMETERS)} for name in names]
