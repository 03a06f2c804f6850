"""The conversation in OpenAI's form: what only our schema has is moved to OpenAI's place for it, or dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

from service.providers.report import Report

_FOREIGN = (
    "reasoning_content",
    "images",
    "audios",
    "thinking_blocks",
    "citations",
    "content_blocks",
    "extra_content",
    "google_parts",
)
"""Fields of an assistant message that OpenAI does not have: sent only where the endpoint lists them.

The last five are what clients send back of other vendors' answers; OpenAI refuses unknown fields.
"""
_ADAPTED = frozenset((*_FOREIGN, "tool_calls", "function_call"))
"""A message with none of these fields, and a text as its content, is sent as it is.

Most are such, and have nothing but that and a role, which is always there: that is seen sooner.
"""
_SIGNATURES = "extra_content"
"""Holds Gemini's signature of a tool call, also at Google's own OpenAI endpoint."""
_FUNCTION_FIELDS = ("description", "parameters")
"""Fields of a tool call that repeat the tool's definition; OpenAI does not have them."""


def adapt_messages(messages: Sequence[dict[str, Any]], supported: Set[str], report: Report) -> list[dict[str, Any]]:
    """Return the messages to send. `supported` are the names that the endpoint lists; the messages may be changed."""
    return [
        message
        if type(message.get("content")) is str and (len(message) == 2 or message.keys().isdisjoint(_ADAPTED))
        else _adapt(message, supported, report)
        for message in messages
    ]


def without_cache_control(value: dict[str, Any], report: Report) -> dict[str, Any]:
    """Take `cache_control` out of a part or a tool: OpenAI does not have it."""
    if value.pop("cache_control", None) is not None:
        report.drop("cache_control")
    return value


def _adapt(message: dict[str, Any], supported: Set[str], report: Report) -> dict[str, Any]:
    for name in _FOREIGN:
        if name in message and name not in supported:
            del message[name]
            report.drop(f"messages[].{name}")
    if isinstance(message.get("content"), list):
        _adapt_parts(message, "cache_control" in supported, report)
    if "tool_calls" in message:
        message["tool_calls"] = [_adapt_call(call, supported, report) for call in message["tool_calls"]]
    if "function_call" in message:
        message["function_call"] = _adapt_function(message["function_call"], "messages[].function_call", report)
    return message


def _adapt_parts(message: dict[str, Any], keep_cache_control: bool, report: Report) -> None:
    """Adapt the content's parts. Tool calls among them go to `tool_calls`, before those that are there already."""
    parts, calls = [], []
    known = {call.get("id") for call in message.get("tool_calls", ())}
    for part in message["content"]:
        if part["type"] == "tool_call":
            if part.get("id") not in known:
                calls.append({**part, "type": "function"})
            continue
        if part["type"] == "input_video":
            url = part["video_url"]
            part = {**part, "type": "video_url", "video_url": {"url": url} if isinstance(url, str) else url}
        parts.append(part if keep_cache_control else without_cache_control(part, report))
    message["content"] = parts or (None if calls or known else [])
    if calls:
        message["tool_calls"] = [*calls, *message.get("tool_calls", ())]


def _adapt_call(call: Mapping[str, Any], supported: Set[str], report: Report) -> dict[str, Any]:
    adapted = {name: value for name, value in call.items() if name != "index"}
    if _SIGNATURES in adapted and _SIGNATURES not in supported:
        del adapted[_SIGNATURES]
        report.drop(f"messages[].tool_calls[].{_SIGNATURES}")
    if "function" in adapted:
        adapted["function"] = _adapt_function(adapted["function"], "messages[].tool_calls[].function", report)
    return adapted


def _adapt_function(function: Mapping[str, Any], path: str, report: Report) -> dict[str, Any]:
    for name in _FUNCTION_FIELDS:
        if name in function:
            report.drop(f"{path}.{name}")
    adapted = {name: value for name, value in function.items() if name not in _FUNCTION_FIELDS}
    return {**adapted, "arguments": adapted.get("arguments", "")}
