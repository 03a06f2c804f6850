"""A whole answer of the Messages API as a chat completion."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.v1.chat_response_pb2 import ChatCompletion, Choice, Usage
from gateway.v1.content_pb2 import TOOL_CALL_TYPE_FUNCTION

from service.codec import AnswerError, dumps, parse
from service.errors import FailureKind, ProviderFailure
from service.providers.anthropic.errors import failure

FINISH_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "pause_turn": "stop",
        "tool_use": "tool_calls",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "refusal": "content_filter",
    }
)
"""OpenAI's finish reason of each stop reason. A newer one passes through.

https://platform.claude.com/docs/en/build-with-claude/handling-stop-reasons
"""
_TIERS: Mapping[str, str] = MappingProxyType({"standard": "default"})
"""Service tiers in OpenAI's words, where they differ."""


def decode(body: bytes) -> ChatCompletion:
    """Return the answer that a 200 body means.

    Raises:
        ProviderFailure: the body is malformed, empty, or an error in disguise.
    """
    if not body.strip():
        raise ProviderFailure(FailureKind.EMPTY, "the provider answered 200 with an empty body", status=200)
    try:
        answer = parse(body)
        if answer["type"] == "error":
            raise failure(answer["error"], None, None)
        return _completion(answer)
    except (AnswerError, AttributeError, KeyError, TypeError, ValueError) as error:
        message = "the provider answered 200 with something that is not a message"
        raise ProviderFailure(FailureKind.MALFORMED, message, status=200) from error


def usage_of(counts: Mapping[str, Any]) -> Usage:
    """Return the usage that Anthropic's counts mean. What was read from and written to the cache is input too."""
    cached = counts.get("cache_read_input_tokens")
    written = counts.get("cache_creation_input_tokens")
    usage = Usage(
        prompt_tokens=(counts.get("input_tokens") or 0) + (cached or 0) + (written or 0),
        completion_tokens=counts.get("output_tokens") or 0,
    )
    usage.total_tokens = usage.prompt_tokens + usage.completion_tokens
    if cached is not None:
        usage.prompt_tokens_details.cached_tokens = cached
    if written is not None:
        usage.prompt_tokens_details.cache_write_tokens = written
    thinking = (counts.get("output_tokens_details") or {}).get("thinking_tokens")
    if thinking is not None:
        usage.completion_tokens_details.reasoning_tokens = thinking
    return usage


def service_tier_of(counts: Mapping[str, Any]) -> str | None:
    """Return the service tier that served, in OpenAI's words."""
    tier = counts.get("service_tier")
    return None if tier is None else _TIERS.get(tier, tier)


def finish_of(source: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the finish reason and the choice's extra fields, from a message or the delta of a stream.

    Raises:
        KeyError, TypeError: it does not say why it stopped.
    """
    reason = source["stop_reason"]
    if not isinstance(reason, str):
        raise TypeError("a message that has ended has a stop_reason")
    extra: dict[str, str] = {}
    if source.get("stop_details") is not None:
        extra["stop_details"] = dumps(source["stop_details"]).decode()
    if reason in ("refusal", "pause_turn", "model_context_window_exceeded"):
        extra["native_finish_reason"] = dumps(reason).decode()
    return FINISH_REASONS.get(reason, reason), extra


def _completion(answer: Mapping[str, Any]) -> ChatCompletion:
    counts = answer["usage"]
    finish_reason, extra = finish_of(answer)
    completion = ChatCompletion(
        native_response_id=answer["id"],
        choices=[Choice(index=0, finish_reason=finish_reason, extra=extra)],
        usage=usage_of(counts),
        service_tier=service_tier_of(counts),
    )
    _fill(completion.choices[0], answer["content"])
    return completion


def _fill(choice: Choice, blocks: Any) -> None:
    if not isinstance(blocks, list):
        raise TypeError("a message's content is a list of blocks")
    message = choice.message
    message.role = "assistant"
    texts: list[str] = []
    reasoning: list[str] = []
    extra: dict[str, list[Any]] = {}
    for block in blocks:
        match block["type"]:
            case "text":
                texts.append(block["text"])
                if block.get("citations"):
                    extra.setdefault("citations", []).extend(block["citations"])
            case "thinking" | "redacted_thinking":
                reasoning.append(block.get("thinking", ""))
                extra.setdefault("thinking_blocks", []).append(block)
            case "tool_use":
                call = message.tool_calls.add(id=block["id"], type=TOOL_CALL_TYPE_FUNCTION)
                call.function.name = block["name"]
                call.function.arguments = dumps(block["input"]).decode()
            case _:
                extra.setdefault("content_blocks", []).append(block)
    if texts or not message.tool_calls:
        message.content = "".join(texts)
    thoughts = "".join(reasoning)
    if thoughts:
        message.reasoning_content = thoughts
    for name, values in extra.items():
        message.extra[name] = dumps(values).decode()
