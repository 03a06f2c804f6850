"""OpenAI as its own Python package describes it: checks requests against its types, and builds answers from them."""

from __future__ import annotations

import json
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from pydantic import TypeAdapter

from tests.fakes.strict_types import strict

_WHOLE: TypeAdapter[Any] = TypeAdapter(strict(CompletionCreateParamsNonStreaming))
_STREAMED: TypeAdapter[Any] = TypeAdapter(strict(CompletionCreateParamsStreaming))


def check_request(body: bytes) -> dict[str, Any]:
    """Return a request body as a JSON value.

    Raises:
        pydantic.ValidationError: a field is unknown to OpenAI, at any depth, or of a wrong type.
    """
    value: dict[str, Any] = json.loads(body)
    (_STREAMED if value.get("stream") else _WHOLE).validate_json(body)
    return value


def completion(**fields: Any) -> bytes:
    """A whole answer; `fields` replace those of a plain one."""
    plain = {
        "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
        "object": "chat.completion",
        "created": 1741569952,
        "model": "gpt-5-nano-2025-08-07",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello!", "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 19,
            "completion_tokens": 10,
            "total_tokens": 29,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
    }
    value = {**plain, **fields}
    ChatCompletion.model_validate(value)
    return json.dumps(value).encode()


def chunk(delta: dict[str, Any], finish_reason: str | None = None, **fields: Any) -> bytes:
    """A chunk of a streamed answer with one choice; `fields` replace those of a plain one."""
    value = {
        "id": "chatcmpl-123",
        "object": "chat.completion.chunk",
        "created": 1694268190,
        "model": "gpt-5-nano-2025-08-07",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        **fields,
    }
    ChatCompletionChunk.model_validate(value)
    return json.dumps(value).encode()
