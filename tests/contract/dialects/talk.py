"""What is said between a client and a model, in no vendor's words: what it hears, what it says, what goes wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Finish = Literal["stop", "length", "tool_calls", "content_filter"]
Trouble = Literal["bad_request", "invalid_key", "rate_limit", "server", "overloaded", "context_length", "bad_gateway"]

RATE_LIMIT_WAIT_S = 7
GATEWAY_HTML = b"<html><head><title>502 Bad Gateway</title></head><body>nginx at 10.0.0.7</body></html>"


@dataclass(frozen=True, slots=True)
class Call:
    """A function call of the model. Without an id the vendor gives none, where it may."""

    name: str
    arguments: Mapping[str, Any]
    id: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """Tokens in the gateway's sense: `cached` are part of `prompt`, `reasoning` of `completion`."""

    prompt: int = 21
    cached: int = 6
    completion: int = 15
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Says:
    """What a model says in one turn. `text` and `thoughts` stream in these pieces. `signature`: of its thoughts."""

    text: Sequence[str] = ()
    thoughts: Sequence[str] = ()
    calls: Sequence[Call] = ()
    finish: Finish = "stop"
    counts: Counts = Counts()
    signature: str = ""


@dataclass(frozen=True, slots=True)
class Fails:
    """The vendor answers with an error instead."""

    trouble: Trouble


@dataclass(frozen=True, slots=True)
class Breaks:
    """What the model says breaks off, with an error event or a closed connection, right after `after` was streamed."""

    says: Says
    after: str
    by: Literal["error", "cut"]


Reply = Says | Fails | Breaks


@dataclass(frozen=True, slots=True)
class Heard:
    """What a vendor's request tells the model.

    A turn is a role (`user`, `model`) and what was said in it, neighbours of one role merged: `("text", text)`,
    `("image", what)`, `("call", name, arguments)`, `("result", name of the function, text)`.
    """

    system: Sequence[str]
    turns: Sequence[tuple[str, Sequence[tuple[Any, ...]]]]
    tools: Mapping[str, Any] = field(default_factory=dict)
    choice: str = ""
    format: Mapping[str, Any] | None = None
    limit: int | None = None
    stop: Sequence[str] = ()


class Turns:
    """Collects turns, neighbours of one role merged."""

    def __init__(self) -> None:
        self.found: list[tuple[str, list[tuple[Any, ...]]]] = []

    def add(self, role: str, *items: tuple[Any, ...]) -> None:
        """Add what was said."""
        if not items:
            return
        if self.found and self.found[-1][0] == role:
            self.found[-1][1].extend(items)
        else:
            self.found.append((role, list(items)))


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer that is not a model's."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class Vendor(Protocol):
    """One vendor's API, made of its published types."""

    dialect: str
    path: str
    """What follows the server's address in `base_url`."""

    def check(self, body: bytes) -> Mapping[str, Any]:
        """Return a request's body. Raises ValueError, with what is wrong, where the vendor would refuse it."""
        ...

    def hear(self, body: Mapping[str, Any]) -> Heard:
        """Return what a request tells the model."""
        ...

    def whole(self, says: Says) -> bytes:
        """Return the body of a whole answer."""
        ...

    def events(self, says: Says) -> Sequence[bytes]:
        """Return the events of a streamed answer, each with its blank line."""
        ...

    def error(self, trouble: Trouble) -> HttpAnswer:
        """Return the vendor's error."""
        ...

    def error_event(self) -> bytes:
        """Return the event by which the vendor says in mid-stream that it is overloaded."""
        ...


def halves(text: str) -> tuple[str, str]:
    """Return a text in two pieces."""
    return text[: len(text) // 2], text[len(text) // 2 :]
