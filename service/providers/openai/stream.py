"""One stream of an OpenAI-compatible provider as chunks.

A choice ends with its `finish_reason`; `[DONE]` alone ends nothing, and need not follow. It does say that no other
choice will come: some providers give one answer however many were asked for.
https://platform.openai.com/docs/api-reference/chat-streaming
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.v1.chat_response_pb2 import ChatCompletionChunk, ChunkChoice

from service import codec
from service.codec import AnswerError
from service.errors import FailureKind, ProviderFailure
from service.providers.alike import Alike
from service.providers.openai.answer import adopt_reasoning, made_call_id, raise_error, read
from service.providers.openai.errors import failure, find_error
from service.upstream.sse import Event


@dataclass(slots=True)
class _Call:
    """A tool call that was begun: the provider's id, and the name."""

    id: str
    name: str


@dataclass(slots=True)
class _Choice:
    """What was seen of a choice. `places`: the place in `calls` of the call that an index of the provider's means."""

    finished: bool = False
    calls: list[_Call] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)


class OpenAiStreamDecoder:
    """Decodes one stream. See `service.providers.dialect.StreamDecoder`."""

    __slots__ = ("_alike", "_choices", "_done", "_expected", "_held", "_unfinished")

    def __init__(self, choices: int) -> None:
        self._expected = choices
        self._choices: dict[int, _Choice] = {}
        self._held: ChatCompletionChunk | None = None
        self._unfinished = 0
        self._done = False
        self._alike = Alike("content", _text_of)

    @property
    def finished(self) -> bool:
        """Whether every choice has its `finish_reason`."""
        return self._unfinished == 0 and len(self._choices) >= self._expected

    @property
    def over(self) -> bool:
        """Whether `[DONE]` has come, after all that it has to."""
        return self._done and self.finished

    def decode(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """Return the chunk of an event; none for `[DONE]`, and for what only repeats that a choice has ended.

        Raises:
            ProviderFailure: the event is an error, or malformed.
        """
        data = event.data.strip()
        if data == b"[DONE]":
            self._expected = 1
            self._done = True
            return ()
        if not data:
            return ()
        if event.event == "error":
            raise _event_failure(data)
        if (repeated := self._alike.read(event)) is not None:
            return (repeated,)
        chunk = read(ChatCompletionChunk, data)
        choices = chunk.choices
        ended = [place for place, choice in enumerate(choices) if not self._take(choice, chunk)]
        for place in reversed(ended):
            del choices[place]
        held, self._held = self._held, None
        if held is not None:
            held.MergeFrom(chunk)
            chunk = held
        elif choices or chunk.HasField("usage"):
            self._alike.learn(event, chunk)
        if chunk.choices or chunk.HasField("usage"):
            return (chunk,)
        self._alike.forget()
        if not self.finished:
            # Clients expect a choice in every chunk but that of usage, so what else it says waits for one that has.
            self._held = chunk
            return ()
        return (chunk,) if chunk.extra or chunk.HasField("moderation") else ()

    def again(self, events: Sequence[Event]) -> Sequence[str]:
        """See `service.providers.dialect.StreamDecoder`."""
        return self._alike.again(events)

    def _take(self, choice: ChunkChoice, chunk: ChatCompletionChunk) -> bool:
        """Adapt a choice and note what it says. Return whether it is still wanted: nothing comes after an end."""
        state = self._choices.get(choice.index)
        if state is None:
            state = self._choices[choice.index] = _Choice()
            self._unfinished += 1
        finish_reason, delta = choice.finish_reason, choice.delta
        raise_error(choice.extra, finish_reason)
        if state.finished:
            return False
        if finish_reason:
            state.finished = True
            self._unfinished -= 1
            self._alike.forget()
        else:
            choice.ClearField("finish_reason")
        if delta.extra:
            adopt_reasoning(delta)
        if delta.tool_calls:
            self._number(choice, state, chunk.native_response_id)
        return True

    def _number(self, choice: ChunkChoice, state: _Choice, response_id: str) -> None:
        """Number the tool calls from 0, and give each its id, type and name in its first delta and in no other."""
        touched: set[int] = set()
        for delta in choice.delta.tool_calls:
            place = state.places.get(delta.index)
            name = delta.function.name or delta.custom.name
            if place is None or _begins(delta.id, name, state.calls[place], place in touched):
                place = state.places[delta.index] = len(state.calls)
                state.calls.append(_Call(delta.id, name))
                delta.id = delta.id or made_call_id(response_id, choice.index, place)
                delta.type = delta.type or "function"
            else:
                delta.ClearField("id")
                delta.ClearField("type")
                if name and name == delta.function.name == state.calls[place].name:
                    delta.function.ClearField("name")
            delta.index = place
            touched.add(place)


def _text_of(data: bytes) -> str:
    return read(ChatCompletionChunk, data.strip()).choices[0].delta.content


def _begins(call_id: str, name: str, known: _Call, touched: bool) -> bool:
    """Say whether a delta begins another call at the index of a known one: some providers number none, so all are 0."""
    if not name:
        return False
    return call_id != known.id if call_id else touched


def _event_failure(data: bytes) -> ProviderFailure:
    try:
        error = find_error(codec.parse(data))
    except AnswerError:
        error = None
    if error is None:
        return ProviderFailure(FailureKind.SERVER, "the provider sent an error event")
    return failure(error, None)
