"""One request that has every field of the JSON API, under its first name, in a valid form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CACHE_CONTROL = {"type": "ephemeral", "ttl": "1h", "scope": "session"}
_BREAKPOINT = {"mode": "explicit"}
_URL = "https://files.example/a"
_SCHEMA = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "number"}}}
_FUNCTION_CALL = {"name": "f", "arguments": "{}", "description": "d", "parameters": _SCHEMA}
_MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief.", "name": "s"},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "a", "cache_control": _CACHE_CONTROL, "prompt_cache_breakpoint": _BREAKPOINT},
            {
                "type": "image_url",
                "image_url": {"url": _URL, "detail": "low"},
                "cache_control": _CACHE_CONTROL,
                "prompt_cache_breakpoint": _BREAKPOINT,
            },
            {
                "type": "input_audio",
                "input_audio": {"data": "AAAA", "format": "wav"},
                "cache_control": _CACHE_CONTROL,
                "prompt_cache_breakpoint": _BREAKPOINT,
            },
            {"type": "input_video", "video_url": {"url": _URL}},
            {
                "type": "file",
                "file": {"filename": "a.pdf", "file_data": "AAAA", "file_id": "f"},
                "cache_control": _CACHE_CONTROL,
                "prompt_cache_breakpoint": _BREAKPOINT,
            },
        ],
    },
    {
        "role": "assistant",
        "content": None,
        "refusal": "No.",
        "reasoning_content": "Hm.",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": _FUNCTION_CALL, "index": 0},
            {"id": "call_2", "type": "custom", "custom": {"name": "c", "input": "i"}, "index": 1},
        ],
        "images": [{"type": "image_url", "image_url": {"url": _URL}, "mime_type": "image/png", "index": 0}],
        "audios": [
            {"type": "audio_url", "audio_url": {"url": _URL}, "mime_type": "audio/wav", "format": "wav", "index": 0}
        ],
        "audio": {"id": "audio_1"},
        "function_call": _FUNCTION_CALL,
    },
    {"role": "tool", "content": "42", "tool_call_id": "call_1"},
    {
        "role": "assistant",
        "content": [
            {"type": "refusal", "refusal": "No."},
            {"type": "tool_call", "id": "call_3", "function": _FUNCTION_CALL},
        ],
    },
]

EVERYTHING: Mapping[str, Any] = {
    "model": "everything",
    "messages": _MESSAGES,
    "system": "Be kind.",
    "stream": False,
    "stream_options": {"include_usage": True, "include_obfuscation": False},
    "max_completion_tokens": 5,
    "temperature": 1,
    "top_p": 0.5,
    "top_k": 2,
    "frequency_penalty": 0,
    "presence_penalty": 0,
    "logit_bias": {"50256": 1},
    "seed": 0,
    "stop": ["a", "b"],
    "logprobs": True,
    "top_logprobs": 10,
    "n": 1,
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "x", "description": "d", "schema": _SCHEMA, "strict": True},
        "schema": _SCHEMA,
    },
    "verbosity": "low",
    "prediction": {"type": "content", "content": [{"type": "text", "text": "a"}]},
    "tools": [
        {
            "type": "function",
            "function": {"name": "f", "description": "d", "parameters": _SCHEMA, "strict": True},
            "cache_control": _CACHE_CONTROL,
        },
        {"type": "custom", "custom": {"name": "c", "description": "d", "format": {"type": "text"}}},
        {"type": "gateway:datetime", "parameters": {"timezone": "Asia/Tokyo"}, "timezone": "UTC"},
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": True,
    "max_tool_calls": 2,
    "functions": [{"name": "f", "description": "d", "parameters": _SCHEMA, "strict": True}],
    "function_call": {"name": "f"},
    "web_search_options": {"search_context_size": "low", "user_location": {"type": "approximate"}},
    "reasoning": {"effort": "medium", "summary": "auto", "enabled": True, "max_tokens": 1, "include_thoughts": True},
    "thinking": {"type": "enabled", "enabled": True, "include_thoughts": True, "effort": "none", "max_tokens": 1},
    "reasoning_effort": "low",
    "modalities": ["text", "audio"],
    "image_config": {
        "aspect_ratio": "16:9",
        "image_size": "0.5K",
        "include_rai_reason": True,
        "font_inputs": [{"font_url": _URL, "text": "a"}],
        "super_resolution_references": [_URL],
        "reference_images": [{}],
    },
    "audio": {"voice": {"id": "voice_1"}, "format": "wav"},
    "provider": {
        "order": ["other"],
        "only": ["other"],
        "ignore": ["openai"],
        "include_alpha": True,
        "allow_fallbacks": True,
        "require_parameters": False,
        "max_price": {"prompt": 1, "completion": 2},
        "sort": "price",
    },
    "provider_options": {
        "openai": {
            "context_management": {"type": "compaction", "compact_threshold": 0.5},
            "prompt_cache_retention": "24h",
        },
        "anthropic": {"cache_control": _CACHE_CONTROL},
        "google": {"cache_control": _CACHE_CONTROL, "cached_content": "c", "cache_ttl": "60s"},
    },
    "service_tier": "standard",
    "speed": "fast",
    "prompt_cache_key": "k",
    "prompt_cache_options": {"ttl": "30m", "mode": "explicit"},
    "prompt_cache_retention": "24h",
    "safety_identifier": "s",
    "user_id": "u",
    "metadata": {"a": "b"},
    "store": True,
    "moderation": {"model": "m", "policy": {"input": {"mode": "block"}, "output": {"mode": "score"}}},
    "session_id": "s",
    "usage": True,
    "meta": True,
    "echo_upstream_request": True,
    "debug": {
        "enabled": True,
        "return_upstream_request": True,
        "return_upstream_response": True,
        "trace": True,
        "trace_level": "summary",
    },
}
"""Bodies that differ from it in one place are the bad side of the contract table."""
