"""What goes over the wire while measuring: requests of every size, and the answers of the fake provider."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

Size = Literal["small", "medium", "large", "image"]

STREAM_MODEL = "bench-4ms200"
"""The event source reads pace and number of events from a model's name: here 200 events, one every 4 ms."""
SLOW_MODEL = "bench-40ms50"
"""About the pace of a real model: no two of a stream's events come close together."""
FIRST_MODEL = "bench-0ms5"
BURST_MODEL = "bench-0ms500"
UNARY_MODEL = "bench-unary"

_SENTENCE = "The quick brown fox jumps over the lazy dog and thinks about the weather in Zurich. "
_WORDS = _SENTENCE.split(" ")


class Shape(NamedTuple):
    """How a request is made: messages, bytes of text a message, tools, bytes of image."""

    messages: int
    text_bytes: int
    tools: int
    image_bytes: int


SHAPES: Mapping[Size, Shape] = {
    "small": Shape(1, 60, 0, 0),
    "medium": Shape(20, 380, 0, 0),
    "large": Shape(200, 520, 10, 0),
    "image": Shape(1, 60, 0, 4 * 1024 * 1024),
}


def request(model: str, size: Size = "small", *, stream: bool = False, max_tokens: bool = False) -> bytes:
    """Return a chat-completion request. `max_tokens`: with a token limit, which some providers require.

    A streamed one asks for usage: the source sends it in any case, some targets pass it on in any case, and events are
    counted.
    """
    shape = SHAPES[size]
    text = (_SENTENCE * (shape.text_bytes // len(_SENTENCE) + 1))[: shape.text_bytes]
    roles = ("user", "assistant")
    messages: list[dict[str, Any]] = [{"role": roles[n % 2], "content": text} for n in range(shape.messages)]
    messages[-1]["role"] = "user"
    if shape.image_bytes:
        url = "data:image/png;base64," + "iVBORw0K" * (shape.image_bytes // 8)
        image = {"type": "image_url", "image_url": {"url": url}}
        messages[0]["content"] = [{"type": "text", "text": text}, image]
    body: dict[str, Any] = {"model": model, "messages": messages}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if max_tokens:
        body["max_tokens"] = 1000
    if shape.tools:
        body["tools"] = [_tool(number) for number in range(shape.tools)]
    return json.dumps(body).encode()


def _tool(number: int) -> Mapping[str, Any]:
    properties = {f"field_{n}": {"type": "string", "description": _SENTENCE} for n in range(8)}
    parameters = {"type": "object", "properties": properties, "required": ["field_0"]}
    return {"type": "function", "function": {"name": f"tool_{number}", "parameters": parameters}}


UNARY_ANSWERS: Mapping[str, Mapping[str, Any]] = {
    "chat/completions": {
        "id": "chatcmpl-abc",
        "object": "chat.completion",
        "created": 1700000000,
        "model": UNARY_MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello there, how can I help you today?", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
    },
    "messages": {
        "id": "msg_abc",
        "type": "message",
        "role": "assistant",
        "model": UNARY_MODEL,
        "content": [{"type": "text", "text": "Hello there, how can I help you today?"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 12},
    },
    "generateContent": {
        "candidates": [
            {
                "content": {"parts": [{"text": "Hello there, how can I help you today?"}], "role": "model"},
                "finishReason": "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 12, "totalTokenCount": 21},
        "modelVersion": UNARY_MODEL,
        "responseId": "abc",
    },
}
"""Whole answers by how the request's path ends."""


def events(path: str, count: int) -> Sequence[bytes]:
    """Return `count` server-sent events with text, of the vendor that has such a path, and those around them."""
    words = [_WORDS[n % len(_WORDS)] + " " for n in range(count)]
    if path.endswith("/messages"):
        return _anthropic(words)
    if "streamGenerateContent" in path:
        return _google(words)
    return _openai(words)


def _openai(words: Sequence[str]) -> Sequence[bytes]:
    head = {"id": "chatcmpl-abc", "object": "chat.completion.chunk", "created": 1700000000, "model": "bench"}

    def chunk(delta: Mapping[str, Any], reason: str | None = None) -> bytes:
        return _event({**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]})

    usage = {"prompt_tokens": 9, "completion_tokens": len(words), "total_tokens": 9 + len(words)}
    return [
        *[
            chunk({"role": "assistant", "content": word} if not n else {"content": word})
            for n, word in enumerate(words)
        ],
        chunk({}, "stop") + _event({**head, "choices": [], "usage": usage}) + b"data: [DONE]\n\n",
    ]


def _anthropic(words: Sequence[str]) -> Sequence[bytes]:
    def event(kind: str, **fields: Any) -> bytes:
        return f"event: {kind}\n".encode() + _event({"type": kind, **fields})

    usage = {"input_tokens": 9, "output_tokens": 1}
    message = {"id": "msg_abc", "type": "message", "role": "assistant", "content": [], "model": "bench", "usage": usage}
    begin = event("message_start", message=message)
    begin += event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    end = event("content_block_stop", index=0)
    end += event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": len(words)})
    end += event("message_stop")
    deltas = [event("content_block_delta", index=0, delta={"type": "text_delta", "text": word}) for word in words]
    return [begin + deltas[0], *deltas[1:], end]


def _google(words: Sequence[str]) -> Sequence[bytes]:
    def event(text: str, tokens: int, **fields: Any) -> bytes:
        candidate = {"content": {"parts": [{"text": text}], "role": "model"}, "index": 0, **fields}
        usage = {"promptTokenCount": 9, "candidatesTokenCount": tokens, "totalTokenCount": 9 + tokens}
        return _event({"candidates": [candidate], "usageMetadata": usage, "modelVersion": "b", "responseId": "abc"})

    return [*[event(word, n) for n, word in enumerate(words)], event("", len(words), finishReason="STOP")]


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"
