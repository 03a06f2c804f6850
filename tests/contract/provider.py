"""A provider that records what it is sent and answers by script, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.fakes import wire

NATIVE_ID = "chatcmpl-upstream"
CREATED = 1741569952


@dataclass(frozen=True, slots=True)
class Turn:
    """What a model says in one turn: whole or streamed, as it is asked. `calls` are (id, function name, arguments).

    `usage` is OpenAI's usage object; None: the provider does not say.
    """

    text: str | None = None
    calls: Sequence[tuple[str, str, str]] = ()
    finish_reason: str = ""
    reasoning: str | None = None
    usage: Mapping[str, Any] | None = field(
        default_factory=lambda: {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    )

    def whole(self) -> dict[str, Any]:
        """The turn as a whole answer."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text}
        if self.reasoning is not None:
            message["reasoning_content"] = self.reasoning
        if self.calls:
            message["tool_calls"] = [
                {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
                for call_id, name, arguments in self.calls
            ]
        return completion(message, self._finish(), usage=self.usage)

    def events(self) -> list[dict[str, Any]]:
        """The turn as the data of a stream's events: text by word, arguments in two halves."""
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
        deltas += [{"reasoning_content": word} for word in _words(self.reasoning)]
        deltas += [{"content": word} for word in _words(self.text)]
        for index, (call_id, name, arguments) in enumerate(self.calls):
            half = len(arguments) // 2
            opening = {"index": index, "id": call_id, "type": "function"}
            deltas.append({"tool_calls": [{**opening, "function": {"name": name, "arguments": arguments[:half]}}]})
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": arguments[half:]}}]})
        chunks = [chunk(delta) for delta in deltas] + [chunk({}, self._finish())]
        return [*chunks, {**chunk({}), "choices": [], "usage": self.usage}] if self.usage else chunks

    def _finish(self) -> str:
        return self.finish_reason or ("tool_calls" if self.calls else "stop")


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole answer as it is. `lines` are further headers."""

    status: int
    body: Mapping[str, Any] | bytes
    lines: Sequence[str] = ()
    content_type: str = "application/json"


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of events as they are, ended by `[DONE]` or, when `cut`, by nothing. `pause_s` is after the first."""

    events: Sequence[Mapping[str, Any]]
    cut: bool = False
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Silence:
    """No answer for so many seconds, then none."""

    seconds: float


Reply = Turn | Whole | Stream | Silence

HELLO = Turn(text="Hello there!")


def completion(message: Mapping[str, Any], finish_reason: str = "stop", **fields: Any) -> dict[str, Any]:
    """Return a whole answer with one choice; `fields` that are None are left out."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    plain = {"id": NATIVE_ID, "object": "chat.completion", "created": CREATED, "model": "up", "choices": [choice]}
    return {**plain, **{name: value for name, value in fields.items() if value is not None}}


def chunk(delta: Mapping[str, Any], finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    """Return a chunk with one choice."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    plain = {"id": NATIVE_ID, "object": "chat.completion.chunk", "created": CREATED, "model": "up"}
    return {**plain, "choices": [choice], **fields}


class Provider:
    """A provider on a free port of loopback. It says `HELLO` unless it was told what to say."""

    def __init__(self) -> None:
        self._script: list[Reply] = []
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._ready: threading.Event = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),))
        self._thread.start()
        self._ready.wait()

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return self._server.url

    @property
    def requests(self) -> Sequence[wire.Request]:
        """What it was sent since it was last told what to say."""
        return self._server.requests

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """The bodies of `requests`."""
        return [request.json() for request in self.requests]

    def says(self, *replies: Reply) -> None:
        """Answer the next requests with these, further ones with HELLO. Forgets the requests so far."""
        self._script = list(replies)
        self._server.requests.clear()

    def close(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        async with wire.serve(self._answer) as self._server:
            self._ready.set()
            await self._end.wait()

    async def _answer(self, connection: wire.Connection, request: wire.Request) -> None:
        reply = self._script.pop(0) if self._script else HELLO
        match reply:
            case Turn():
                if request.json().get("stream"):
                    await _send_events(connection, Stream(reply.events()))
                else:
                    await connection.send(wire.whole(200, reply.whole()))
            case Whole(status, body, lines, content_type):
                await connection.send(wire.whole(status, body, *lines, content_type=content_type))
            case Stream():
                await _send_events(connection, reply)
            case Silence(seconds):
                await asyncio.wait([asyncio.ensure_future(connection.hung_up())], timeout=seconds)
                connection.close()


async def _send_events(connection: wire.Connection, stream: Stream) -> None:
    events = [wire.event(event) for event in stream.events]
    head = wire.head(200, "text/event-stream", chunked=True)
    if stream.pause_s:
        await connection.send(head + wire.chunk(events.pop(0)))
        await asyncio.sleep(stream.pause_s)
        head = b""
    rest = b"".join(events) + (b"" if stream.cut else wire.event("[DONE]"))
    await connection.send(head + (wire.chunk(rest) if rest else b"") + (b"" if stream.cut else wire.chunk(b"")))
    if stream.cut:
        connection.close()


def _words(text: str | None) -> list[str]:
    return [] if text is None else [word + " " for word in text.split(" ")[:-1]] + [text.rsplit(" ", 1)[-1]]
