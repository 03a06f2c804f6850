"""OpenAI, and those that speak its chat completions: requests and answers by the `openai` package's types.

Thoughts stand in `reasoning_content`, as DeepSeek, vLLM and others give them: OpenAI itself keeps them to itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tests.contract.dialects.talk import (
    GATEWAY_HTML,
    RATE_LIMIT_WAIT_S,
    Call,
    Counts,
    Heard,
    HttpAnswer,
    Says,
    Trouble,
    Turns,
    halves,
)
from tests.fakes.openai import check_request

_ID = "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT"
_HEAD = {"id": _ID, "created": 1741569952, "model": "gpt-5-nano-2025-08-07", "service_tier": "default"}


class OpenAiVendor:
    """See `Vendor`."""

    dialect = "openai"
    path = "/v1"

    def check(self, body: bytes) -> Mapping[str, Any]:
        return check_request(body)

    def hear(self, body: Mapping[str, Any]) -> Heard:
        turns, system = Turns(), []
        names: dict[str, str] = {}
        for message in body["messages"]:
            match message["role"]:
                case "system" | "developer":
                    system += [item[1] for item in _items(message["content"])]
                case "user":
                    turns.add("user", *_items(message["content"]))
                case "tool":
                    text = "\n".join(item[1] for item in _items(message["content"]))
                    turns.add("user", ("result", names[message["tool_call_id"]], text))
                case "assistant":
                    calls = message.get("tool_calls", [])
                    names |= {call["id"]: call["function"]["name"] for call in calls}
                    said = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]
                    turns.add("model", *_items(message.get("content")), *(("call", *call) for call in said))
        form = body.get("response_format", {})
        stop = body.get("stop", [])
        return Heard(
            system=system,
            turns=turns.found,
            tools={tool["function"]["name"]: tool["function"]["parameters"] for tool in body.get("tools", [])},
            choice=_choice(body.get("tool_choice", "")),
            format=form["json_schema"]["schema"] if form.get("type") == "json_schema" else None,
            limit=body.get("max_completion_tokens"),
            stop=[stop] if isinstance(stop, str) else stop,
        )

    def whole(self, says: Says) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(says.text), "refusal": None}
        if says.thoughts:
            message["reasoning_content"] = "".join(says.thoughts)
        if says.calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = [_call(call, place) for place, call in enumerate(says.calls)]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": says.finish}
        answer = {**_HEAD, "object": "chat.completion", "choices": [choice], "usage": _usage(says.counts)}
        return ChatCompletion.model_validate(answer, strict=True).model_dump_json(exclude_unset=True).encode()

    def events(self, says: Says) -> Sequence[bytes]:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "", "refusal": None}]
        deltas += [{"reasoning_content": piece} for piece in says.thoughts]
        deltas += [{"content": piece} for piece in says.text]
        for place, call in enumerate(says.calls):
            whole = _call(call, place)
            pieces = halves(whole["function"]["arguments"])
            begun = {**whole, "function": {**whole["function"], "arguments": ""}}
            deltas.append({"tool_calls": [{"index": place, **begun}]})
            deltas += [{"tool_calls": [{"index": place, "function": {"arguments": piece}}]} for piece in pieces]
        chunks = [_chunk([{"index": 0, "delta": delta, "finish_reason": None}]) for delta in deltas]
        chunks.append(_chunk([{"index": 0, "delta": {}, "finish_reason": says.finish}]))
        return [*chunks, _chunk([], usage=_usage(says.counts)), b"data: [DONE]\n\n"]

    def error(self, trouble: Trouble) -> HttpAnswer:
        match trouble:
            case "bad_request":
                return _error(400, "invalid_request_error", "Invalid value: 'x'.", "invalid_value", "messages[0].role")
            case "invalid_key":
                return _error(401, "invalid_request_error", "Incorrect API key provided.", "invalid_api_key")
            case "rate_limit":
                answer = _error(429, "requests", "Rate limit reached for gpt-5-nano.", "rate_limit_exceeded")
                return HttpAnswer(429, answer.body, {"retry-after": str(RATE_LIMIT_WAIT_S)})
            case "server":
                return _error(500, "server_error", "The server had an error while processing your request.")
            case "overloaded":
                return _error(503, "server_error", "The engine is currently overloaded, please try again later.")
            case "context_length":
                text = "This model's maximum context length is 128000 tokens."
                return _error(400, "invalid_request_error", text, "context_length_exceeded", "messages")
            case "bad_gateway":
                return HttpAnswer(502, GATEWAY_HTML, {"content-type": "text/html"})

    def error_event(self) -> bytes:
        error = {"message": "The server is overloaded.", "type": "server_error", "param": None, "code": None}
        return _event({"error": error})


def _items(content: Any) -> list[tuple[Any, ...]]:
    if content is None:
        return []
    if isinstance(content, str):
        return [("text", content)] if content else []
    urls = {"image_url": lambda part: ("image", part["image_url"]["url"])}
    return [urls[part["type"]](part) if part["type"] in urls else ("text", part["text"]) for part in content]


def _choice(choice: Any) -> str:
    return choice if isinstance(choice, str) else f"function {choice['function']['name']}"


def _call(call: Call, place: int) -> dict[str, Any]:
    arguments = json.dumps(call.arguments, separators=(",", ":"))
    call_id = call.id or f"call_xyz{place}"
    return {"id": call_id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _usage(counts: Counts) -> dict[str, Any]:
    return {
        "prompt_tokens": counts.prompt,
        "completion_tokens": counts.completion,
        "total_tokens": counts.prompt + counts.completion,
        "prompt_tokens_details": {"cached_tokens": counts.cached},
        "completion_tokens_details": {"reasoning_tokens": counts.reasoning},
    }


def _chunk(choices: Sequence[Mapping[str, Any]], **fields: Any) -> bytes:
    value = {**_HEAD, "object": "chat.completion.chunk", "choices": choices, **fields}
    ChatCompletionChunk.model_validate(value, strict=True)
    return _event(value)


def _event(value: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def _error(status: int, kind: str, message: str, code: str | None = None, param: str | None = None) -> HttpAnswer:
    body = {"error": {"message": message, "type": kind, "param": param, "code": code}}
    return HttpAnswer(status, json.dumps(body).encode())
