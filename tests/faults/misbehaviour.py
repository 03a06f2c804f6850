"""The ways in which a provider may fail, as what it does on its socket. One table, `FAULTS`."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tests.fakes import chat
from tests.fakes.wire import Connection, chunk, event, head, whole

MAX_RESPONSE_BYTES = 256 * 1024
"""The gateway is configured with this bound of a provider's whole answers, and with it as that of an event."""

SLOW_S = 0.05
"""Between the bytes of a provider that is slow on purpose."""

GARBAGE = bytes(range(1, 256)) * 4
BODY_BOMB = gzip.compress(b'{"a": "' + b"x" * (64 * MAX_RESPONSE_BYTES), 9)
EVENT_BOMB = gzip.compress(b"data: " + b"x" * (64 * MAX_RESPONSE_BYTES), 9)
JSON = "application/json"
EVENTS = "text/event-stream"

Behave = Callable[[Connection, bool], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Told:
    """The client reads an error with this status and code; the attempt failed with this outcome."""

    status: int
    code: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The client reads the first content, and then an error event with this code."""

    code: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Good:
    """The client reads the whole answer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What a provider does when asked, and what comes of it when nobody else is there: unary, and streamed."""

    behave: Behave
    unary: Told | Broken | Good
    streamed: Told | Broken | Good


FAILED = "all_providers_failed"
CONNECTION = Told(502, FAILED, "connection_error")
MALFORMED = Told(502, FAILED, "malformed_answer")
EMPTY = Told(502, FAILED, "empty_answer")
CUT = Told(502, FAILED, "cut_stream")
SERVER = Told(502, FAILED, "server_error")
LATE = Told(504, "upstream_timeout", "timeout")
BROKEN = Broken("upstream_stream_broken", "cut_stream")
SPOILT = Broken("upstream_stream_broken", "malformed_answer")
STALLED = Broken("upstream_timeout", "timeout")


async def reset_before_headers(connection: Connection, streamed: bool) -> None:
    connection.reset()


async def close_before_headers(connection: Connection, streamed: bool) -> None:
    connection.close()


async def silence_before_headers(connection: Connection, streamed: bool) -> None:
    await connection.hung_up()


async def reset_mid_header(connection: Connection, streamed: bool) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Ty")
    connection.reset()


async def close_mid_header(connection: Connection, streamed: bool) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nContent-Ty")
    connection.close()


async def slow_headers(connection: Connection, streamed: bool) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        await connection.send(b"x")
        await asyncio.sleep(SLOW_S)


async def endless_headers(connection: Connection, streamed: bool) -> None:
    await connection.send(b"HTTP/1.1 200 OK\r\n")
    for number in range(10_000):
        await connection.send(b"X-%d: %b\r\n" % (number, b"x" * 1000))


async def headers_then_silence(connection: Connection, streamed: bool) -> None:
    await connection.send(_head(streamed))
    await connection.hung_up()


async def headers_then_reset(connection: Connection, streamed: bool) -> None:
    await connection.send(_head(streamed))
    await asyncio.sleep(SLOW_S)
    connection.reset()


async def headers_then_close(connection: Connection, streamed: bool) -> None:
    await connection.send(_head(streamed))
    connection.close()


async def half_then_silence(connection: Connection, streamed: bool) -> None:
    await connection.send(_head(streamed) + chunk(_half(streamed)))
    await connection.hung_up()


async def half_then_close(connection: Connection, streamed: bool) -> None:
    await connection.send(_head(streamed) + chunk(_half(streamed)))
    connection.close()


async def half_then_end(connection: Connection, streamed: bool) -> None:
    await connection.send(_head(streamed) + chunk(_half(streamed)) + chunk(b""))


async def content_then_silence(connection: Connection, streamed: bool) -> None:
    await _send_content(connection, streamed)
    await connection.hung_up()


async def content_then_reset(connection: Connection, streamed: bool) -> None:
    await _send_content(connection, streamed)
    connection.reset()


async def content_then_end(connection: Connection, streamed: bool) -> None:
    await _send_content(connection, streamed)
    await connection.send(chunk(b""))


async def content_then_done(connection: Connection, streamed: bool) -> None:
    """`[DONE]` says that nothing more comes, not that the answer is whole."""
    await _send_content(connection, streamed)
    await connection.send(chunk(chat.done()) + chunk(b""))


async def content_then_half_an_event(connection: Connection, streamed: bool) -> None:
    await _send_content(connection, streamed)
    await connection.send(chunk(chat.content("x")[:30]) + chunk(b""))


async def content_then_garbage(connection: Connection, streamed: bool) -> None:
    await _send_content(connection, streamed)
    await connection.send(chunk(_garbage(streamed)) + chunk(b""))


async def content_and_garbage_at_once(connection: Connection, streamed: bool) -> None:
    await connection.send(_head(streamed) + chunk(_content(streamed) + _garbage(streamed)) + chunk(b""))


async def content_then_broken_framing(connection: Connection, streamed: bool) -> None:
    await _send_content(connection, streamed)
    await connection.send(b"this is no chunk size\r\n")
    await connection.hung_up()


async def garbage_for_http(connection: Connection, streamed: bool) -> None:
    await connection.send(GARBAGE)
    await connection.hung_up()


async def garbage_for_a_body(connection: Connection, streamed: bool) -> None:
    await connection.send(whole(200, _garbage(streamed), content_type=_type(streamed)))


async def wrong_content_type(connection: Connection, streamed: bool) -> None:
    await connection.send(whole(200, b"<html>Log in here</html>", content_type="text/html"))


async def gzip_bomb(connection: Connection, streamed: bool) -> None:
    bomb = EVENT_BOMB if streamed else BODY_BOMB
    await connection.send(whole(200, bomb, "Content-Encoding: gzip", content_type=_type(streamed)))


async def gzip_that_is_none(connection: Connection, streamed: bool) -> None:
    body = b"this was never compressed"
    await connection.send(whole(200, body, "Content-Encoding: gzip", content_type=_type(streamed)))


async def unknown_encoding(connection: Connection, streamed: bool) -> None:
    await connection.send(whole(200, GARBAGE, "Content-Encoding: morse", content_type=_type(streamed)))


async def error_in_a_200(connection: Connection, streamed: bool) -> None:
    await connection.send(whole(200, {"error": {"message": "overloaded", "type": "server_error"}}))


async def error_event_first(connection: Connection, streamed: bool) -> None:
    error = {"error": {"message": "overloaded", "type": "server_error"}}
    await connection.send(whole(200, event(error) if streamed else error, content_type=_type(streamed)))


async def error_event_after_content(connection: Connection, streamed: bool) -> None:
    await _send_content(connection, streamed)
    error = {"error": {"message": "the engine died", "type": "server_error"}}
    await connection.send(chunk(event(error) + chat.done()) + chunk(b""))


async def empty_body(connection: Connection, streamed: bool) -> None:
    await connection.send(whole(200, b"", content_type=_type(streamed)))


async def no_content(connection: Connection, streamed: bool) -> None:
    await connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")


async def no_choices(connection: Connection, streamed: bool) -> None:
    nothing = {"id": "1", "object": "chat.completion", "created": 1, "model": "upstream", "choices": []}
    await connection.send(whole(200, event(nothing) if streamed else nothing, content_type=_type(streamed)))


async def only_a_role(connection: Connection, streamed: bool) -> None:
    await connection.send(_head(streamed) + chunk(chat.opening()) + chunk(b""))


async def invalid_json(connection: Connection, streamed: bool) -> None:
    body = event('{"choices": [') if streamed else b'{"choices": ['
    await connection.send(whole(200, body, content_type=_type(streamed)))


async def json_of_another_shape(connection: Connection, streamed: bool) -> None:
    body = event("[1, 2]") if streamed else b"[1, 2]"
    await connection.send(whole(200, body, content_type=_type(streamed)))


async def too_deep_json(connection: Connection, streamed: bool) -> None:
    deep = '{"choices": ' + "[" * 20_000 + "]" * 20_000 + "}"
    await connection.send(whole(200, event(deep) if streamed else deep.encode(), content_type=_type(streamed)))


async def invalid_utf_8(connection: Connection, streamed: bool) -> None:
    body = (chat.content("é") if streamed else chat.answer_body()).replace(b"\\u00e9", b"\xe9\xff")
    body = body if streamed else body.replace(b"Hello", b"Hell\xff")
    await connection.send(whole(200, body, content_type=_type(streamed)))


async def endless_body_without_content(connection: Connection, streamed: bool) -> None:
    await connection.send(_head(streamed))
    piece = b": still here\n\n" if streamed else b" " * 1024
    while True:
        await connection.send(chunk(piece))
        await asyncio.sleep(SLOW_S / 10)


async def endless_event(connection: Connection, streamed: bool) -> None:
    await connection.send(_head(streamed) + chunk(b"data: " if streamed else b'{"a": "'))
    while True:
        await connection.send(chunk(b"x" * 65_536))


async def endless_content(connection: Connection, streamed: bool) -> None:
    await connection.send(_head(streamed))
    while True:
        await connection.send(chunk(chat.content("and so on ")))
        await asyncio.sleep(SLOW_S / 10)


async def short_body(connection: Connection, streamed: bool) -> None:
    body = _content(streamed) if streamed else chat.answer_body()
    await connection.send(head(200, _type(streamed), f"Content-Length: {len(body) + 10}") + body)
    connection.close()


async def two_answers_for_one(connection: Connection, streamed: bool) -> None:
    """What follows an answer must not be taken for the next request's."""
    poison = whole(200, chat.answer_body().replace(b"Hello", b"POISON"))
    await connection.send(whole(200, _good(streamed), content_type=_type(streamed)) + poison)


async def redirect(connection: Connection, streamed: bool) -> None:
    await connection.send(whole(302, b"", "Location: http://127.0.0.1:1/elsewhere"))


async def interim_answers(connection: Connection, streamed: bool) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    await connection.send(interim + whole(200, _good(streamed), content_type=_type(streamed)))


async def endless_interim_answers(connection: Connection, streamed: bool) -> None:
    while True:
        await connection.send(b"HTTP/1.1 102 Processing\r\n\r\n")
        await asyncio.sleep(SLOW_S / 10)


async def switched_protocol(connection: Connection, streamed: bool) -> None:
    await connection.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    await connection.hung_up()


async def http_1_0_body(connection: Connection, streamed: bool) -> None:
    await connection.send(f"HTTP/1.0 200 OK\r\nContent-Type: {_type(streamed)}\r\n\r\n".encode() + _good(streamed))
    connection.close()


async def http_1_0_body_cut(connection: Connection, streamed: bool) -> None:
    start = f"HTTP/1.0 200 OK\r\nContent-Type: {_type(streamed)}\r\n\r\n".encode()
    await connection.send(start + (_content(True) if streamed else chat.answer_body()[:-20]))
    connection.close()


async def duplicated_terminal_event(connection: Connection, streamed: bool) -> None:
    body = chat.stream_body() + chat.terminal() + chat.done() + chat.terminal()
    await connection.send(whole(200, body if streamed else chat.answer_body(), content_type=_type(streamed)))


async def content_after_the_end(connection: Connection, streamed: bool) -> None:
    body = chat.stream_body() + chat.content("and another thing") + b"data: {\n\n"
    await connection.send(whole(200, body if streamed else chat.answer_body(), content_type=_type(streamed)))


async def reset_after_the_end(connection: Connection, streamed: bool) -> None:
    await connection.send(_head(streamed) + chunk(_good(streamed)))
    await asyncio.sleep(SLOW_S)
    connection.reset()


async def json_for_a_stream(connection: Connection, streamed: bool) -> None:
    await connection.send(whole(200, chat.answer_body()))


async def answer_500(connection: Connection, streamed: bool) -> None:
    await connection.send(whole(500, {"error": {"message": "engine failure", "type": "server_error"}}))


async def answer_500_page(connection: Connection, streamed: bool) -> None:
    await connection.send(whole(500, b"<html>nginx</html>", content_type="text/html"))


async def answer_500_endless(connection: Connection, streamed: bool) -> None:
    await connection.send(head(500, "text/html", chunked=True))
    while True:
        await connection.send(chunk(b"x" * 65_536))


async def answer_429(connection: Connection, streamed: bool) -> None:
    await connection.send(
        whole(429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, "Retry-After: 7")
    )


async def answer_401(connection: Connection, streamed: bool) -> None:
    await connection.send(whole(401, {"error": {"message": "no such key", "code": "invalid_api_key"}}))


def _type(streamed: bool) -> str:
    return EVENTS if streamed else JSON


def _head(streamed: bool) -> bytes:
    return head(200, _type(streamed), chunked=True)


def _good(streamed: bool) -> bytes:
    return chat.stream_body() if streamed else chat.answer_body()


def _half(streamed: bool) -> bytes:
    return chat.content("Hello")[:40] if streamed else chat.answer_body()[:40]


def _garbage(streamed: bool) -> bytes:
    return b"data: " + GARBAGE.replace(b"\n", b"").replace(b"\r", b"") + b"\n\n" if streamed else GARBAGE


async def _send_content(connection: Connection, streamed: bool) -> None:
    """Send content, and give it the time to be read before what follows."""
    await connection.send(_head(streamed) + chunk(_content(streamed)))
    await asyncio.sleep(SLOW_S)


def _content(streamed: bool) -> bytes:
    """Something that has content but no end."""
    return chat.opening() + chat.content("Hello") if streamed else chat.answer_body()[:-30]


FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "reset_before_headers": Fault(reset_before_headers, CONNECTION, CONNECTION),
        "close_before_headers": Fault(close_before_headers, CONNECTION, CONNECTION),
        "silence_before_headers": Fault(silence_before_headers, LATE, LATE),
        "reset_mid_header": Fault(reset_mid_header, CONNECTION, CONNECTION),
        "close_mid_header": Fault(close_mid_header, CONNECTION, CONNECTION),
        "slow_headers": Fault(slow_headers, LATE, LATE),
        "endless_headers": Fault(endless_headers, MALFORMED, MALFORMED),
        "headers_then_silence": Fault(headers_then_silence, LATE, LATE),
        "headers_then_reset": Fault(headers_then_reset, CUT, CUT),
        "headers_then_close": Fault(headers_then_close, CUT, CUT),
        "half_then_silence": Fault(half_then_silence, LATE, LATE),
        "half_then_close": Fault(half_then_close, CUT, CUT),
        "half_then_end": Fault(half_then_end, MALFORMED, CUT),
        "content_then_silence": Fault(content_then_silence, LATE, STALLED),
        "content_then_reset": Fault(content_then_reset, CUT, BROKEN),
        "content_then_end": Fault(content_then_end, MALFORMED, BROKEN),
        "content_then_done": Fault(content_then_done, MALFORMED, BROKEN),
        "content_then_half_an_event": Fault(content_then_half_an_event, MALFORMED, BROKEN),
        "content_then_garbage": Fault(content_then_garbage, MALFORMED, SPOILT),
        "content_and_garbage_at_once": Fault(content_and_garbage_at_once, MALFORMED, MALFORMED),
        "content_then_broken_framing": Fault(content_then_broken_framing, CUT, BROKEN),
        "garbage_for_http": Fault(garbage_for_http, MALFORMED, MALFORMED),
        "garbage_for_a_body": Fault(garbage_for_a_body, MALFORMED, MALFORMED),
        "wrong_content_type": Fault(wrong_content_type, MALFORMED, MALFORMED),
        "gzip_bomb": Fault(gzip_bomb, MALFORMED, MALFORMED),
        "gzip_that_is_none": Fault(gzip_that_is_none, CUT, CUT),
        "unknown_encoding": Fault(unknown_encoding, MALFORMED, CUT),
        "error_in_a_200": Fault(error_in_a_200, SERVER, SERVER),
        "error_event_first": Fault(error_event_first, SERVER, SERVER),
        "error_event_after_content": Fault(
            error_event_after_content, MALFORMED, Broken("upstream_stream_broken", "server_error")
        ),
        "empty_body": Fault(empty_body, EMPTY, CUT),
        "no_content": Fault(no_content, MALFORMED, MALFORMED),
        "no_choices": Fault(no_choices, EMPTY, CUT),
        "only_a_role": Fault(only_a_role, MALFORMED, CUT),
        "invalid_json": Fault(invalid_json, MALFORMED, MALFORMED),
        "json_of_another_shape": Fault(json_of_another_shape, MALFORMED, MALFORMED),
        "too_deep_json": Fault(too_deep_json, MALFORMED, MALFORMED),
        "invalid_utf_8": Fault(invalid_utf_8, MALFORMED, MALFORMED),
        "endless_body_without_content": Fault(endless_body_without_content, LATE, LATE),
        "endless_event": Fault(endless_event, MALFORMED, MALFORMED),
        "endless_content": Fault(endless_content, LATE, STALLED),
        "short_body": Fault(short_body, CUT, BROKEN),
        "two_answers_for_one": Fault(two_answers_for_one, Good(), Good()),
        "redirect": Fault(redirect, MALFORMED, MALFORMED),
        "interim_answers": Fault(interim_answers, Good(), Good()),
        "endless_interim_answers": Fault(endless_interim_answers, LATE, LATE),
        "switched_protocol": Fault(switched_protocol, MALFORMED, MALFORMED),
        "http_1_0_body": Fault(http_1_0_body, Good(), Good()),
        "http_1_0_body_cut": Fault(http_1_0_body_cut, MALFORMED, BROKEN),
        "duplicated_terminal_event": Fault(duplicated_terminal_event, Good(), Good()),
        "content_after_the_end": Fault(content_after_the_end, Good(), Good()),
        "reset_after_the_end": Fault(reset_after_the_end, CUT, Good()),
        "json_for_a_stream": Fault(json_for_a_stream, Good(), Good()),
        "answer_500": Fault(answer_500, SERVER, SERVER),
        "answer_500_page": Fault(answer_500_page, SERVER, SERVER),
        "answer_500_endless": Fault(answer_500_endless, SERVER, SERVER),
        "answer_429": Fault(
            answer_429,
            Told(429, "upstream_rate_limited", "rate_limited"),
            Told(429, "upstream_rate_limited", "rate_limited"),
        ),
        "answer_401": Fault(
            answer_401, Told(502, FAILED, "credentials_refused"), Told(502, FAILED, "credentials_refused")
        ),
    }
)


def settings_of(url: str, **more: Any) -> Mapping[str, Any]:
    """Return a provider's configuration with timeouts of a test's patience."""
    return {
        "base_url": url,
        "max_response_bytes": MAX_RESPONSE_BYTES,
        "max_event_bytes": MAX_RESPONSE_BYTES,
        "timeouts": {
            "connect": "500ms",
            "first_event": "250ms",
            "first_event_last": "500ms",
            "idle": "300ms",
            "response": "250ms",
            "total": "1s",
        },
        **more,
    }
