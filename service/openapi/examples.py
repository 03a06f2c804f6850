"""Example requests and answers of the chat-completions endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

REQUESTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "datetimeServerTool": {
            "summary": "Built-in datetime server tool",
            "value": {
                "model": "openai/gpt-5-nano",
                "stream": False,
                "messages": [{"role": "user", "content": "What is the current datetime in Europe/London?"}],
                "tools": [{"type": "gateway:datetime", "parameters": {"timezone": "Europe/London"}}],
                "tool_choice": "auto",
            },
        },
        "streamed": {
            "summary": "Streamed, with usage and cost in the last chunk",
            "value": {
                "model": "openai/gpt-5-nano",
                "stream": True,
                "usage": True,
                "messages": [
                    {"role": "system", "content": "Answer in one sentence."},
                    {"role": "user", "content": "Why is the sky blue?"},
                ],
                "max_completion_tokens": 200,
            },
        },
        "structuredOutput": {
            "summary": "Structured output",
            "value": {
                "model": "openai/gpt-5-nano",
                "messages": [{"role": "user", "content": "Alice is 30 and lives in Leeds."}],
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {
                        "name": "person",
                        "strict": True,
                        "schema": {
                            "type": "object",
                            "properties": {
                                "name": {"type": "string"},
                                "age": {"type": "integer"},
                                "city": {"type": "string"},
                            },
                            "required": ["name", "age", "city"],
                            "additionalProperties": False,
                        },
                    },
                },
            },
        },
        "routed": {
            "summary": "An image, a preferred provider, and how the request was served",
            "value": {
                "model": "openai/gpt-5-nano",
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "What is on this picture?"},
                            {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}},
                        ],
                    }
                ],
                "provider": {"order": ["openai"], "allow_fallbacks": True},
                "meta": True,
            },
        },
    }
)

_USAGE = {"prompt_tokens": 21, "completion_tokens": 12, "total_tokens": 33}
_HEAD = {"id": "chatcmpl-01KFA3Y8ZQ5V7D9W2M4N6P8R0T", "nativeResponseId": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT"}

ANSWERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "answer": {
            "summary": "A whole answer",
            "value": {
                **_HEAD,
                "object": "chat.completion",
                "created": 1795340000,
                "model": "openai/gpt-5-nano",
                "provider": "openai",
                "choices": [
                    {
                        "index": 0,
                        "message": {
                            "role": "assistant",
                            "content": "In London it is 09:30 on 22 November 2026.",
                            "refusal": None,
                        },
                        "logprobs": None,
                        "finish_reason": "stop",
                    }
                ],
                "usage": {**_USAGE, "server_tool_use": {"datetime_requests": 1}},
            },
        }
    }
)

_CHUNK = (
    f'{{"id":"{_HEAD["id"]}","nativeResponseId":null,"object":"chat.completion.chunk","created":1795340000,'
    '"model":"openai/gpt-5-nano","provider":"openai","choices":'
)

EVENTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "events": {
            "summary": "Events of a streamed answer",
            "value": f'data: {_CHUNK}[{{"index":0,"delta":{{"role":"assistant","content":"Because"}},"logprobs":null,'
            '"finish_reason":null}]}\n\n'
            f'data: {_CHUNK}[{{"index":0,"delta":{{}},"logprobs":null,"finish_reason":"stop"}}]}}\n\n'
            f'data: {_CHUNK}[],"usage":{{"prompt_tokens":21,"completion_tokens":12,"total_tokens":33}}}}\n\n'
            "data: [DONE]\n\n",
        }
    }
)

ERROR: Mapping[str, Any] = MappingProxyType(
    {
        "error": {
            "message": "'temperature' must be at most 2, not 3.0.",
            "type": "invalid_request_error",
            "param": "temperature",
            "code": "out_of_range",
            "generation_id": _HEAD["id"],
        }
    }
)
