"""Gemini's thought signatures in the `extra` of messages, so that they come back with the conversation.

The form is that of Google's own OpenAI endpoint, which clients already send back:
`"extra_content": {"google": {"thought_signature": "..."}}` on a tool call, an image or the message itself.
https://ai.google.dev/gemini-api/docs/thought-signatures
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from service.codec import AnswerError, dumps, parse

EXTRA_CONTENT = "extra_content"

NO_SIGNATURE = "skip_thought_signature_validator"
"""Stands in for a call that has no signature because another model made it; Gemini 3 refuses a bare one."""


def put_signature(extra: MutableMapping[str, str], signature: str) -> None:
    """Keep a signature in the `extra` of the message, tool call or image that it came with."""
    extra[EXTRA_CONTENT] = dumps({"google": {"thought_signature": signature}}).decode()


def signature_of(extra: Mapping[str, str]) -> str | None:
    """Return the signature that an `extra` holds. What a client made of the field otherwise is none."""
    text = extra.get(EXTRA_CONTENT)
    if text is None:
        return None
    try:
        content = parse(text.encode())
    except AnswerError:
        return None
    google = content.get("google") if isinstance(content, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else None
    return signature if isinstance(signature, str) and signature else None
