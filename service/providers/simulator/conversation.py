"""What the simulator reads of a conversation: its last words, its attachments, its tool results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

ATTACHMENTS: Mapping[str, str] = MappingProxyType(
    {"image_url": "image", "input_audio": "audio clip", "video_url": "video", "input_video": "video", "file": "file"}
)
"""Types of content parts, and what they are called."""

Message = Mapping[str, Any]


def text_of(message: Message) -> str:
    """Return a message's text; that of its parts is joined with blanks."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in _parts(message) if part.get("type") == "text")


def last_user_message(messages: Sequence[Message]) -> Message:
    """Return the last message of the user, or an empty one."""
    return next((message for message in reversed(messages) if message.get("role") == "user"), {})


def attachments(message: Message) -> list[str]:
    """Return what a message holds beside text, counted: `1 image`, `2 files`."""
    names = [ATTACHMENTS[kind] for part in _parts(message) if (kind := str(part.get("type"))) in ATTACHMENTS]
    return [f"{names.count(name)} {name}{'s' if names.count(name) > 1 else ''}" for name in dict.fromkeys(names)]


def tool_results(messages: Sequence[Message]) -> list[tuple[str, str]]:
    """Return the tool results at the end of a conversation, each with the name of what was called, in order."""
    names = {
        call.get("id"): (call.get("function") or call.get("custom") or {}).get("name", "")
        for message in messages
        for call in message.get("tool_calls") or ()
    }
    results: list[tuple[str, str]] = []
    for message in reversed(messages):
        if message.get("role") not in ("tool", "function"):
            break
        name = names.get(message.get("tool_call_id")) or message.get("name") or "tool"
        results.append((str(name), text_of(message)))
    return results[::-1]


def count_words(messages: Sequence[Message]) -> int:
    """Return the words of a conversation, calls of tools included."""
    texts = [text_of(message) for message in messages]
    texts += [
        str((call.get("function") or {}).get("arguments", ""))
        for message in messages
        for call in message.get("tool_calls") or ()
    ]
    return sum(len(text.split()) for text in texts)


def _parts(message: Message) -> Iterator[Mapping[str, Any]]:
    content = message.get("content")
    if isinstance(content, list):
        yield from (part for part in content if isinstance(part, dict))
