"""The conversation as Gemini's `contents` and `systemInstruction`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from gateway.v1.content_pb2 import (
    ROLE_ASSISTANT,
    ROLE_DEVELOPER,
    ROLE_FUNCTION,
    ROLE_SYSTEM,
    ROLE_TOOL,
    TOOL_CALL_TYPE_CUSTOM,
    TOOL_CALL_TYPE_FUNCTION,
    ChatMessage,
    ContentPart,
    FunctionCall,
    ToolCall,
)

from service.codec import AnswerError, parse
from service.providers.google.media import IMAGE, VIDEO, Part, audio_part, file_part, media_part
from service.providers.google.signatures import EXTRA_CONTENT, NO_SIGNATURE, signature_of
from service.providers.report import Report


@dataclass(frozen=True, slots=True)
class Dialogue:
    """How a conversation is written.

    `files_url` is where uploaded files are named. With `sign_calls`, calls that no signature came with are marked so.
    """

    files_url: str
    sign_calls: bool
    report: Report
    names: dict[str, str] = field(default_factory=dict)
    """Function names by call id."""

    def body(self, messages: Iterable[ChatMessage]) -> dict[str, Any]:
        """Return `contents`, and `systemInstruction` made of the system messages that lead.

        Later system messages keep their place, as the user's: Gemini has no such role. Neighbours of one role are
        merged. Empty texts, which Gemini refuses, are left out.
        """
        system: list[Part] = []
        contents: list[dict[str, Any]] = []
        for message in messages:
            role, parts = self._parts(message)
            if role == "system" and not contents:
                system += parts
            elif parts:
                role = "user" if role == "system" else role
                if contents and contents[-1]["role"] == role:
                    contents[-1]["parts"] += parts
                else:
                    contents.append({"role": role, "parts": parts})
        if not contents:  # Gemini needs something to answer
            return {"contents": [{"role": "user", "parts": system or [{"text": " "}]}]}
        if system:
            return {"contents": contents, "systemInstruction": {"parts": system}}
        return {"contents": contents}

    def _parts(self, message: ChatMessage) -> tuple[str, list[Part]]:
        role = message.role
        self.report.drop_unknown("messages[]", message, but=(EXTRA_CONTENT,))
        if role in (ROLE_TOOL, ROLE_FUNCTION):
            return "user", [self._function_response(message)]
        if message.HasField("name"):
            self.report.drop("messages[].name")
        if role == ROLE_ASSISTANT:
            return "model", self._said(message)
        return "system" if role in (ROLE_SYSTEM, ROLE_DEVELOPER) else "user", self._content(message)

    def _content(self, message: ChatMessage) -> list[Part]:
        if message.HasField("text"):
            return [{"text": message.text}] if message.text else []
        if not message.HasField("parts"):
            return []
        return [part for content in message.parts.parts if (part := self._content_part(content))]

    def _content_part(self, content: ContentPart) -> Part | None:
        kind = content.WhichOneof("part")
        match kind:
            case "text":
                self._note_hints(content.text)
                return {"text": content.text.text} if content.text.text else None
            case "image":
                self._note_hints(content.image)
                if content.image.image_url.detail in ("low", "high"):
                    self.report.drop("image_url.detail")
                return media_part(content.image.image_url.url, IMAGE)
            case "audio":
                self._note_hints(content.audio)
                return audio_part(content.audio.input_audio)
            case "video":
                video = content.video
                self.report.drop_unknown("messages[].content[]", video)
                return media_part(video.url if video.HasField("url") else video.video_url.url, VIDEO)
            case "file":
                self._note_hints(content.file)
                return file_part(content.file.file, self.files_url)
            case "refusal":
                return {"text": content.refusal.refusal} if content.refusal.refusal else None
            case _:
                return None

    def _note_hints(self, part: Any) -> None:
        self.report.drop_unknown("messages[].content[]", part)
        for name in ("cache_control", "prompt_cache_breakpoint"):
            if part.HasField(name):
                self.report.drop(name)

    def _said(self, message: ChatMessage) -> list[Part]:
        """Return the parts of an assistant message, its signatures where they were."""
        parts = self._content(message)
        if message.HasField("refusal") and message.refusal:
            parts.append({"text": message.refusal})
        signature = signature_of(message.extra)
        if signature and parts and "text" in parts[-1]:
            parts[-1]["thoughtSignature"] = signature
            signature = None
        for image in message.images:
            parts.append(_signed(media_part(image.image_url.url, image.mime_type or IMAGE), signature_of(image.extra)))
        for audio in message.audios:
            parts.append(media_part(audio.audio_url.url, audio.mime_type or "audio/wav"))
        calls = self._calls(message)
        if calls and not any("thoughtSignature" in call for call in calls):
            _signed(calls[0], signature or (NO_SIGNATURE if self.sign_calls else None))
        return parts + calls

    def _calls(self, message: ChatMessage) -> list[Part]:
        calls = [self._call(call) for call in message.tool_calls]
        if message.HasField("parts"):
            known = {call.id for call in message.tool_calls}
            for content in message.parts.parts:
                part = content.tool_call
                if content.HasField("tool_call") and part.id not in known:
                    whole = ToolCall(id=part.id, type=TOOL_CALL_TYPE_FUNCTION, function=part.function, extra=part.extra)
                    calls.append(self._call(whole))
        if message.HasField("function_call"):
            calls.append({"functionCall": _function_call(message.function_call)})
        return calls

    def _call(self, call: ToolCall) -> Part:
        if call.type == TOOL_CALL_TYPE_CUSTOM:
            written: dict[str, Any] = {"name": call.custom.name, "args": {"input": call.custom.input}}
        else:
            written = _function_call(call.function)
        self.names[call.id] = written["name"]
        return _signed({"functionCall": {"id": call.id, **written}}, signature_of(call.extra))

    def _function_response(self, message: ChatMessage) -> Part:
        parts = self._content(message)
        text = "\n".join(part["text"] for part in parts if "text" in part)
        name = self.names.get(message.tool_call_id) or message.name or message.tool_call_id
        response: dict[str, Any] = {"name": name, "response": _json_object(text) or {"result": text}}
        if message.tool_call_id:
            response = {"id": message.tool_call_id, **response}
        if media := [part for part in parts if "text" not in part]:
            response["parts"] = media
        return {"functionResponse": response}


def _signed(part: Part, signature: str | None) -> Part:
    if signature:
        part["thoughtSignature"] = signature
    return part


def _function_call(call: FunctionCall) -> dict[str, Any]:
    """Return name and arguments; arguments that are no JSON object, which `args` has to be, stand inside one."""
    if not call.arguments.strip():
        return {"name": call.name, "args": {}}
    return {"name": call.name, "args": _json_object(call.arguments) or {"arguments": call.arguments}}


def _json_object(text: str) -> orjson.Fragment | None:
    """Return the text, to be spliced in as it is, if it is a JSON object."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            parse(text.encode())  # which takes numbers beyond a double, too
        except AnswerError:
            return None
    return orjson.Fragment(text)


def uses_audio_reference(messages: Sequence[ChatMessage]) -> bool:
    """Say whether a message points to an earlier audio answer by its id, which only OpenAI keeps."""
    return any(message.HasField("audio") for message in messages)
