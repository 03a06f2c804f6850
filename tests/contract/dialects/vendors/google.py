"""The Gemini API: requests and answers by the `google-genai` package's types."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

from google.genai import types

from tests.contract.dialects.talk import (
    GATEWAY_HTML,
    RATE_LIMIT_WAIT_S,
    Counts,
    Heard,
    HttpAnswer,
    Says,
    Trouble,
    Turns,
)
from tests.fakes.google import check_request

_FINISH_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
_CHOICES = {"AUTO": "auto", "ANY": "required", "NONE": "none"}


class GoogleVendor:
    """See `Vendor`."""

    dialect = "google"
    path = "/v1beta"

    def check(self, body: bytes) -> Mapping[str, Any]:
        return check_request(body)

    def hear(self, body: Mapping[str, Any]) -> Heard:
        turns = Turns()
        for content in body["contents"]:
            turns.add(content["role"], *(_item(part) for part in content["parts"]))
        config = body.get("generationConfig", {})
        declared = [each for tool in body.get("tools", []) for each in tool["functionDeclarations"]]
        calling = body.get("toolConfig", {}).get("functionCallingConfig")
        return Heard(
            system=[part["text"] for part in body.get("systemInstruction", {}).get("parts", [])],
            turns=turns.found,
            tools={function["name"]: function.get("parametersJsonSchema") for function in declared},
            choice="" if calling is None else _choice(calling),
            format=config.get("responseJsonSchema"),
            limit=config.get("maxOutputTokens"),
            stop=config.get("stopSequences", []),
        )

    def whole(self, says: Says) -> bytes:
        parts = [{"text": "".join(says.thoughts), "thought": True}] if says.thoughts else []
        parts += [{"text": "".join(says.text)}] if says.text else []
        return json.dumps(_response(says, _signed([*parts, *_calls(says)], says), last=True)).encode()

    def events(self, says: Says) -> Sequence[bytes]:
        parts = [{"text": piece, "thought": True} for piece in says.thoughts]
        parts += [{"text": piece} for piece in says.text]
        parts = _signed([*parts, *_calls(says)], says)
        steps = [_response(says, [part], last=False) for part in parts]
        if says.finish == "content_filter" and not parts:
            return [_event(_response(says, [], last=True))]
        return [_event(step) for step in (*steps, _response(says, [{"text": ""}], last=True))]

    def error(self, trouble: Trouble) -> HttpAnswer:
        match trouble:
            case "bad_request":
                return _error(400, "INVALID_ARGUMENT", "Invalid value at 'contents[0].role' (TYPE_STRING), 7")
            case "invalid_key":
                reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
                return _error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", reason)
            case "rate_limit":
                delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{RATE_LIMIT_WAIT_S}s"}
                return _error(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota.", delay)
            case "server":
                return _error(500, "INTERNAL", "An internal error has occurred.")
            case "overloaded":
                return _error(503, "UNAVAILABLE", "The model is overloaded. Please try again later.")
            case "context_length":
                text = "The input token count (1200293) exceeds the maximum number of tokens allowed (1048576)."
                return _error(400, "INVALID_ARGUMENT", text)
            case "bad_gateway":
                return HttpAnswer(502, GATEWAY_HTML, {"content-type": "text/html"})

    def error_event(self) -> bytes:
        return b"data: " + self.error("overloaded").body + b"\n\n"


def _item(part: Mapping[str, Any]) -> tuple[Any, ...]:
    match part:
        case {"text": text}:
            return "text", text
        case {"inlineData": {"mimeType": kind, "data": data}}:
            return "image", f"data:{kind};base64,{data}"
        case {"fileData": {"fileUri": uri}}:
            return "image", uri
        case {"functionCall": call}:
            return "call", call["name"], call["args"]
        case {"functionResponse": result}:
            response = result["response"]
            # A result that is a JSON object is given as one, any other text inside one.
            text = response["result"] if response.keys() == {"result"} else json.dumps(response, separators=(",", ":"))
            return "result", result["name"], text
        case _:
            raise ValueError(f"the model cannot hear {part}")


def _choice(calling: Mapping[str, Any]) -> str:
    names = calling.get("allowedFunctionNames")
    return f"function {names[0]}" if names else _CHOICES[calling["mode"]]


def _calls(says: Says) -> list[dict[str, Any]]:
    calls = [{"name": call.name, "args": dict(call.arguments), "id": call.id or None} for call in says.calls]
    return [{"functionCall": {name: value for name, value in call.items() if value is not None}} for call in calls]


def _signed(parts: list[dict[str, Any]], says: Says) -> list[dict[str, Any]]:
    """Sign the first call, else the last text. https://ai.google.dev/gemini-api/docs/thought-signatures"""
    if not says.signature:
        return parts
    place = next((at for at, part in enumerate(parts) if "functionCall" in part), len(parts) - 1)
    signature = base64.b64encode(says.signature.encode()).decode()
    return [{**part, "thoughtSignature": signature} if at == place else part for at, part in enumerate(parts)]


def _response(says: Says, parts: Sequence[Mapping[str, Any]], *, last: bool) -> dict[str, Any]:
    answer: dict[str, Any] = {"responseId": "w3wLaOLrKIKZm9IPtPXX8Aw", "modelVersion": "gemini-2.5-flash"}
    answer["usageMetadata"] = _usage(says.counts)
    if says.finish == "content_filter":
        answer["promptFeedback"] = {"blockReason": "PROHIBITED_CONTENT"}
    else:
        candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
        if last:
            candidate["finishReason"] = _FINISH_REASONS[says.finish]
        answer["candidates"] = [candidate]
    types.GenerateContentResponse.model_validate_json(json.dumps(answer))
    return answer


def _usage(counts: Counts) -> dict[str, Any]:
    return {
        "promptTokenCount": counts.prompt,
        "cachedContentTokenCount": counts.cached,
        "candidatesTokenCount": counts.completion - counts.reasoning,
        "thoughtsTokenCount": counts.reasoning,
        "totalTokenCount": counts.prompt + counts.completion,
    }


def _event(value: Mapping[str, Any]) -> bytes:
    # Gemini's own line ends.
    return f"data: {json.dumps(value, ensure_ascii=False)}\r\n\r\n".encode()


def _error(status: int, name: str, message: str, *details: Mapping[str, Any]) -> HttpAnswer:
    error: dict[str, Any] = {"code": status, "message": message, "status": name}
    if details:
        error["details"] = details
    return HttpAnswer(status, json.dumps({"error": error}).encode())
