"""What of a request the Messages API can never carry."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest, Modality
from gateway.v1.content_pb2 import ChatMessage, ContentPart, Role

from service.providers.anthropic.media import unsupported_file, unsupported_image

_NEVER: Mapping[str, str] = MappingProxyType({"audio": "input_audio", "video": "input_video"})
_PARTS: Mapping[int, frozenset[str]] = MappingProxyType(
    {
        Role.ROLE_SYSTEM: frozenset({"text"}),
        Role.ROLE_DEVELOPER: frozenset({"text"}),
        Role.ROLE_USER: frozenset({"text", "image", "file"}),
        Role.ROLE_ASSISTANT: frozenset({"text", "refusal", "tool_call"}),
        Role.ROLE_TOOL: frozenset({"text", "image", "file"}),
        Role.ROLE_FUNCTION: frozenset({"text", "image", "file"}),
    }
)
"""Which parts Anthropic takes in a message of each role."""


def unsupported(request: CreateChatCompletionRequest) -> str | None:
    """Return what of the request has no form at Anthropic, or None."""
    if request.n > 1:
        return "n"
    if request.functions:
        return "functions"
    if any(modality != Modality.MODALITY_TEXT for modality in request.modalities):
        return "modalities other than text"
    if any(tool.HasField("custom") for tool in request.tools):
        return "custom tools"
    for message in request.messages:
        if message.HasField("parts"):
            found = _unsupported_part(message)
            if found is not None:
                return found
    return None


def _unsupported_part(message: ChatMessage) -> str | None:
    allowed = _PARTS.get(message.role, frozenset())
    for part in message.parts.parts:
        kind = part.WhichOneof("part") or ""
        if kind in _NEVER:
            return _NEVER[kind]
        if kind not in allowed:
            return f"{kind} parts in {Role.Name(message.role).removeprefix('ROLE_').lower()} messages"
        found = _unsupported_media(part, kind)
        if found is not None:
            return found
    return None


def _unsupported_media(part: ContentPart, kind: str) -> str | None:
    match kind:
        case "image":
            media_type = unsupported_image(part.image.image_url.url)
            return None if media_type is None else f"an image of type {media_type}"
        case "file":
            return unsupported_file(part.file.file)
        case _:
            return None
