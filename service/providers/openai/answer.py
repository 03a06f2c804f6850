"""Answers of OpenAI-compatible providers, whole and in pieces, as our messages, whatever else stands in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, TypeVar

from gateway.v1.chat_response_pb2 import AssistantMessage, ChatCompletion, ChatCompletionChunk, Delta
from gateway.v1.content_pb2 import ToolCallType

from service import codec
from service.codec import AnswerError
from service.errors import FailureKind, ProviderFailure
from service.providers.openai.errors import failure, find_error

Answer = TypeVar("Answer", ChatCompletion, ChatCompletionChunk)

_OWN_FIELDS = ("provider", "meta", "debug")
"""Fields of an answer that are the gateway's to set; other gateways have some of that name."""
_OWN_USAGE = ("cost", "server_tool_use")
_LARGEST_TIME = 2**32 - 1


def decode(body: bytes) -> ChatCompletion:
    """Return the answer that a 200 body means.

    Raises:
        ProviderFailure: the body is malformed, empty, or an error in disguise.
    """
    if not body.strip():
        raise ProviderFailure(FailureKind.EMPTY, "the provider's answer is empty")
    answer = read(ChatCompletion, body)
    choices = answer.choices
    if not choices:
        raise ProviderFailure(FailureKind.EMPTY, "the provider's answer has no choices")
    for choice in choices:
        raise_error(choice.extra, choice.finish_reason)
        if not choice.HasField("message"):
            raise ProviderFailure(FailureKind.MALFORMED, "a choice of the provider's answer has no message")
        adopt_reasoning(choice.message)
        choice.message.role = choice.message.role or "assistant"
        for place, call in enumerate(choice.message.tool_calls):
            call.id = call.id or made_call_id(answer.native_response_id, choice.index, place)
            call.type = call.type or ToolCallType.TOOL_CALL_TYPE_FUNCTION
    return answer


def read(kind: type[Answer], body: bytes) -> Answer:
    """Return a body as a message, its `id` as `native_response_id`.

    Raises:
        ProviderFailure: it is malformed, or an error in disguise.
    """
    try:
        answer = codec.decode(kind, body)
    except AnswerError:
        answer = _read_mended(kind, body)
    if answer.extra:
        raise_error(answer.extra, "")
    if answer.object == "error":
        raise failure(find_error(codec.parse(body)) or {}, None)
    if answer.id:
        answer.native_response_id = answer.id
        answer.id = ""
    for name in _OWN_FIELDS:
        answer.ClearField(name)  # type: ignore[arg-type]  # the stubs list literals, the table holds strings
    if answer.HasField("usage"):
        usage = answer.usage
        for name in _OWN_USAGE:
            usage.ClearField(name)  # type: ignore[arg-type]
    return answer


def raise_error(extra: Mapping[str, str], finish_reason: str) -> None:
    """Raise the error that stands among the unknown fields of an answer, if any.

    Raises:
        ProviderFailure: there is one.
    """
    text = extra.get("error")
    if text is not None and text != "null" and (error := find_error({"error": codec.parse(text.encode())})):
        raise failure(error, None)
    if finish_reason == "error":
        raise ProviderFailure(FailureKind.SERVER, "the provider broke off with an error")


def adopt_reasoning(message: AssistantMessage | Delta) -> None:
    """Move `reasoning`, as OpenRouter and vLLM call it, to `reasoning_content`."""
    text = message.extra.get("reasoning")
    if text is None or message.HasField("reasoning_content"):
        return
    reasoning = codec.parse(text.encode())
    if isinstance(reasoning, str):
        message.reasoning_content = reasoning
        del message.extra["reasoning"]


def made_call_id(response_id: str, choice: int, place: int) -> str:
    """Return an id for a tool call that came without: unique in a conversation, within OpenAI's 40 characters."""
    seed = f"{response_id}:{choice}:{place}".encode()
    return f"call_{hashlib.blake2s(seed, digest_size=12).hexdigest()}"


def _read_mended(kind: type[Answer], body: bytes) -> Answer:
    """Read a body of which some field has another type than OpenAI's, as known of some providers."""
    try:
        value = codec.parse(body)
        error = None if isinstance(value, dict) and "choices" in value else find_error(value)
        if error is None:
            return codec.decode(kind, codec.dumps(_mended(value)))
    except AnswerError as mistake:
        raise ProviderFailure(FailureKind.MALFORMED, f"the provider's answer is malformed: {mistake}") from mistake
    raise failure(error, None)


def _mended(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    usage = value.get("usage")
    if isinstance(usage, dict):
        # OpenRouter: a number. https://openrouter.ai/docs/use-cases/usage-accounting
        value["usage"] = {name: each for name, each in usage.items() if name not in _OWN_USAGE}
    mended = {name: each for name, each in value.items() if name not in _OWN_FIELDS}
    created = mended.get("created")
    if isinstance(created, (int, float)) and not 0 <= created <= _LARGEST_TIME:
        del mended["created"]
    if isinstance(mended.get("choices"), list):
        mended["choices"] = [_mended_choice(choice) for choice in mended["choices"]]
    return mended


def _mended_choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    place = "delta" if isinstance(choice.get("delta"), dict) else "message"
    message = choice.get(place)
    if not isinstance(message, dict) or not isinstance(message.get("content"), list):
        return choice
    # Mistral's reasoning models: a list of parts. https://docs.mistral.ai/capabilities/reasoning
    text, thoughts = "", ""
    for part in message["content"]:
        match part:
            case {"type": "text", "text": str(piece)}:
                text += piece
            case {"type": "thinking", "thinking": list(pieces)}:
                thoughts += "".join(p["text"] for p in pieces if isinstance(p, dict) and isinstance(p.get("text"), str))
    mended = {**message, "content": text}
    if thoughts:
        mended["reasoning_content"] = thoughts
    return {**choice, place: mended}
