"""Anthropic's Messages API: requests and answers by the `anthropic` package's types."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from anthropic import types
from pydantic import BaseModel

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
from tests.fakes.anthropic import check_request

_STOP_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class AnthropicVendor:
    """See `Vendor`."""

    dialect = "anthropic"
    path = ""

    def check(self, body: bytes) -> Mapping[str, Any]:
        return check_request(body)

    def hear(self, body: Mapping[str, Any]) -> Heard:
        turns = Turns()
        names: dict[str, str] = {}
        for turn in body["messages"]:
            role = "model" if turn["role"] == "assistant" else "user"
            turns.add(role, *(item for block in turn["content"] if (item := _item(block, names))))
        choice = body.get("tool_choice")
        form = body.get("output_config", {}).get("format")
        return Heard(
            system=[block["text"] for block in body.get("system", [])],
            turns=turns.found,
            tools={tool["name"]: tool["input_schema"] for tool in body.get("tools", [])},
            choice="" if choice is None else _CHOICES.get(choice["type"]) or f"function {choice['name']}",
            format=form and form["schema"],
            limit=body["max_tokens"],
            stop=body.get("stop_sequences", []),
        )

    def whole(self, says: Says) -> bytes:
        blocks: list[Any] = []
        if says.thoughts or says.signature:
            blocks.append(_thinking("".join(says.thoughts), says.signature))
        if says.text:
            blocks.append(types.TextBlock(type="text", text="".join(says.text)))
        blocks += [_tool_use(call, place, call.arguments) for place, call in enumerate(says.calls)]
        return _json(_message(says, blocks, _STOP_REASONS[says.finish]))

    def events(self, says: Says) -> Sequence[bytes]:
        begun = _message(Says(counts=says.counts), [], None)
        events = [_event(types.RawMessageStartEvent(type="message_start", message=begun)), _PING]
        for place, (block, deltas) in enumerate(_blocks(says)):
            start = types.RawContentBlockStartEvent(type="content_block_start", index=place, content_block=block)
            events.append(_event(start))
            for delta in deltas:
                step = types.RawContentBlockDeltaEvent(type="content_block_delta", index=place, delta=delta)
                events.append(_event(step))
            events.append(_event(types.RawContentBlockStopEvent(type="content_block_stop", index=place)))
        end = types.RawMessageDeltaEvent.model_validate(
            {
                "type": "message_delta",
                "delta": {"stop_reason": _STOP_REASONS[says.finish], "stop_details": _stop_details(says)},
                "usage": {
                    "output_tokens": says.counts.completion,
                    "output_tokens_details": {"thinking_tokens": says.counts.reasoning},
                },
            }
        )
        return [*events, _event(end), _event(types.RawMessageStopEvent(type="message_stop"))]

    def error(self, trouble: Trouble) -> HttpAnswer:
        match trouble:
            case "bad_request":
                return _error(400, "invalid_request_error", "messages.0.content: Input should be a valid list")
            case "invalid_key":
                return _error(401, "authentication_error", "invalid x-api-key")
            case "rate_limit":
                answer = _error(429, "rate_limit_error", "This request would exceed your organization's rate limit.")
                return HttpAnswer(429, answer.body, {"retry-after": str(RATE_LIMIT_WAIT_S)})
            case "server":
                return _error(500, "api_error", "Internal server error")
            case "overloaded":
                return _error(529, "overloaded_error", "Overloaded")
            case "context_length":
                return _error(400, "invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum")
            case "bad_gateway":
                return HttpAnswer(502, GATEWAY_HTML, {"content-type": "text/html"})

    def error_event(self) -> bytes:
        return b"event: error\ndata: " + _error(529, "overloaded_error", "Overloaded").body + b"\n\n"


def _item(block: Mapping[str, Any], names: dict[str, str]) -> tuple[Any, ...] | None:
    match block["type"]:
        case "text":
            return "text", block["text"]
        case "image":
            source = block["source"]
            if source["type"] == "url":
                return "image", source["url"]
            return "image", f"data:{source['media_type']};base64,{source['data']}"
        case "tool_use":
            names[block["id"]] = block["name"]
            return "call", block["name"], block["input"]
        case "tool_result":
            content = block.get("content", "")
            texts = [content] if isinstance(content, str) else [inner["text"] for inner in content]
            return "result", names[block["tool_use_id"]], "\n".join(texts)
        case _:
            return None


def _blocks(says: Says) -> list[tuple[BaseModel, list[BaseModel]]]:
    """Return the blocks as they begin, each with its deltas."""
    blocks: list[tuple[BaseModel, list[BaseModel]]] = []
    if says.thoughts or says.signature:
        deltas: list[BaseModel] = [types.ThinkingDelta(type="thinking_delta", thinking=each) for each in says.thoughts]
        deltas.append(types.SignatureDelta(type="signature_delta", signature=says.signature))
        blocks.append((_thinking("", ""), deltas))
    if says.text:
        texts: list[BaseModel] = [types.TextDelta(type="text_delta", text=piece) for piece in says.text]
        blocks.append((types.TextBlock(type="text", text=""), texts))
    for place, call in enumerate(says.calls):
        pieces = ("", *halves(json.dumps(call.arguments))) if call.arguments else ("",)
        inputs: list[BaseModel] = [types.InputJSONDelta(type="input_json_delta", partial_json=each) for each in pieces]
        blocks.append((_tool_use(call, place, {}), inputs))
    return blocks


def _thinking(text: str, signature: str) -> types.ThinkingBlock:
    return types.ThinkingBlock(type="thinking", thinking=text, signature=signature)


def _tool_use(call: Call, place: int, given: Mapping[str, Any]) -> types.ToolUseBlock:
    call_id = call.id or f"toolu_01A09q90qw90lq91781{place}"
    return types.ToolUseBlock(type="tool_use", id=call_id, name=call.name, input=dict(given))


def _stop_details(says: Says) -> Mapping[str, Any] | None:
    if says.finish != "content_filter":
        return None
    return {"type": "refusal", "category": "cyber", "explanation": "This request may violate the usage policy."}


def _message(says: Says, blocks: Sequence[Any], stop_reason: str | None) -> types.Message:
    return types.Message.model_validate(
        {
            "id": "msg_01XFDUDYJgAACzvnptvVoYEL",
            "type": "message",
            "role": "assistant",
            "model": "claude-sonnet-4-5-20250929",
            "content": [block.model_dump(exclude_unset=True) for block in blocks],
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "stop_details": _stop_details(says),
            "usage": _usage(says.counts),
        }
    )


def _usage(counts: Counts) -> dict[str, Any]:
    return {
        "input_tokens": counts.prompt - counts.cached,
        "cache_read_input_tokens": counts.cached,
        "output_tokens": counts.completion,
        "output_tokens_details": {"thinking_tokens": counts.reasoning},
    }


def _json(model: BaseModel) -> bytes:
    return model.model_dump_json(exclude_unset=True).encode()


def _event(model: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (model.type.encode(), _json(model))


_PING = b'event: ping\ndata: {"type": "ping"}\n\n'


def _error(status: int, kind: str, message: str) -> HttpAnswer:
    body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"}
    types.ErrorResponse.model_validate(body, strict=True)
    return HttpAnswer(status, json.dumps(body).encode())
