"""A well-behaved provider of the openai dialect, whole and streamed, for tests in which others misbehave."""

from __future__ import annotations

from tests.fakes.openai import chunk as openai_chunk
from tests.fakes.openai import completion
from tests.fakes.wire import Connection, Request, chunk, event, head, whole

WORDS = ("Hello", " there")
TEXT = "".join(WORDS)
TERMINAL = "stop"


def content(text: str) -> bytes:
    """A streamed event with a piece of text."""
    return event(openai_chunk({"content": text}).decode())


def opening() -> bytes:
    """A streamed event with nothing but the role."""
    return event(openai_chunk({"role": "assistant", "content": ""}).decode())


def terminal() -> bytes:
    """The streamed event with the finish reason."""
    return event(openai_chunk({}, TERMINAL).decode())


def done() -> bytes:
    """The mark after the last event."""
    return event("[DONE]")


def answer_body() -> bytes:
    """A whole answer that says TEXT."""
    message = {"role": "assistant", "content": TEXT, "refusal": None}
    return completion(choices=[{"index": 0, "message": message, "logprobs": None, "finish_reason": TERMINAL}])


def stream_body() -> bytes:
    """A whole stream that says TEXT."""
    return b"".join((opening(), *map(content, WORDS), terminal(), done()))


async def answer(connection: Connection, request: Request) -> None:
    """Answer as asked, whole or streamed, and keep the connection."""
    if not request.json().get("stream"):
        await connection.send(whole(200, answer_body()))
        return
    await connection.send(head(200, "text/event-stream", chunked=True))
    for each in (opening(), *map(content, WORDS), terminal(), done()):
        await connection.send(chunk(each))
    await connection.send(chunk(b""))
