"""What the simulator answers: calls of tools, or a text that says what it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from service.providers.simulator.budget import Budget
from service.providers.simulator.calls import Call, choose
from service.providers.simulator.conversation import attachments, last_user_message, text_of, tool_results
from service.providers.simulator.instance import instance

NOTE = "(This is the gateway's built-in simulator, not a language model.)"

_ECHOED_WORDS = 40
_ANSWERED_CHARACTERS = 20_000
"""Of what was said, or of tools' results, no more is repeated: each of up to 128 choices repeats it anew."""
_MOST_STOPS = 16
"""OpenAI takes 4; each is searched for in the whole text."""
_TOKEN = re.compile(r"\s*\S+(?:\s+\Z)?")


@dataclass(frozen=True, slots=True)
class Reply:
    """One choice's answer. Texts are in tokens: words with the blank before them. `finish` is the finish reason."""

    tokens: Sequence[str]
    reasoning: Sequence[str]
    calls: Sequence[Call]
    finish: str


def compose(body: Mapping[str, Any], words: int | None = None) -> Reply:
    """Return the answer to a request's body; with `words`, a text of so many words."""
    messages = [message for message in body.get("messages") or () if isinstance(message, dict)]
    results = tool_results(messages)
    said = last_user_message(messages)
    text = text_of(said)
    reasoning = split(_reasoning(text)) if _reasons(body) else []
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if words is not None:
        return _limited([" word" if place else "word" for place in range(words)], reasoning, body.get("stop"), limit)
    budget = Budget(body.get("n") or 1)
    calls = [] if results else choose(body, text, budget)
    if calls:
        return Reply((), reasoning, calls, "function_call" if "functions" in body else "tool_calls")
    answer = " ".join(map(_told, results)) if results else _echo(text, attachments(said))
    formatted = _formatted(answer[:_ANSWERED_CHARACTERS], body.get("response_format"), budget)
    return _limited(split(formatted), reasoning, body.get("stop"), limit)


def split(text: str) -> list[str]:
    """Return a text's tokens. Joined, they are the text; blanks alone are none."""
    # From each of the blanks on, the pattern would look for a word once more.
    return [] if text.isspace() else _TOKEN.findall(text)


def _limited(tokens: Sequence[str], reasoning: Sequence[str], stop: Any, limit: int | None) -> Reply:
    """Return a text up to its first stop sequence, or up to the limit of tokens, reasoning included."""
    stops = [stop] if isinstance(stop, str) else [each for each in stop or () if isinstance(each, str)]
    if stops:
        text = "".join(tokens)
        ends = [place for each in stops[:_MOST_STOPS] if each and (place := text.find(each)) >= 0]
        tokens = split(text[: min(ends)]) if ends else tokens
    if limit is None or len(reasoning) + len(tokens) <= limit:
        return Reply(tokens, reasoning, (), "stop")
    return Reply(tokens[: max(0, limit - len(reasoning))], reasoning[:limit], (), "length")


def _reasons(body: Mapping[str, Any]) -> bool:
    effort = body.get("reasoning_effort")
    return (effort is not None and effort != "none") or isinstance(body.get("reasoning"), dict)


def _reasoning(text: str) -> str:
    return f"The user's message has {len(text.split())} words. The simulator does not think."


def _echo(text: str, attached: Sequence[str]) -> str:
    words = text.split(maxsplit=_ECHOED_WORDS)
    echo = " ".join(words[:_ECHOED_WORDS]) + (" ..." if len(words) > _ECHOED_WORDS else "")
    sentences = [f"You said: {echo}" if echo else "You said nothing."]
    if attached:
        sentences.append(f"You sent {' and '.join(attached)}.")
    return " ".join(sentences)


def _told(result: tuple[str, str]) -> str:
    """Return a tool's result in words."""
    name, content = result
    try:
        value = orjson.loads(content)
    except orjson.JSONDecodeError:
        value = None
    match value:
        case {"datetime": str(moment), "timezone": str(zone)} if (at := _moment(moment)) is not None:
            return f"It is {at:%H:%M:%S} on {at:%A}, {at.day} {at:%B %Y} in {zone} ({moment})."
        case {"error": str(error)}:
            return f"{name} failed: {error}"
    return f"{name} answered: {content}"


def _moment(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _formatted(answer: str, response_format: Any, budget: Budget) -> str:
    match response_format:
        case {"type": "json_schema", "json_schema": {"schema": schema}}:
            return orjson.dumps(instance(schema, budget, answer)).decode()
        case {"type": "json_object"}:
            return orjson.dumps({"answer": answer, "note": NOTE}).decode()
    return f"{answer} {NOTE}"
