"""A vendor that checks each request, keeps what it heard, and replies as it was told to: in process or on a socket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from service.providers import UpstreamRequest
from service.upstream.script import Script, Step
from tests.contract.dialects.talk import Breaks, Fails, Heard, HttpAnswer, Reply, Says, Vendor
from tests.fakes import wire


class Fake:
    """One vendor. It gives its replies in turn, the last again and again. `size`: bytes of a piece of a stream."""

    def __init__(self, vendor: Vendor, *replies: Reply, size: int | None = None) -> None:
        self.vendor = vendor
        self.bodies: list[Mapping[str, Any]] = []
        self._replies = replies
        self._size = size

    @property
    def heard(self) -> Sequence[Heard]:
        """What each request told the model."""
        return [self.vendor.hear(body) for body in self.bodies]

    def play(self, request: UpstreamRequest) -> Script:
        """Answer in process."""
        answer, pieces, cut = self._answer(request.body, request.url)
        return Script(answer.status, _headers(answer), [Step(0, piece) for piece in pieces], cut=cut)

    async def answer(self, connection: wire.Connection, request: wire.Request) -> None:
        """Answer on a socket."""
        answer, pieces, cut = self._answer(request.body, request.target)
        headers = _headers(answer)
        lines = [f"{name}: {value}" for name, value in headers.items() if name != "content-type"]
        await connection.send(wire.head(answer.status, headers["content-type"], *lines, chunked=True))
        for piece in pieces:
            await connection.send(wire.chunk(piece))
        if cut:
            connection.reset()
        else:
            await connection.send(wire.chunk(b""))

    def _answer(self, body: bytes, url: str) -> tuple[HttpAnswer, Sequence[bytes], bool]:
        """Return the answer's head, its body in pieces, and whether it then breaks off."""
        reply = self._replies[min(len(self.bodies), len(self._replies) - 1)]
        value = self.vendor.check(body)
        self.bodies.append(value)
        streamed = bool(value.get("stream")) or ":streamGenerateContent" in url
        match reply:
            case Fails():
                answer = self.vendor.error(reply.trouble)
                return answer, [answer.body], False
            case Breaks() if streamed:
                events = begun(self.vendor.events(reply.says), reply.after)
                if reply.by == "error":
                    events = [*events, self.vendor.error_event()]
                return _STREAM, list(self._cut_up(b"".join(events))), reply.by == "cut"
            case Breaks():
                return HttpAnswer(200, b""), [self.vendor.whole(reply.says)[:-20]], True
            case Says() if streamed:
                return _STREAM, list(self._cut_up(b"".join(self.vendor.events(reply)))), False
            case Says():
                return HttpAnswer(200, b""), [self.vendor.whole(reply)], False

    def _cut_up(self, body: bytes) -> Iterator[bytes]:
        size = self._size or max(len(body), 1)
        yield from (body[at : at + size] for at in range(0, len(body), size))


_STREAM = HttpAnswer(200, b"", {"content-type": "text/event-stream"})


def begun(events: Sequence[bytes], text: str) -> Sequence[bytes]:
    """Return the events up to the one that says a text; only what stands before all content, if the text is empty."""
    if text:
        return events[: next(at for at, event in enumerate(events) if text.encode() in event) + 1]
    return events[:1] if b"message_start" in events[0] or b'"content": ""' in events[0] else []


def _headers(answer: HttpAnswer) -> Mapping[str, str]:
    return {"content-type": "application/json", **answer.headers}
