"""Whole messages from streamed deltas and back, and usage summed over turns: pure folds over messages."""

from __future__ import annotations

from gateway.v1.chat_response_pb2 import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    CompletionTokensDetails,
    Delta,
    PromptTokensDetails,
    ToolCallDelta,
    Usage,
)
from gateway.v1.content_pb2 import ROLE_ASSISTANT, TOOL_CALL_TYPE_CUSTOM, TOOL_CALL_TYPE_FUNCTION, ChatMessage, ToolCall

from service import codec
from service.errors import FailureKind, ProviderFailure

_MOST_TOKENS = 2**31 - 1
"""Counts are int32; a provider that says more than that in sum says nothing that is true."""


class MessageAccumulator:
    """Folds one choice's deltas into the message that they spell, in linear time."""

    def __init__(self) -> None:
        self._message = AssistantMessage(role="assistant")
        self._content: list[str] = []
        self._refusal: list[str] = []
        self._reasoning: list[str] = []
        self._arguments: dict[int, list[str]] = {}
        self._calls: dict[int, ToolCall] = {}

    def add(self, delta: Delta) -> None:
        """Append what is new."""
        if delta.content:
            self._content.append(delta.content)
        if delta.refusal:
            self._refusal.append(delta.refusal)
        if delta.reasoning_content:
            self._reasoning.append(delta.reasoning_content)
        for call in delta.tool_calls:
            self._add_call(call)
        if delta.audio and (reference := _audio_id(delta.audio)):
            self._message.audio = codec.dumps({"id": reference}).decode()
        self._message.images.extend(delta.images)
        self._message.audios.extend(delta.audios)
        self._message.annotations.extend(delta.annotations)
        for name, text in delta.extra.items():
            self._message.extra[name] = joined(self._message.extra.get(name), text)

    def message(self) -> AssistantMessage:
        """Return the message so far."""
        message = AssistantMessage()
        message.CopyFrom(self._message)
        if self._content:
            message.content = "".join(self._content)
        if self._refusal:
            message.refusal = "".join(self._refusal)
        if self._reasoning:
            message.reasoning_content = "".join(self._reasoning)
        for index in sorted(self._calls):
            call = message.tool_calls.add()
            call.CopyFrom(self._calls[index])
            text = "".join(self._arguments[index])
            if call.type == TOOL_CALL_TYPE_CUSTOM:
                call.custom.input = text
            else:
                call.function.arguments = text
        return message

    def _add_call(self, delta: ToolCallDelta) -> None:
        call = self._calls.get(delta.index)
        if call is None:
            call = self._calls[delta.index] = ToolCall(type=TOOL_CALL_TYPE_FUNCTION)
            self._arguments[delta.index] = []
        if delta.id:
            call.id = delta.id
        if delta.type == "custom":
            call.type = TOOL_CALL_TYPE_CUSTOM
        if delta.function.name:
            call.function.name = delta.function.name
        if delta.custom.name:
            call.custom.name = delta.custom.name
        self._arguments[delta.index].append(delta.function.arguments or delta.custom.input)
        for name, text in delta.extra.items():
            call.extra[name] = text
        for name, text in delta.function.extra.items():
            call.function.extra[name] = text


def as_history(message: AssistantMessage) -> ChatMessage:
    """Return a model's message as the next turn sends it back."""
    history = ChatMessage(
        role=ROLE_ASSISTANT,
        tool_calls=message.tool_calls,
        images=message.images,
        audios=message.audios,
        extra=message.extra,
    )
    if message.content:
        history.text = message.content
    elif message.tool_calls:
        history.null_content = 0  # type: ignore[assignment]  # the stubs want the enum, protobuf takes its number
    if message.HasField("refusal"):
        history.refusal = message.refusal
    if message.HasField("reasoning_content"):
        history.reasoning_content = message.reasoning_content
    if message.audio and (reference := _audio_id(message.audio)):
        history.audio.id = reference
    for call in history.tool_calls:
        call.ClearField("index")
    return history


def end_choices(completion: ChatCompletion) -> None:
    """Give each choice of a whole answer a finish reason: it has ended, though some providers do not say why.

    Raises:
        ProviderFailure: a choice has neither that nor content.
    """
    for choice in completion.choices:
        if choice.finish_reason:
            continue
        message = choice.message
        if message.tool_calls:
            choice.finish_reason = "tool_calls"
        elif message.HasField("function_call"):
            choice.finish_reason = "function_call"
        elif has_content(_as_delta(message)):
            choice.finish_reason = "stop"
        else:
            raise ProviderFailure(FailureKind.EMPTY, "the provider's answer has neither content nor a finish reason")


def as_chunk(completion: ChatCompletion) -> ChatCompletionChunk:
    """Return a whole answer as the one chunk that says the same, its usage with it."""
    chunk = ChatCompletionChunk(created=completion.created, extra=completion.extra)
    for name in ("native_response_id", "service_tier", "system_fingerprint", "moderation"):
        if completion.HasField(name):
            setattr(chunk, name, getattr(completion, name))
    if completion.HasField("usage"):
        chunk.usage.CopyFrom(completion.usage)
    for choice in completion.choices:
        into = chunk.choices.add(index=choice.index, delta=_as_delta(choice.message), extra=choice.extra)
        if choice.HasField("logprobs"):
            into.logprobs.CopyFrom(choice.logprobs)
        if choice.HasField("finish_reason"):
            into.finish_reason = choice.finish_reason
    return chunk


def _as_delta(message: AssistantMessage) -> Delta:
    delta = Delta(
        role="assistant",
        images=message.images,
        audios=message.audios,
        annotations=message.annotations,
        extra=message.extra,
    )
    for name in ("content", "refusal", "reasoning_content", "audio"):
        if message.HasField(name):
            setattr(delta, name, getattr(message, name))
    for place, call in enumerate(message.tool_calls):
        into = delta.tool_calls.add(index=place, id=call.id, extra=call.extra)
        if call.type == TOOL_CALL_TYPE_CUSTOM:
            into.type = "custom"
            into.custom.CopyFrom(call.custom)
        else:
            into.type = "function"
            into.function.name = call.function.name
            into.function.arguments = call.function.arguments
            into.function.extra.update(call.function.extra)
    if message.HasField("function_call"):
        delta.function_call.name = message.function_call.name
        delta.function_call.arguments = message.function_call.arguments
        delta.function_call.extra.update(message.function_call.extra)
    for place, image in enumerate(delta.images):
        image.index = place
    for place, audio in enumerate(delta.audios):
        audio.index = place
    return delta


def has_content(delta: Delta) -> bool:
    """Say whether a delta carries content: anything but a role or an empty text."""
    return bool(
        delta.content
        or delta.reasoning_content
        or delta.tool_calls
        or delta.refusal
        or delta.images
        or delta.audios
        or delta.audio
        or delta.annotations
        or delta.HasField("function_call")
        or delta.extra
    )


def add_usage(total: Usage, part: Usage) -> None:
    """Add one turn's usage to the sum; details are summed too, unknown fields are the last turn's."""
    total.prompt_tokens = min(total.prompt_tokens + part.prompt_tokens, _MOST_TOKENS)
    total.completion_tokens = min(total.completion_tokens + part.completion_tokens, _MOST_TOKENS)
    total.total_tokens = min(total.total_tokens + total_tokens(part), _MOST_TOKENS)
    if part.HasField("prompt_tokens_details"):
        _add_details(total.prompt_tokens_details, part.prompt_tokens_details)
    if part.HasField("completion_tokens_details"):
        _add_details(total.completion_tokens_details, part.completion_tokens_details)
    total.extra.update(part.extra)


def total_tokens(usage: Usage) -> int:
    """Return all tokens of a usage, which some providers leave to add up."""
    return usage.total_tokens or min(usage.prompt_tokens + usage.completion_tokens, _MOST_TOKENS)


def _add_details(
    into: PromptTokensDetails | CompletionTokensDetails, details: PromptTokensDetails | CompletionTokensDetails
) -> None:
    into.SetInParent()
    for field, value in details.ListFields():
        if field.name == "extra":
            into.extra.update(value)
        else:
            setattr(into, field.name, min(getattr(into, field.name) + value, _MOST_TOKENS))


def _audio_id(text: str) -> str | None:
    """Return the id of an audio answer in OpenAI's form, or of a part of it."""
    audio = codec.parse(text.encode())
    reference = audio.get("id") if isinstance(audio, dict) else None
    return reference if isinstance(reference, str) else None


def joined(before: str | None, text: str) -> str:
    """Join two JSON texts under one name: lists are concatenated, of other values the later wins."""
    if before is None or not (before.startswith("[") and text.startswith("[")):
        return text
    head, tail = before[:-1].rstrip(), text[1:].lstrip()
    separator = "" if head == "[" or tail == "]" else ","
    return f"{head}{separator}{tail}"
