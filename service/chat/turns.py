"""The tool loop's decisions: which calls are the gateway's, what they answer, and when to stop asking.

Pure but for the clock, which is given. `chat.job` does the asking, whole or streamed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import (
    AssistantMessage,
    ChatCompletionChunk,
    Choice,
    Delta,
    Logprobs,
    ToolCallDelta,
    Usage,
)
from gateway.v1.content_pb2 import ROLE_TOOL, AudioOutput, ChatMessage, ImageOutput, ToolCall
from gateway.v1.tools_pb2 import TOOL_CHOICE_MODE_AUTO, TOOL_CHOICE_MODE_NONE

from service import codec
from service.chat.accumulate import MessageAccumulator, as_history, joined
from service.tools import ServerTool, Settings

MAX_FOLLOW_UPS = 8
"""Follow-up turns of one request; nine upstream calls in all."""

BETWEEN_TURNS = "\n\n"
"""What stands between the texts of two turns."""

_OF_ALL_TURNS = ("citations", "content_blocks")
"""Unknown fields of messages, lists of what belongs to a text: like the texts, those of all turns are told."""

_RUN_AFTER = ("tool_calls", "stop", "function_call", "")


@dataclass(frozen=True, slots=True)
class Split:
    """A message's tool calls, the gateway's and the client's."""

    server: Sequence[ToolCall]
    client: Sequence[ToolCall]


class ToolLoop:
    """The state of one request's tool loop: turns taken, calls executed.

    Without server tools it never asks for another turn.
    """

    def __init__(
        self,
        tools: Mapping[str, tuple[ServerTool, Settings]],
        max_tool_calls: int | None,
        now: Callable[[], datetime],
    ) -> None:
        self._tools = tools
        self._max_tool_calls = max_tool_calls
        self._now = now
        self._follow_ups = 0
        self._executed: dict[str, int] = {}
        self._withheld = False

    @property
    def active(self) -> bool:
        """Whether there are server tools at all."""
        return bool(self._tools)

    def owns(self, name: str) -> bool:
        """Say whether a function is the gateway's own."""
        return name in self._tools

    def split(self, message: AssistantMessage) -> Split:
        """Split a message's calls."""
        server = [call for call in message.tool_calls if call.function.name in self._tools]
        client = [call for call in message.tool_calls if call.function.name not in self._tools]
        return Split(server, client)

    def goes_on(self, split: Split, finish_reason: str) -> bool:
        """Say whether the turn's calls are run and the model asked again.

        They are not when the client has calls to answer too, when the turn was cut short, or when the model calls tools
        after they were withheld.
        """
        return bool(split.server) and not split.client and not self._withheld and finish_reason in _RUN_AFTER

    def follow_up(
        self, request: CreateChatCompletionRequest, message: AssistantMessage, calls: Sequence[ToolCall]
    ) -> list[tuple[str, str]]:
        """Run a turn's calls and extend the request with them, in call order, for the next turn.

        Returns what was run, as (arguments, result).
        """
        request.messages.append(as_history(message))
        ran: list[tuple[str, str]] = []
        for call in calls:
            result = self._run(call)
            ran.append((call.function.arguments, result))
            request.messages.append(ChatMessage(role=ROLE_TOOL, tool_call_id=call.id, text=result))
        self._follow_ups += 1
        spent = self._max_tool_calls is not None and self._count() >= self._max_tool_calls
        self._withheld = spent or self._follow_ups >= MAX_FOLLOW_UPS
        if self._withheld:
            request.tool_choice_mode = TOOL_CHOICE_MODE_NONE
        elif request.tool_choice_object.HasField("allowed_tools"):
            # To have to call one is for the first turn; which ones there are is for all.
            request.tool_choice_object.allowed_tools.allowed_tools.mode = "auto"
        else:
            request.tool_choice_mode = TOOL_CHOICE_MODE_AUTO
        return ran

    def report(self, usage: Usage) -> None:
        """Put the counts of executed calls into usage."""
        for field, count in self._executed.items():
            setattr(usage.server_tool_use, field, count)

    def final_reason(self, split: Split, finish_reason: str) -> str:
        """Return the reason that the client reads: calls that it never sees are no reason to end with `tool_calls`."""
        return "stop" if finish_reason == "tool_calls" and split.server and not split.client else finish_reason

    def _count(self) -> int:
        return sum(self._executed.values())

    def _run(self, call: ToolCall) -> str:
        tool, settings = self._tools[call.function.name]
        if self._max_tool_calls is not None and self._count() >= self._max_tool_calls:
            return orjson.dumps({"error": "The limit of tool calls for this request is reached."}).decode()
        self._executed[tool.usage_field] = self._executed.get(tool.usage_field, 0) + 1
        return tool.execute(call.function.arguments, settings, self._now())


def join_turns(last: Choice, earlier: Sequence[Choice]) -> None:
    """Let the last turn's choice say what all turns said, as their streams would have."""
    if not earlier:
        return
    said, logprobs = AssistantMessage(), Logprobs()
    for turn in (*earlier, last):
        said.images.extend(turn.message.images)
        said.audios.extend(turn.message.audios)
        said.annotations.extend(turn.message.annotations)
        logprobs.MergeFrom(turn.logprobs)
    number_anew(said.images)
    number_anew(said.audios)
    last.message.extra.update(joined_lists([turn.message for turn in (*earlier, last)]))
    for name, separator in (("content", BETWEEN_TURNS), ("reasoning_content", BETWEEN_TURNS), ("refusal", "")):
        texts = [text for turn in (*earlier, last) if (text := getattr(turn.message, name))]
        if texts:
            setattr(said, name, separator.join(texts))
    for turn in (*earlier, last):
        if turn.message.audio:
            said.audio = turn.message.audio
    for field, _ in said.ListFields():
        last.message.ClearField(field.name)  # type: ignore[arg-type]  # the stubs list literals, the descriptor strings
    last.message.MergeFrom(said)
    if logprobs.ListFields():
        last.logprobs.CopyFrom(logprobs)


def number_anew(items: Iterable[ImageOutput | AudioOutput | ToolCall]) -> None:
    """Number what was taken out of a longer list, or put together of several, where it was numbered."""
    for place, item in enumerate(items):
        if item.HasField("index"):
            item.index = place


def joined_lists(messages: Sequence[AssistantMessage]) -> dict[str, str]:
    """Return the lists in messages' unknown fields that all turns add to, numbered on where turns number their own."""
    lists: dict[str, str] = {}
    for name in _OF_ALL_TURNS:
        count = 0
        for text in [message.extra[name] for message in messages if name in message.extra]:
            items = codec.parse(text.encode()) if len(messages) > 1 else None
            if isinstance(items, list):
                if count and _are_numbered(items):
                    numbered = [{**item, "index": place} for place, item in enumerate(items, count)]
                    text = codec.dumps(numbered).decode()
                count += len(items)
            lists[name] = joined(lists.get(name), text)
    return lists


def _are_numbered(items: Sequence[Any]) -> bool:
    """Say whether items are numbered by their places, as streams do it. Other numbers are the vendor's."""
    return all(isinstance(item, dict) and item.get("index") == place for place, item in enumerate(items))


class TurnFilter:
    """Lets the client's part of streamed turns through, and keeps the gateway's own.

    Server-tool calls are withheld and the client's calls renumbered; finish reasons and unknown fields, which only the
    last turn's answer keeps, are held until it is known whether another turn follows. Text after an earlier turn's text
    begins with a blank line, as in a whole answer.
    """

    def __init__(self, loop: ToolLoop) -> None:
        self._loop = loop
        self._said = {"content": False, "reasoning_content": False}
        self._role_sent = False
        self._images = self._audios = 0
        self._earlier: list[AssistantMessage] = []
        self._begin_turn()

    def next_turn(self, message: AssistantMessage) -> None:
        """Forget the last turn's calls, but not what the client was told, or is to be told at the end."""
        self._earlier.append(message)
        self._begin_turn()

    def _begin_turn(self) -> None:
        self._images_before, self._audios_before = self._images, self._audios
        self.finish_reason = ""
        self.choice_extra: dict[str, str] = {}
        self._accumulator = MessageAccumulator()
        self._numbers: dict[int, int | None] = {}
        self._unnamed: dict[int, ToolCallDelta] = {}
        self._to_separate = {name for name, said in self._said.items() if said}

    def message(self) -> AssistantMessage:
        """Return the turn's whole message, server-tool calls included."""
        return self._accumulator.message()

    def extra(self, message: AssistantMessage) -> dict[str, str]:
        """Return what the last turn's end says in unknown fields: the message's, and lists of all turns."""
        return {**message.extra, **joined_lists([*self._earlier, message])}

    def through(self, chunk: ChatCompletionChunk) -> bool:
        """Filter a chunk in place; say whether anything for the client is left in it."""
        for choice in chunk.choices:
            self._accumulator.add(choice.delta)
            if choice.finish_reason:
                self.finish_reason = choice.finish_reason
                choice.ClearField("finish_reason")
            if choice.extra:
                self.choice_extra.update(choice.extra)
                choice.ClearField("extra")
            self._filter(choice.delta)
        return any(choice.delta.ListFields() or choice.HasField("logprobs") for choice in chunk.choices)

    def _filter(self, delta: Delta) -> None:
        if delta.extra:
            delta.ClearField("extra")
        if delta.tool_calls:
            kept = [call for call in map(self._renumber, delta.tool_calls) if call is not None]
            del delta.tool_calls[:]
            delta.tool_calls.extend(kept)
        # Images and audios are numbered over all turns, as in a whole answer.
        for image in delta.images:
            image.index = image.index + self._images_before if image.HasField("index") else self._images
            self._images = max(self._images, image.index + 1)
        for audio in delta.audios:
            audio.index = audio.index + self._audios_before if audio.HasField("index") else self._audios
            self._audios = max(self._audios, audio.index + 1)
        if delta.content:
            delta.content = self._separated("content", delta.content)
        if delta.reasoning_content:
            delta.reasoning_content = self._separated("reasoning_content", delta.reasoning_content)
        if delta.HasField("role"):
            if self._role_sent:
                # A later turn's opening delta, an empty text beside its role, says nothing new.
                delta.ClearField("role")
                if not delta.content:
                    delta.ClearField("content")
            self._role_sent = True

    def _separated(self, name: str, text: str) -> str:
        self._said[name] = True
        if name not in self._to_separate:
            return text
        self._to_separate.remove(name)
        return BETWEEN_TURNS + text

    def _renumber(self, delta: ToolCallDelta) -> ToolCallDelta | None:
        """Return a call's delta under its number among the client's calls, or None when it is withheld.

        A call whose name has not come yet is held until it has.
        """
        index = delta.index
        whole = ToolCallDelta()
        whole.CopyFrom(delta)
        if index not in self._numbers:
            held = self._unnamed.pop(index, None)
            if held is not None:
                arguments = held.function.arguments + delta.function.arguments
                held.MergeFrom(delta)
                held.function.arguments = arguments
                whole = held
            name = whole.function.name or whole.custom.name
            if not name:
                self._unnamed[index] = whole
                return None
            clients = sum(number is not None for number in self._numbers.values())
            self._numbers[index] = None if self._loop.owns(name) else clients
        number = self._numbers[index]
        if number is None:
            return None
        whole.index = number
        return whole
