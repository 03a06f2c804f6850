"""The contract table: every kind of message, part and tool, with what an OpenAI-compatible provider receives of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from gateway.v1.tools_pb2 import Tool

from service import codec
from service.tools import REGISTRY
from tests.contract.rows import Good, allowed

PNG = "data:image/png;base64,iVBORw0KGgo="
CACHE_CONTROL = {"type": "ephemeral", "ttl": "1h", "scope": "session"}
BREAKPOINT = {"mode": "explicit"}
F: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def said(message: dict[str, Any], sent: dict[str, Any] | None = None, *dropped: str, model: str = "plain") -> Good:
    """A row of one message."""
    return Good({"messages": [message]}, {"messages": [message if sent is None else sent]}, dropped, model)


def part(given: dict[str, Any], sent: dict[str, Any] | None = None, *dropped: str, model: str = "plain") -> Good:
    """A row of one part of a user's message."""
    return said(
        {"role": "user", "content": [given]},
        {"role": "user", "content": [given if sent is None else sent]},
        *dropped,
        model=model,
    )


MESSAGES: Sequence[Good] = (
    *(said({"role": role, "content": "Hi", "name": "n"}) for role in ("system", "developer", "user", "assistant")),
    said({"role": "tool", "content": "42", "tool_call_id": "call_1"}),
    said({"role": "tool", "content": [{"type": "text", "text": "42"}], "tool_call_id": "call_1"}),
    said({"role": "function", "content": "42", "name": "f"}),
    said({"role": "assistant", "content": None, "tool_calls": [CALL]}),
    said({"role": "assistant", "tool_calls": [CALL]}),
    said({"role": "user", "content": ""}),
    said({"role": "user", "content": 'Zürich 東京 🗼 \u2028 "quoted" \\ \n'}),
    said({"role": "assistant", "content": None, "refusal": "No."}),
    said({"role": "assistant", "content": None, "audio": {"id": "audio_1"}}),
    said({"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}),
    said(
        {"role": "assistant", "content": None, "function_call": {"name": "f"}},
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": ""}},
    ),
    said(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "call_2", "type": "custom", "custom": {"name": "c", "input": "text"}}],
        }
    ),
    said(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    **CALL,
                    "index": 0,
                    "function": {**CALL["function"], "description": "d", "parameters": {"type": "object"}},  # type: ignore[dict-item]
                }
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        "messages[].tool_calls[].function.description",
        "messages[].tool_calls[].function.parameters",
    ),
    said(
        {"role": "assistant", "content": "a", "reasoning_content": "r"},
        {"role": "assistant", "content": "a"},
        "messages[].reasoning_content",
    ),
    said({"role": "assistant", "content": "a", "reasoning_content": "r"}, model="everything"),
    said(
        {
            "role": "assistant",
            "content": "a",
            "images": [{"type": "image_url", "image_url": {"url": PNG}, "mime_type": "image/png", "index": 0}],
            "audios": [
                {
                    "type": "audio_url",
                    "audio_url": {"url": "https://a.example/a.wav"},
                    "mime_type": "audio/wav",
                    "format": "wav",
                    "index": 0,
                }
            ],
        },
        {"role": "assistant", "content": "a"},
        "messages[].audios",
        "messages[].images",
    ),
    said(
        {"role": "assistant", "content": "a", "images": [{"type": "image_url", "image_url": {"url": PNG}}]},
        model="everything",
    ),
    *(
        said(
            {
                "role": "assistant",
                "content": "a",
                "audios": [{"type": "audio_url", "audio_url": {"url": "https://a.example/a"}, "format": form}],
            },
            model="everything",
        )
        for form in ("wav", "mp3", "flac", "m4a", "ogg", "pcm16", "pcm24")
    ),
    said({"role": "user", "content": "Hi", "weight": 1, "prefix": True}),
)
PARTS: Sequence[Good] = (
    part({"type": "text", "text": "a"}),
    part({"type": "text", "text": ""}),
    part({"type": "text", "text": "a", "prompt_cache_breakpoint": BREAKPOINT}),
    part({"type": "text", "text": "a", "cache_control": CACHE_CONTROL}, {"type": "text", "text": "a"}, "cache_control"),
    part({"type": "text", "text": "a", "cache_control": CACHE_CONTROL}, model="everything"),
    part({"type": "image_url", "image_url": {"url": PNG}}),
    part({"type": "image_url", "image_url": {"url": "https://images.example/a.png", "detail": "low"}}),
    part({"type": "image_url", "image_url": {"url": PNG}, "prompt_cache_breakpoint": BREAKPOINT}),
    part({"type": "image_url", "image_url": {"url": PNG}, "cache_control": CACHE_CONTROL}, model="everything"),
    *(
        part({"type": "input_audio", "input_audio": {"data": "AAAA", "format": form}})
        for form in ("wav", "mp3", "flac", "m4a", "ogg", "pcm16", "pcm24")
    ),
    part({"type": "input_audio", "input_audio": {"data": "AAAA"}}),
    part(
        {
            "type": "input_audio",
            "input_audio": {"data": "AAAA", "format": "wav"},
            "cache_control": CACHE_CONTROL,
            "prompt_cache_breakpoint": BREAKPOINT,
        },
        model="everything",
    ),
    part(
        {"type": "input_video", "video_url": "https://videos.example/a.mp4"},
        {"type": "video_url", "video_url": {"url": "https://videos.example/a.mp4"}},
    ),
    part(
        {"type": "input_video", "video_url": {"url": "https://videos.example/a.mp4"}},
        {"type": "video_url", "video_url": {"url": "https://videos.example/a.mp4"}},
    ),
    part({"type": "video_url", "video_url": {"url": "https://videos.example/a.mp4"}}),
    part({"type": "file", "file": {"file_id": "f"}}),
    part({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}),
    part(
        {
            "type": "file",
            "file": {"file_id": "f"},
            "cache_control": CACHE_CONTROL,
            "prompt_cache_breakpoint": BREAKPOINT,
        },
        model="everything",
    ),
    said({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}),
    said(
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "a"},
                {"type": "tool_call", "id": "call_1", "function": {"name": "f", "arguments": '{"a":1}'}},
            ],
        },
        {"role": "assistant", "content": [{"type": "text", "text": "a"}], "tool_calls": [CALL]},
    ),
    said(
        {
            "role": "assistant",
            "content": [{"type": "tool_call", "id": "call_1", "function": {"name": "f", "arguments": '{"a":1}'}}],
        },
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
    ),
)
PARAMETERS = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"default": 1.5}}, "required": ["z"]}
CUSTOM: dict[str, Any] = {"type": "custom", "custom": {"name": "c", "description": "d", "format": {"type": "text"}}}
TOOLS: Sequence[Good] = (
    Good({"tools": []}, {}),
    Good({"tools": [F]}),
    Good(
        {
            "tools": [
                {
                    "type": "function",
                    "function": {"name": "f", "description": "d", "parameters": PARAMETERS, "strict": True},
                }
            ]
        }
    ),
    Good({"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}),
    Good({"tools": [{**F, "cache_control": CACHE_CONTROL}]}, {"tools": [F]}, ["cache_control"]),
    Good({"tools": [{**F, "cache_control": CACHE_CONTROL}]}, model="everything"),
    Good({"tools": [{**F, "defer_loading": True}]}),
    Good({"tools": [CUSTOM]}),
    Good({"tools": [F], "tool_choice": "auto"}),
    Good({"tools": [F], "tool_choice": "none"}),
    Good({"tools": [F], "tool_choice": "required"}),
    Good({"tool_choice": "auto"}),
    Good({"tools": [F], "tool_choice": F}),
    Good({"tools": [CUSTOM], "tool_choice": {"type": "custom", "custom": {"name": "c"}}}),
    *(Good({"tools": [F], "tool_choice": allowed({**F, "note": 1}, mode=mode)}) for mode in ("auto", "required")),
    Good(
        {
            "tools": [F, CUSTOM],
            "tool_choice": allowed({"type": "function", "name": "f"}, {"type": "custom", "name": "c"}),
        },
        {
            "tools": [F, CUSTOM],
            "tool_choice": allowed(
                {"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "c"}}
            ),
        },
    ),
    Good({"tools": [F], "tool_choice": allowed({"type": "mcp", "server_label": "s"})}),
    Good({"tools": [F], "parallel_tool_calls": True}),
    Good({"tools": [F], "parallel_tool_calls": False}),
    Good({"tools": [F], "max_tool_calls": 2}, {"tools": [F]}, ["max_tool_calls"]),
    Good({"functions": [{"name": "f", "description": "d", "parameters": PARAMETERS}], "function_call": "none"}),
    Good({"functions": [{"name": "f"}], "function_call": "auto"}),
    Good({"functions": [{"name": "f"}], "function_call": {"name": "f"}}),
    Good({"tools": [{"type": "function", "function": {"name": "gateway_datetime"}}]}),
)
CLOCK = {"type": "gateway:datetime"}
CLOCK_FUNCTION = json.loads(codec.encode(Tool(function=REGISTRY["gateway_datetime"].definition())))
"""What a model sees of the gateway's clock."""
CLOCK_CHOICE = {"type": "function", "function": {"name": "gateway_datetime"}}
SERVER_TOOLS: Sequence[Good] = (
    Good({"tools": [CLOCK]}, {"tools": [CLOCK_FUNCTION]}),
    Good({"tools": [{**CLOCK, "parameters": {}}]}, {"tools": [CLOCK_FUNCTION]}),
    Good({"tools": [{**CLOCK, "parameters": {"timezone": "Europe/London"}}]}, {"tools": [CLOCK_FUNCTION]}),
    Good({"tools": [{**CLOCK, "timezone": "Europe/London"}]}, {"tools": [CLOCK_FUNCTION]}),
    Good({"tools": [{**CLOCK, "timezone": None, "parameters": None}]}, {"tools": [CLOCK_FUNCTION]}),
    Good({"tools": [CLOCK, F, CLOCK]}, {"tools": [F, CLOCK_FUNCTION]}),
    Good({"tools": [CLOCK], "max_tool_calls": 1}, {"tools": [CLOCK_FUNCTION]}),
    Good({"tools": [CLOCK], "tool_choice": "auto"}, {"tools": [CLOCK_FUNCTION], "tool_choice": "auto"}),
    Good({"tools": [CLOCK], "tool_choice": "none"}, {"tools": [CLOCK_FUNCTION], "tool_choice": "none"}),
    Good({"tools": [CLOCK], "tool_choice": "required"}, {"tools": [CLOCK_FUNCTION], "tool_choice": "required"}),
    *(
        Good({"tools": [CLOCK], "tool_choice": choice}, {"tools": [CLOCK_FUNCTION], "tool_choice": CLOCK_CHOICE})
        for choice in ("gateway:datetime", {"type": "gateway:datetime"}, CLOCK_CHOICE)
    ),
    Good(
        {"tools": [CLOCK], "tool_choice": allowed(CLOCK)},
        {"tools": [CLOCK_FUNCTION], "tool_choice": allowed(CLOCK_CHOICE)},
    ),
)
CONVERSATIONS = (*SERVER_TOOLS, *MESSAGES, *PARTS, *TOOLS)
