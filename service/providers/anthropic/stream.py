"""A stream of the Messages API as chunks.

https://platform.claude.com/docs/en/build-with-claude/streaming
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.v1.chat_response_pb2 import ChatCompletionChunk, Delta, FunctionCallDelta, ToolCallDelta

from service.codec import AnswerError, dumps, parse
from service.errors import FailureKind, ProviderFailure
from service.providers.alike import Alike
from service.providers.anthropic.answer import finish_of, service_tier_of, usage_of
from service.providers.anthropic.errors import failure
from service.upstream.sse import Event


class AnthropicStreamDecoder:
    """Turns one stream's events into chunks. The end and the usage come when the message has stopped."""

    __slots__ = ("_alike", "_blocks", "_calls", "_counts", "_end", "_extras", "_id", "_parts", "finished")

    def __init__(self) -> None:
        self.finished = False
        self._alike = Alike("text", _text_of)
        self._id = ""
        self._counts: dict[str, Any] = {}
        self._end: dict[str, Any] = {}
        self._calls = 0
        self._extras: dict[str, int] = {}
        self._blocks: dict[int, dict[str, Any]] = {}
        self._parts: dict[int, list[str]] = {}

    @property
    def over(self) -> bool:
        """Whether the message has stopped."""
        return self.finished

    def decode(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """Return the chunks that an event means.

        Raises:
            ProviderFailure: the event is an error, or malformed.
        """
        if self.finished or event.event == "ping":
            return ()
        if (repeated := self._alike.read(event)) is not None:
            return (repeated,)
        try:
            chunks = self._decode(parse(event.data))
        except (AnswerError, AttributeError, KeyError, TypeError, ValueError) as error:
            message = "the provider sent an event that is not one of a message"
            raise ProviderFailure(FailureKind.MALFORMED, message) from error
        if len(chunks) == 1:
            self._alike.learn(event, chunks[0])
        return chunks

    def again(self, events: Sequence[Event]) -> Sequence[str]:
        """See `service.providers.dialect.StreamDecoder`."""
        return () if self.finished else self._alike.again(events)

    def _decode(self, value: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        match value["type"]:
            case "content_block_delta":
                return self._delta(value["index"], value["delta"])
            case "content_block_start":
                return self._start(value["index"], value["content_block"])
            case "content_block_stop":
                return self._stop(value["index"])
            case "message_start":
                message = value["message"]
                self._alike.forget()
                self._id = message["id"]
                self._count(message["usage"])
                return self._chunk(Delta(role="assistant"))
            case "message_delta":
                self._end |= {name: given for name, given in value["delta"].items() if given is not None}
                self._count(value.get("usage") or {})
                return ()
            case "message_stop":
                return self._finish()
            case "error":
                raise failure(value["error"], None, None)
            case _:
                # https://platform.claude.com/docs/en/api/versioning: new event types are to be expected
                return ()

    def _start(self, index: int, block: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        self._blocks[index] = block
        self._parts[index] = []
        match block["type"]:
            case "text":
                return self._chunk(Delta(content=block["text"])) if block["text"] else ()
            case "thinking":
                if not block["thinking"]:
                    return ()
                self._parts[index].append(block["thinking"])
                return self._chunk(Delta(reasoning_content=block["thinking"]))
            case "tool_use":
                call = self._calls
                self._calls += 1
                block["call"] = call
                function = FunctionCallDelta(name=block["name"], arguments="")
                return self._call(ToolCallDelta(index=call, id=block["id"], type="function", function=function))
            case _:
                return ()

    def _delta(self, index: int, delta: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        match delta["type"]:
            case "text_delta":
                return self._chunk(Delta(content=delta["text"]))
            case "thinking_delta":
                self._parts[index].append(delta["thinking"])
                return self._chunk(Delta(reasoning_content=delta["thinking"]))
            case "input_json_delta":
                if not delta["partial_json"]:
                    return ()
                self._parts[index].append(delta["partial_json"])
                block = self._blocks[index]
                if block["type"] != "tool_use":
                    return ()
                function = FunctionCallDelta(arguments=delta["partial_json"])
                return self._call(ToolCallDelta(index=block["call"], function=function))
            case "signature_delta":
                block = self._blocks[index]
                block["signature"] = (block.get("signature") or "") + delta["signature"]
                return ()
            case "citations_delta":
                return self._extra("citations", delta["citation"])
            case _:
                return ()

    def _stop(self, index: int) -> Sequence[ChatCompletionChunk]:
        block, parts = self._blocks.pop(index), self._parts.pop(index)
        match block["type"]:
            case "text":
                return ()
            case "thinking":
                block["thinking"] = "".join(parts)
                return self._extra("thinking_blocks", block)
            case "redacted_thinking":
                return self._extra("thinking_blocks", block)
            case "tool_use":
                if parts:
                    return ()
                function = FunctionCallDelta(arguments=dumps(block["input"]).decode())
                return self._call(ToolCallDelta(index=block["call"], function=function))
            case _:
                if parts:
                    block["input"] = _asked("".join(parts))
                return self._extra("content_blocks", block)

    def _finish(self) -> Sequence[ChatCompletionChunk]:
        finish_reason, extra = finish_of(self._end)
        self.finished = True
        end = ChatCompletionChunk(native_response_id=self._id)
        end.choices.add(index=0, delta=Delta(), finish_reason=finish_reason, extra=extra)
        tier = service_tier_of(self._counts)
        if tier is not None:
            end.service_tier = tier
        return end, ChatCompletionChunk(native_response_id=self._id, usage=usage_of(self._counts))

    def _count(self, counts: dict[str, Any]) -> None:
        """Take the newer counts: those of a delta are cumulative."""
        self._counts |= {name: count for name, count in counts.items() if count is not None}

    def _extra(self, name: str, item: dict[str, Any]) -> Sequence[ChatCompletionChunk]:
        """Return the next item of a list in `extra`. OpenAI's clients put lists together by `index`."""
        index = self._extras.get(name, 0)
        self._extras[name] = index + 1
        return self._chunk(Delta(extra={name: dumps([{"index": index, **item}]).decode()}))

    def _call(self, call: ToolCallDelta) -> Sequence[ChatCompletionChunk]:
        return self._chunk(Delta(tool_calls=[call]))

    def _chunk(self, delta: Delta) -> Sequence[ChatCompletionChunk]:
        chunk = ChatCompletionChunk(native_response_id=self._id)
        chunk.choices.add(index=0, delta=delta)
        return (chunk,)


def _asked(text: str) -> Any:
    """Return what a tool of Anthropic's is asked; where the limit of tokens cut it short, an object with the text."""
    try:
        return parse(text.encode())
    except AnswerError:
        return {"arguments": text}


def _text_of(data: bytes) -> str | None:
    """Return the text of a delta that is nothing but text."""
    value = parse(data)
    delta = value.get("delta")
    if value["type"] != "content_block_delta" or delta["type"] != "text_delta":
        return None
    text: str = delta["text"]
    return text
