"""The decoder of `streamGenerateContent?alt=sse`: each event is a `GenerateContentResponse` with what is new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.v1.chat_response_pb2 import ChatCompletionChunk, ChunkChoice, Delta, FunctionCallDelta, ToolCallDelta

from service.providers.google.answers import (
    Call,
    blocked_prompt,
    detail_of,
    finish_reason_of,
    logprobs_of,
    read_parts,
    usage_of,
)
from service.providers.google.errors import error_of
from service.providers.google.shapes import Json, get_count, get_objects, get_text, json_object
from service.providers.google.signatures import put_signature
from service.upstream.sse import Event


@dataclass(slots=True)
class _Candidate:
    """How far a candidate has come: what it has so far, so that what is new gets the next index."""

    calls: int = 0
    images: int = 0
    audios: int = 0
    others: int = 0
    finished: bool = False


class GoogleStreamDecoder:
    """Turns the events of one stream into chunks. Its terminal event is the last candidate's `finishReason`."""

    def __init__(self, choices: int) -> None:
        self._expected = choices
        self._candidates: dict[int, _Candidate] = {}

    @property
    def over(self) -> bool:
        """Never: only the end of the body says that nothing more comes."""
        return False

    @property
    def finished(self) -> bool:
        """Whether every candidate has ended, or the prompt was blocked."""
        candidates = self._candidates
        return len(candidates) >= self._expected and all(candidate.finished for candidate in candidates.values())

    def decode(self, event: Event) -> Sequence[ChatCompletionChunk]:
        """Return the chunk that an event means; none if it says nothing.

        Raises:
            ProviderFailure: the event is an error or malformed, or the model ended without a usable answer.
        """
        if event.event not in ("message", "error"):  # Gemini's events have no names; a proxy's pings have
            return ()
        answer = json_object(event.data)
        if answer.get("error") is not None:
            raise error_of(answer["error"], None, {})
        chunk = ChatCompletionChunk()
        if response_id := get_text(answer, "responseId"):
            chunk.native_response_id = response_id
        if version := get_text(answer, "modelVersion"):
            chunk.system_fingerprint = version
        for candidate in get_objects(answer, "candidates"):
            self._decode_candidate(candidate, response_id, chunk.choices.add())
        if (blocked := blocked_prompt(answer)) is not None:
            self._candidates[0] = _Candidate(finished=True)
            self._expected = 1
            chunk.choices.add(delta=Delta(role="assistant"), finish_reason="content_filter", extra=blocked)
        # every event has the counts so far; only the last are worth reading
        if (not chunk.choices or self.finished) and (usage := usage_of(answer)) is not None:
            chunk.usage.CopyFrom(usage)
        return (chunk,) if chunk.choices or chunk.HasField("usage") else ()

    def again(self, events: Sequence[Event]) -> Sequence[str]:
        """See `service.providers.dialect.StreamDecoder`: no event is known before it is decoded."""
        return ()

    def _decode_candidate(self, candidate: Json, response_id: str, choice: ChunkChoice) -> None:
        index = choice.index = get_count(candidate, "index")
        so_far = self._candidates.get(index)
        if so_far is None:
            so_far = self._candidates[index] = _Candidate()
            choice.delta.role = "assistant"
        pieces = read_parts(candidate, response_id, so_far.calls)
        if text := "".join(pieces.text):
            choice.delta.content = text
        if pieces.reasoning:
            choice.delta.reasoning_content = "".join(pieces.reasoning)
        for call in pieces.calls:
            choice.delta.tool_calls.append(_tool_call(call, so_far.calls))
            so_far.calls += 1
        for image in pieces.images:
            choice.delta.images.add(index=so_far.images).MergeFrom(image)
            so_far.images += 1
        for audio in pieces.audios:
            choice.delta.audios.add(index=so_far.audios).MergeFrom(audio)
            so_far.audios += 1
        if pieces.signature or pieces.other:
            pieces.other = [{"index": place, **part} for place, part in enumerate(pieces.other, so_far.others)]
            choice.delta.extra.update(pieces.extra())
            so_far.others += len(pieces.other)
        if (logprobs := logprobs_of(candidate)) is not None:
            choice.logprobs.CopyFrom(logprobs)
        finish = finish_reason_of(candidate, called=so_far.calls > 0)
        if detail := detail_of(candidate, finish):
            choice.extra.update(detail)
        if finish is not None and not so_far.finished:  # older models repeat it
            choice.finish_reason = finish
            so_far.finished = True


def _tool_call(call: Call, index: int) -> ToolCallDelta:
    function = FunctionCallDelta(name=call.name, arguments=call.arguments)
    delta = ToolCallDelta(index=index, id=call.id, type="function", function=function)
    if call.signature:
        put_signature(delta.extra, call.signature)
    return delta
