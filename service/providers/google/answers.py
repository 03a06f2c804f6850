"""A `GenerateContentResponse` in the gateway's words: parts, finish reasons, log probabilities, usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2s
from types import MappingProxyType
from typing import Any

from gateway.v1.chat_response_pb2 import Logprobs, TokenLogprob, TopLogprob, Usage
from gateway.v1.content_pb2 import AudioOutput, AudioUrl, ImageOutput, ImageUrl

from service.errors import FailureKind, ProviderFailure
from service.providers.google.shapes import Json, get_count, get_number, get_object, get_objects, get_text, json_text
from service.providers.google.signatures import put_signature

# https://ai.google.dev/api/generate-content#FinishReason
_FINISH_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "STOP": "stop",
        "MAX_TOKENS": "length",
        "CONTINUATION": "length",
        **dict.fromkeys(
            (
                "SAFETY",
                "RECITATION",
                "LANGUAGE",
                "BLOCKLIST",
                "PROHIBITED_CONTENT",
                "SPII",
                "IMAGE_SAFETY",
                "IMAGE_PROHIBITED_CONTENT",
                "IMAGE_RECITATION",
                "ESCALATION",
                "PUP_LIMITED_DISABLED",
                "MODEL_ARMOR",
            ),
            "content_filter",
        ),
    }
)
_BROKEN = frozenset(
    {"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "MISSING_THOUGHT_SIGNATURE"}
)
"""Reasons that mean there is no usable answer. They are failures: nothing may take them for a clean end."""

_KEPT = ("safetyRatings", "citationMetadata", "groundingMetadata", "urlContextMetadata")
_MODALITIES = ("TEXT", "IMAGE", "AUDIO", "VIDEO")
_AUDIO_FORMATS: Mapping[str, str] = MappingProxyType(
    {
        "audio/wav": "wav",
        "audio/mp3": "mp3",
        "audio/mpeg": "mp3",
        "audio/flac": "flac",
        "audio/m4a": "m4a",
        "audio/ogg": "ogg",
        "audio/pcm": "pcm16",
        "audio/l16": "pcm16",
    }
)


@dataclass(slots=True)
class Call:
    """A function call of the model."""

    id: str
    name: str
    arguments: str
    signature: str


@dataclass(slots=True)
class Pieces:
    """What the parts of one candidate in one answer or event say. `other` are parts that have no place of their own."""

    text: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    images: list[ImageOutput] = field(default_factory=list)
    audios: list[AudioOutput] = field(default_factory=list)
    signature: str = ""
    other: list[Json] = field(default_factory=list)

    def extra(self) -> dict[str, str]:
        """Return the message's `extra`: the signature of its text, and parts that have no place of their own."""
        extra: dict[str, str] = {}
        if self.signature:
            put_signature(extra, self.signature)
        if self.other:
            extra["google_parts"] = json_text(self.other)
        return extra


def read_parts(candidate: Json, response_id: str, calls_before: int) -> Pieces:
    """Sort out the parts of a candidate. `calls_before`: calls of the same answer in earlier events."""
    pieces = Pieces()
    for part in get_objects(get_object(candidate, "content"), "parts"):
        signature = get_text(part, "thoughtSignature")
        thought = part.get("thought") is True
        if "text" in part:
            (pieces.reasoning if thought else pieces.text).append(get_text(part, "text"))
            pieces.signature = signature or pieces.signature
        elif call := get_object(part, "functionCall"):
            place = calls_before + len(pieces.calls)
            pieces.calls.append(_call(call, signature, response_id, get_count(candidate, "index"), place))
        elif (data := get_object(part, "inlineData")) and not thought and _media(data, signature, pieces):
            continue
        elif part.keys() - {"thoughtSignature", "thought"}:
            pieces.other.append(part)
        else:
            pieces.signature = signature or pieces.signature
    return pieces


def _call(call: Json, signature: str, response_id: str, candidate: int, place: int) -> Call:
    arguments = json_text(get_object(call, "args"))
    name = get_text(call, "name")
    return Call(
        get_text(call, "id") or _made_id(response_id, candidate, place, name, arguments), name, arguments, signature
    )


def _made_id(response_id: str, candidate: int, place: int, name: str, arguments: str) -> str:
    """Return an id for a call that Gemini gave none: the same whenever it is decoded, unique in the conversation."""
    if not response_id:
        response_id = blake2s(f"{name}\0{arguments}".encode(), digest_size=12).hexdigest()
    return f"call_{response_id}_{candidate}_{place}" if candidate else f"call_{response_id}_{place}"


def _media(data: Json, signature: str, pieces: Pieces) -> bool:
    """Add an image or audio to the pieces; False if it is neither."""
    mime_type = get_text(data, "mimeType")
    url = f"data:{mime_type};base64,{get_text(data, 'data')}"
    if mime_type.startswith("image/"):
        image = ImageOutput(type="image_url", image_url=ImageUrl(url=url), mime_type=mime_type)
        if signature:
            put_signature(image.extra, signature)
        pieces.images.append(image)
        return True
    if mime_type.startswith("audio/"):
        audio = AudioOutput(type="audio_url", audio_url=AudioUrl(url=url), mime_type=mime_type)
        if form := _AUDIO_FORMATS.get(mime_type.partition(";")[0].lower()):
            audio.format = form
        pieces.audios.append(audio)
        return True
    return False


def finish_reason_of(candidate: Json, called: bool) -> str | None:
    """Return why a candidate ended, None if it has not. Reasons of the future pass through, in lower case.

    Raises:
        ProviderFailure: it ended without a usable answer.
    """
    reason = get_text(candidate, "finishReason")
    if not reason or reason == "FINISH_REASON_UNSPECIFIED":
        return None
    if reason in _BROKEN:
        message = get_text(candidate, "finishMessage")
        raise ProviderFailure(FailureKind.MALFORMED, message or f"The model ended with {reason}.", code=reason)
    finish = _FINISH_REASONS.get(reason, reason.lower())
    return "tool_calls" if called and finish == "stop" else finish


def detail_of(candidate: Json, finish: str | None) -> dict[str, str]:
    """Return a choice's `extra`: why it was filtered, in Gemini's words, and the sources it names."""
    extra = {_snake(name): json_text(candidate[name]) for name in _KEPT if candidate.get(name)}
    if finish is not None and finish not in ("stop", "tool_calls", "length"):
        extra["native_finish_reason"] = json_text(candidate["finishReason"])
        if message := get_text(candidate, "finishMessage"):
            extra["finish_message"] = json_text(message)
    return extra


def blocked_prompt(answer: Json) -> dict[str, str] | None:
    """Return the choice's `extra` if the prompt was blocked, so that there is no candidate."""
    feedback = get_object(answer, "promptFeedback")
    if not feedback.get("blockReason") or answer.get("candidates"):
        return None
    return {
        "native_finish_reason": json_text(feedback["blockReason"]),
        "prompt_feedback": json_text(feedback),
    }


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def logprobs_of(candidate: Json) -> Logprobs | None:
    """Return the log probabilities of a candidate's tokens, if it has them."""
    result = get_object(candidate, "logprobsResult")
    chosen = get_objects(result, "chosenCandidates")
    if not chosen:
        return None
    tops = [get_objects(place, "candidates") for place in get_objects(result, "topCandidates")]
    content = [
        TokenLogprob(
            token=get_text(token, "token"),
            logprob=get_number(token, "logProbability"),
            top_logprobs=[
                TopLogprob(token=get_text(top, "token"), logprob=get_number(top, "logProbability"))
                for top in (tops[place] if place < len(tops) else ())
            ],
        )
        for place, token in enumerate(chosen)
    ]
    return Logprobs(content=content)


def usage_of(answer: Json) -> Usage | None:
    """Return the tokens used, if the answer says. Cached input and tool results are input, thoughts are output."""
    metadata = get_object(answer, "usageMetadata")
    if not metadata:
        return None
    prompt = get_count(metadata, "promptTokenCount") + get_count(metadata, "toolUsePromptTokenCount")
    thoughts = get_count(metadata, "thoughtsTokenCount")
    completion = get_count(metadata, "candidatesTokenCount") + thoughts
    usage = Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)
    if "cachedContentTokenCount" in metadata:
        usage.prompt_tokens_details.cached_tokens = get_count(metadata, "cachedContentTokenCount")
    if "thoughtsTokenCount" in metadata:
        usage.completion_tokens_details.reasoning_tokens = thoughts
    _count_modalities(usage.prompt_tokens_details, metadata, ("promptTokensDetails", "toolUsePromptTokensDetails"))
    _count_modalities(usage.completion_tokens_details, metadata, ("candidatesTokensDetails",))
    return usage


def _count_modalities(details: Any, metadata: Json, names: tuple[str, ...]) -> None:
    counts: dict[str, int] = {}
    for name in names:
        for item in get_objects(metadata, name):
            modality = get_text(item, "modality")
            counts[modality] = counts.get(modality, 0) + get_count(item, "tokenCount")
    for modality, count in counts.items():
        name = f"{modality.lower()}_tokens"
        if modality in _MODALITIES and name in details.DESCRIPTOR.fields_by_name:
            setattr(details, name, count)
        else:
            details.extra[name] = str(count)
