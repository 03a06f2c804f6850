"""One request through routing, attempts and tool loop, to a provider on a real socket."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any

import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest, DebugOptions, ProviderRouting, StreamOptions
from gateway.v1.chat_response_pb2 import ChatCompletion, ChatCompletionChunk
from gateway.v1.content_pb2 import ROLE_USER, ChatMessage
from gateway.v1.tools_pb2 import DatetimeTool, Tool

from service.chat import Call, ChatCompletions, Deps
from service.config import Config, Key
from service.errors import GatewayError, ProviderFailure
from service.limits import Limiter
from service.providers import DIALECTS
from service.providers.dialect import Dialect, StreamDecoder
from service.providers.openai import OpenAiDialect
from service.providers.openai.stream import OpenAiStreamDecoder
from service.routing import HealthBoard
from service.telemetry import Masker
from service.tools import REGISTRY
from service.upstream import Event, Upstream
from tests.fakes.wire import Answer, Connection, Request, event, head, serve, whole

CLOCK = {"index": 0, "id": "c1", "type": "function", "function": {"name": "gateway_datetime", "arguments": "{}"}}
USAGE = {"prompt_tokens": 5, "completion_tokens": 20, "total_tokens": 25}
KEY = Key(name="k", sha256="0" * 64)
SECRET = "PLANTED-provider-key-1"


@asynccontextmanager
async def chat_with(
    answer: Answer, limiter: Limiter | None = None, dialects: Mapping[str, Dialect] = DIALECTS
) -> AsyncIterator[ChatCompletions]:
    """Give the use case with one model, `m`, of one provider of the openai dialect."""
    async with serve(answer) as server:
        providers = {"p": {"dialect": "openai", "base_url": server.url, "api_key": SECRET}}
        async with chat_of(providers, limiter=limiter, dialects=dialects) as chat:
            yield chat


@asynccontextmanager
async def chat_of(
    providers: Mapping[str, Mapping[str, Any]],
    server: Mapping[str, Any] = MappingProxyType({}),
    limiter: Limiter | None = None,
    dialects: Mapping[str, Dialect] = DIALECTS,
) -> AsyncIterator[ChatCompletions]:
    """Give the use case with one model, `m`, of each of the providers, with these settings of the server's."""
    endpoints = [{"provider": name, "model": "up"} for name in providers]
    models = {"m": {"endpoints": endpoints}}
    config = Config.model_validate({"providers": providers, "models": models, "server": server})
    upstream, limiter = Upstream(config.providers, {}), limiter or Limiter(config, 0, None)
    board, masker, draw = HealthBoard(config), Masker(config), random.Random(1)
    try:
        yield ChatCompletions(Deps(config, dialects, upstream, board, limiter, REGISTRY, masker, draw))
    finally:
        await upstream.close()
        await limiter.close()


def call(key: Key = KEY) -> Call:
    return Call("chatcmpl-1", key, time.monotonic(), 1)


def asks(**fields: Any) -> CreateChatCompletionRequest:
    return CreateChatCompletionRequest(model="m", messages=[ChatMessage(role=ROLE_USER, text="Hi")], **fields)


async def streamed(
    chat: ChatCompletions, request: CreateChatCompletionRequest, key: Key = KEY
) -> Sequence[ChatCompletionChunk]:
    async with await chat.open(request, call(key)) as stream:
        return [chunk async for runs in stream for run in runs for chunk in run.chunks()]


async def send_turn(connection: Connection, request: Request, message: Mapping[str, Any], **more: Any) -> None:
    """Answer with a message, whole or streamed as was asked; `more` is `id`, and what stands beside the message."""
    body = request.json()
    native = more.pop("id", "native")
    choice = {"index": 0, "finish_reason": "tool_calls" if "tool_calls" in message else "stop", **more}
    said = {"role": "assistant", **message}
    if not body.get("stream"):
        answer = {"id": native, "created": 1, "model": "up", "choices": [{**choice, "message": said}], "usage": USAGE}
        await connection.send(whole(200, answer))
        return
    chunk = {"id": native, "created": 1, "model": "up", "choices": [{**choice, "delta": said}], "usage": USAGE}
    await connection.send(head(200, "text/event-stream", "Connection: close") + event(chunk) + event("[DONE]"))
    connection.close()


async def test_a_parameter_that_was_refused_is_not_sent_in_later_turns() -> None:
    bodies: list[dict[str, Any]] = []

    async def answer(connection: Connection, request: Request) -> None:
        bodies.append(request.json())
        if "temperature" in bodies[-1]:
            error = {"message": "Unsupported parameter: 'temperature'.", "type": "invalid_request_error"}
            refusal = {"error": {**error, "code": "unsupported_parameter", "param": "temperature"}}
            await connection.send(whole(400, refusal))
        elif bodies[-1]["messages"][-1]["role"] == "tool":
            await send_turn(connection, request, {"content": "noon"})
        else:
            await send_turn(connection, request, {"content": None, "tool_calls": [CLOCK]})

    tools = [Tool(gateway_datetime=DatetimeTool())]
    async with chat_with(answer) as chat:
        completion = await chat.complete(asks(tools=tools, temperature=0.5, meta=True), call())
    assert [attempt.outcome for attempt in completion.meta.attempts] == ["unsupported_parameter", "ok", "ok"]
    assert completion.meta.dropped_parameters == ["temperature"]


async def two_turns(connection: Connection, request: Request) -> None:
    """A turn that calls the clock and one that does not, each with all that a turn may say."""
    number = int(request.json()["messages"][-1]["role"] == "tool")
    note = {"type": "url_citation", "url_citation": {"url": f"http://x/{number}"}}
    token = {"token": f"t{number}", "logprob": -1.0, "bytes": None, "top_logprobs": []}
    cited: dict[str, Any] = {"cited_text": f"c{number}"}
    source = {"index": 1, "score": [0.5]}  # a number of the vendor's
    if request.json().get("stream"):
        cited["index"] = 0  # as streams number the items of a list
    message: dict[str, Any] = {
        "content": f"said {number}",
        "annotations": [note],
        "citations": [cited],
        "content_blocks": [source],
    }
    if number == 0:
        message["tool_calls"] = [CLOCK]
    logprobs = {"content": [token], "refusal": None}
    await send_turn(connection, request, message, logprobs=logprobs, id=f"native-{number}")


async def test_a_whole_answer_says_of_all_turns_what_a_stream_says() -> None:
    tools = [Tool(gateway_datetime=DatetimeTool())]
    async with chat_with(two_turns) as chat:
        completion = await chat.complete(asks(tools=tools, logprobs=True), call())
        chunks = await streamed(chat, asks(tools=tools, logprobs=True))
    choice, deltas = completion.choices[0], [choice for chunk in chunks for choice in chunk.choices]
    assert choice.message.content == "".join(each.delta.content for each in deltas) == "said 0\n\nsaid 1"
    notes = [note for each in deltas for note in each.delta.annotations]
    assert [json.loads(note)["url_citation"]["url"] for note in notes] == ["http://x/0", "http://x/1"]
    assert list(choice.message.annotations) == notes
    tokens = [token.token for each in deltas for token in each.logprobs.content]
    assert [token.token for token in choice.logprobs.content] == tokens == ["t0", "t1"]
    assert completion.native_response_id == chunks[-1].native_response_id == "native-1"
    assert json.loads(choice.message.extra["content_blocks"]) == [{"index": 1, "score": [0.5]}] * 2
    cited = [{"cited_text": "c0"}, {"cited_text": "c1"}]
    assert json.loads(choice.message.extra["citations"]) == cited
    lists = [json.loads(each.delta.extra["citations"]) for each in deltas if each.delta.extra]
    assert lists == [[{**item, "index": place} for place, item in enumerate(cited)]]


async def test_an_answer_of_nothing_but_the_gateways_calls_is_empty_and_not_null() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await send_turn(connection, request, {"content": None, "tool_calls": [CLOCK]}, finish_reason="length")

    async with chat_with(answer) as chat:
        completion = await chat.complete(asks(tools=[Tool(gateway_datetime=DatetimeTool())]), call())
    (choice,) = completion.choices
    assert (choice.message.HasField("content"), choice.message.content, choice.finish_reason) == (True, "", "length")


async def test_the_tier_that_served_is_told_of_a_stream_that_the_loop_ends() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        text = {"choices": [{"index": 0, "delta": {"content": "noon"}}]}
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "service_tier": "priority"}
        await connection.send(head(200, "text/event-stream", "Connection: close") + event(text) + event(end))
        connection.close()

    async with chat_with(answer) as chat:
        chunks = await streamed(chat, asks(tools=[Tool(gateway_datetime=DatetimeTool())]))
    assert [chunk.service_tier for chunk in chunks] == ["", "priority"]


async def test_a_silent_later_turn_gives_the_native_id_all_the_same() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        if request.json()["messages"][-1]["role"] != "tool":
            await send_turn(connection, request, {"content": "a", "tool_calls": [CLOCK]}, id="native-0")
            return
        opening = {"id": "native-1", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        await connection.send(head(200, "text/event-stream", "Connection: close") + event(opening) + event(end))
        connection.close()

    async with chat_with(answer) as chat:
        chunks = await streamed(chat, asks(tools=[Tool(gateway_datetime=DatetimeTool())]))
    assert [chunk.native_response_id for chunk in chunks] == ["native-0", "native-1"]


async def test_a_json_answer_to_a_streamed_call_keeps_its_function_call() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        message = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
        choice = {"index": 0, "message": message, "finish_reason": "function_call"}
        await connection.send(whole(200, {"id": "1", "choices": [choice]}))

    async with chat_with(answer) as chat:
        chunks = await streamed(chat, asks())
    told = chunks[0].choices[0].delta.function_call
    assert (told.name, told.arguments) == ("f", "{}")


async def test_the_log_says_how_a_stream_that_broke_after_its_first_content_ended() -> None:
    async def cut(connection: Connection, request: Request) -> None:
        said = {"id": "1", "choices": [{"index": 0, "delta": {"content": "Well"}}]}
        await connection.send(head(200, "text/event-stream", "Connection: close") + event(said))
        await asyncio.sleep(0.05)
        connection.close()

    async with chat_with(cut) as chat:
        broken, left = call(), call()
        with pytest.raises(GatewayError):
            async with await chat.open(asks(), broken) as stream:
                _ = [chunks async for chunks in stream]
        async with await chat.open(asks(), left) as stream:
            await anext(stream)
    assert broken.facts["upstream_outcome"] == "cut_stream"
    assert left.facts["upstream_outcome"] == "cancelled"


async def test_the_speed_of_a_whole_answer_is_over_all_its_time() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await asyncio.sleep(0.1)
        await send_turn(connection, request, {"content": "noon"})

    async with chat_with(answer) as chat:
        completion: ChatCompletion = await chat.complete(asks(meta=True), call())
    assert completion.meta.tokens_per_second <= USAGE["completion_tokens"] / 0.1


async def test_what_arrives_at_once_is_handed_on_in_parts_so_that_other_calls_have_their_turn() -> None:
    async def pour(connection: Connection, request: Request) -> None:
        words = [{"id": "1", "choices": [{"index": 0, "delta": {"content": f"{place} "}}]} for place in range(500)]
        end = {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        await connection.send(head(200, "text/event-stream", "Connection: close") + b"".join(map(event, [*words, end])))
        connection.close()

    async with chat_with(pour) as chat, await chat.open(asks(), call()) as stream:
        pieces = [[chunk for run in runs for chunk in run.chunks()] async for runs in stream]
    assert max(map(len, pieces)) <= 32
    text = "".join(choice.delta.content for chunks in pieces for chunk in chunks for choice in chunk.choices)
    assert text == "".join(f"{place} " for place in range(500))


LIMITED = Key(name="limited", sha256="1" * 64, tokens_per_minute=10_000)
_MOST = 1000


async def charged(answer: Answer, ask: Callable[[ChatCompletions], Awaitable[None]]) -> int:
    """Return how many tokens a request of `LIMITED` was charged in the end."""
    limiter = Limiter(Config(providers={}, models={}), 0, None, lambda: 1000.0)

    async def left() -> int:
        grant = await limiter.acquire(LIMITED, 0)
        await grant.release(0)
        return int(grant.headers["x-ratelimit-remaining-tokens"])

    async with chat_with(answer, limiter) as chat:
        before = await left()
        await ask(chat)
        return before - await left()


async def test_a_stream_that_breaks_off_is_charged_the_estimate() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        chunk = {"id": "x", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}
        await connection.send(head(200, "text/event-stream", "Connection: close") + event(chunk))
        connection.close()

    async def ask(chat: ChatCompletions) -> None:
        with pytest.raises(GatewayError, match="broke its stream"):
            await streamed(chat, asks(max_completion_tokens=_MOST), LIMITED)

    assert await charged(answer, ask) in range(_MOST, _MOST + 5)


async def test_who_leaves_in_a_later_turn_is_charged_the_estimate() -> None:
    """The first turn's usage is known, and less."""

    async def answer(connection: Connection, request: Request) -> None:
        if len(request.json()["messages"]) == 1:
            await send_turn(connection, request, {"content": None, "tool_calls": [CLOCK]})
        else:
            chunk = {"id": "x", "choices": [{"index": 0, "delta": {"content": "It is noon"}}]}
            await connection.send(head(200, "text/event-stream", "Connection: close") + event(chunk))
            await connection.hung_up()

    async def ask(chat: ChatCompletions) -> None:
        request = asks(max_completion_tokens=_MOST, tools=[Tool(gateway_datetime=DatetimeTool())])
        async with await chat.open(request, call(LIMITED)) as stream:
            async for runs in stream:
                if any("noon" in choice.delta.content for run in runs for choice in run.chunk.choices):
                    break

    assert await charged(answer, ask) in range(_MOST, _MOST + 5)


async def test_a_request_that_was_refused_is_charged_nothing() -> None:
    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(400, {"error": {"message": "No."}}))

    async def ask(chat: ChatCompletions) -> None:
        with pytest.raises(GatewayError):
            await chat.complete(asks(max_completion_tokens=_MOST), call(LIMITED))

    assert await charged(answer, ask) <= 1


class Surprised(OpenAiDialect):
    """A decoder with a mistake in it."""

    def decode(self, body: bytes) -> ChatCompletion:
        raise KeyError("choices")

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
        raise KeyError("error")

    def stream_decoder(self, choices: int = 1) -> StreamDecoder:
        return SurprisedLater(choices)


class SurprisedLater(OpenAiStreamDecoder):
    """A decoder with a mistake in how it reads the second event."""

    def decode(self, event: Event) -> Sequence[ChatCompletionChunk]:
        if b"second" in event.data:
            raise KeyError("choices")
        return super().decode(event)

    def again(self, events: Sequence[Event]) -> Sequence[str]:
        return ()


@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_that_no_decoder_foresaw_is_the_providers_failure(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Another provider is asked, or the caller told of this one, and the log says where it happened."""

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(whole(status, {}))

    async with chat_with(answer, dialects={"openai": Surprised()}) as chat:
        with pytest.raises(GatewayError) as caught:
            await chat.complete(asks(meta=True), call())
    assert caught.value.code == "all_providers_failed"
    assert caught.value.details[0]["outcome"] == "malformed_answer"
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [KeyError]


async def test_what_came_before_an_event_that_no_decoder_foresaw_is_sent() -> None:
    first, second = ({"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("first", "second"))

    async def answer(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", "Connection: close") + event(first))
        await asyncio.sleep(0.05)
        await connection.send(event(second))
        connection.close()

    surprised = {"openai": Surprised()}
    async with chat_with(answer, dialects=surprised) as chat, await chat.open(asks(), call()) as stream:
        (run,) = await anext(stream)
        with pytest.raises(GatewayError) as caught:
            await anext(stream)
    assert run.chunk.choices[0].delta.content == "first"
    assert caught.value.code == "upstream_stream_broken"


async def test_a_stream_ends_with_the_word_that_nothing_more_comes() -> None:
    """And not when its body does: some providers take their time with that."""
    left = asyncio.Event()

    async def answer(connection: Connection, request: Request) -> None:
        said = {"choices": [{"index": 0, "delta": {"content": "all"}, "finish_reason": "stop"}], "usage": USAGE}
        await connection.send(head(200, "text/event-stream") + event(said) + event("[DONE]"))
        await left.wait()
        connection.close()

    async with chat_with(answer) as chat, asyncio.timeout(1.5):
        chunks = await streamed(chat, asks(stream_options=StreamOptions(include_usage=True)))
        left.set()
    assert chunks[-1].usage.total_tokens == USAGE["total_tokens"]


async def test_what_says_nothing_after_the_end_does_not_hold_it_up() -> None:
    """A provider's signs of life are no part of the answer, which has ended."""
    left = asyncio.Event()

    async def answer(connection: Connection, request: Request) -> None:
        said = {"choices": [{"index": 0, "delta": {"content": "all"}, "finish_reason": "stop"}]}
        await connection.send(head(200, "text/event-stream") + event(said))
        while not left.is_set():
            await connection.send(b"event: ping\ndata: {}\n\n")
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await left.wait()
        connection.close()

    async with chat_with(answer) as chat, asyncio.timeout(10):
        chunks = await streamed(chat, asks())
        left.set()
    assert [chunk.choices[0].finish_reason for chunk in chunks] == ["stop"]


@pytest.mark.parametrize("asked", [True, False])
async def test_what_stands_beside_usage_is_in_the_usage_chunk_and_without_one_there_is_none(asked: bool) -> None:
    async def answer(connection: Connection, request: Request) -> None:
        said = {"choices": [{"index": 0, "delta": {"content": "all"}, "finish_reason": "stop"}]}
        beside = {"service_tier": "flex", "system_fingerprint": "fp", "x_groq": {"id": "r"}, "choices": []}
        sent = event(said) + event({**beside, "usage": USAGE}) + event("[DONE]")
        await connection.send(head(200, "text/event-stream", "Connection: close") + sent)
        connection.close()

    async with chat_with(answer) as chat:
        options = StreamOptions(include_usage=True) if asked else None
        text, *rest = await streamed(chat, asks(stream_options=options))
    assert text.choices[0].delta.content == "all"
    told = [(c.service_tier, c.system_fingerprint, dict(c.extra), c.usage.total_tokens, len(c.choices)) for c in rest]
    assert told == ([("flex", "fp", {"x_groq": '{"id":"r"}'}, USAGE["total_tokens"], 0)] if asked else [])


@pytest.mark.parametrize("together", [True, False])
async def test_a_native_id_is_that_of_its_event_however_the_stream_is_cut(together: bool) -> None:
    async def answer(connection: Connection, request: Request) -> None:
        ids = ("", "first", "", "second")
        each = [
            event({**({"id": native} if native else {}), "choices": [{"index": 0, "delta": {"content": f"n{place}"}}]})
            for place, native in enumerate(ids)
        ]
        each.append(event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}))
        await connection.send(head(200, "text/event-stream", "Connection: close"))
        for part in [b"".join(each)] if together else each:
            await connection.send(part)
            await asyncio.sleep(0.02)
        connection.close()

    async with chat_with(answer) as chat:
        chunks = await streamed(chat, asks())
    assert [chunk.native_response_id for chunk in chunks] == ["", "first", "first", "second", "second"]


def says(text: str, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, **more}
    return b"data: %b\n\n" % json.dumps({"id": "r", "choices": [choice]}).encode()


async def word_by_word(connection: Connection, request: Request) -> None:
    """Say the numbers to forty one by one, some of them two at a time, one with more than text; then how it ended."""
    await connection.send(head(200, "text/event-stream", "Connection: close") + says("n0 "))
    for number in range(1, 41):
        await asyncio.sleep(0.005)
        await connection.send(says(f"n{number} ", **({"logprobs": {"content": []}} if number == 20 else {})))
        if number % 5 == 0:
            await connection.send(says("and "))
    await connection.send(says("", finish_reason="stop") + event({"choices": [], "usage": USAGE}) + event("[DONE]"))
    connection.close()


WORDS = "".join(f"n{number} and " if number and number % 5 == 0 else f"n{number} " for number in range(41))


async def told(chat: ChatCompletions, request: CreateChatCompletionRequest, takes: Callable[[int], bool]) -> list[str]:
    """Return what a reader was told, and of it in upper case what it took; `takes` says that by the offer's number."""
    said: list[str] = []
    offers = 0

    def take(texts: Sequence[str]) -> bool:
        nonlocal offers
        offers += 1
        if takes(offers):
            said.extend(text.upper() for text in texts)
            return True
        return False

    async with await chat.open(request, call(), take) as stream:
        async for runs in stream:
            for run in runs:
                said += [choice.delta.content for chunk in run.chunks() for choice in chunk.choices]
    return said


@pytest.mark.parametrize("every", [1, 2, 5])
async def test_texts_are_offered_as_they_arrive_and_none_is_told_twice(every: int) -> None:
    async with chat_with(word_by_word) as chat:
        said = await told(chat, asks(), lambda offer: offer % every == 0)
    assert "".join(said).lower() == WORDS
    assert any(text.isupper() for text in said)


async def test_nothing_is_offered_where_the_gateway_has_a_say_in_each_text() -> None:
    """Between a turn's texts may be calls of the gateway's tools; and what came back is kept when it was asked for."""
    tools = [Tool(gateway_datetime=DatetimeTool())]
    debug = DebugOptions(return_upstream_response=True)
    async with chat_with(word_by_word) as chat:
        assert "".join(await told(chat, asks(tools=tools), lambda offer: True)) == WORDS
        assert "".join(await told(chat, asks(debug=debug), lambda offer: True)) == WORDS


async def test_no_secret_is_in_a_text_that_is_offered() -> None:
    async def echo(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", "Connection: close") + says("Hi"))
        await asyncio.sleep(0.05)
        await connection.send(says(f"your key is {SECRET}"))
        await asyncio.sleep(0.05)
        await connection.send(says("", finish_reason="stop"))
        connection.close()

    async with chat_with(echo) as chat:
        said = await told(chat, asks(), lambda offer: True)
    assert said == ["Hi", "YOUR KEY IS ***", ""]


class SurprisedByTheSecond(OpenAiDialect):
    """A dialect with a mistake in how it tells that an event is like the one before."""

    def stream_decoder(self, choices: int = 1) -> StreamDecoder:
        return Mistaken(choices)


class Mistaken(OpenAiStreamDecoder):
    """A decoder with that mistake."""

    def again(self, events: Sequence[Event]) -> Sequence[str]:
        raise KeyError("choices")


async def test_what_no_decoder_foresaw_is_the_providers_failure_also_where_it_is_offered() -> None:
    async with chat_with(word_by_word, dialects={"openai": SurprisedByTheSecond()}) as chat:
        with pytest.raises(GatewayError) as caught:
            await told(chat, asks(), lambda offer: True)
    assert caught.value.code == "upstream_stream_broken"
    assert caught.value.details[0]["outcome"] == "malformed_answer"


ALONE = Key(name="alone", sha256="2" * 64, concurrency=1)


async def say_hi(connection: Connection, request: Request) -> None:
    await send_turn(connection, request, {"content": "Hi"})


async def whole_answer(chat: ChatCompletions, key: Key) -> None:
    await chat.complete(asks(), call(key))


async def streamed_answer(chat: ChatCompletions, key: Key) -> None:
    await streamed(chat, asks(), key)


@pytest.mark.parametrize("ask", [whole_answer, streamed_answer])
async def test_who_leaves_after_any_turn_of_the_loop_holds_nothing(
    ask: Callable[[ChatCompletions, Key], Awaitable[None]],
) -> None:
    async with chat_with(say_hi) as chat:
        turns, cancelled = 0, 0
        while True:
            asking = asyncio.ensure_future(ask(chat, ALONE))
            for _ in range(turns):
                await asyncio.sleep(0)
            if asking.done():
                break
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
            turns, cancelled = turns + 1, cancelled + asking.cancelled()
            await ask(chat, ALONE)  # refused, were the one place still held
        await asking
    assert cancelled > 6  # before each step, and while the provider was awaited


async def test_calls_that_go_abreast_probe_a_provider_with_one_of_them() -> None:
    works = False

    async def recovering(connection: Connection, request: Request) -> None:
        if works:
            await say_hi(connection, request)
        else:
            await connection.send(whole(500, {"error": {"message": "No."}}))

    async with serve(recovering) as first, serve(say_hi) as second:
        providers = {
            name: {"dialect": "openai", "base_url": server.url} for name, server in (("p", first), ("q", second))
        }
        breaker = {"min_attempts": 1, "rest": "50ms", "probes": 1}
        order = ProviderRouting(order=["p"])
        async with chat_of(providers, {"breaker": breaker}) as chat:
            await chat.complete(asks(provider=order), call())
            assert len(first.requests) == 1
            works = True
            await asyncio.sleep(0.06)
            await asyncio.gather(*[chat.complete(asks(provider=order), call()) for _ in range(20)])
            assert len(first.requests) == 2
            await chat.complete(asks(provider=order), call())
            assert len(first.requests) == 3


MIXED = {
    "content": None,
    "tool_calls": [CLOCK, {**CLOCK, "index": 1, "id": "u", "function": {"name": "f", "arguments": "{}", "sig": "s"}}],
}


async def test_a_client_is_told_of_its_call_as_the_first_whole_or_streamed() -> None:
    """The gateway's own call came before it. What the schema does not know of it is kept, though it came whole."""

    async def answer(connection: Connection, request: Request) -> None:
        choice = {"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", **MIXED}}
        body = {"id": "n", "created": 1, "model": "up", "choices": [choice], "usage": USAGE, "moderation": {"a": 1}}
        await connection.send(whole(200, body))

    tools = [Tool(gateway_datetime=DatetimeTool())]
    async with chat_with(answer) as chat:
        completion = await chat.complete(asks(tools=tools), call())
        chunks = await streamed(chat, asks(tools=tools))
    (whole_call,) = completion.choices[0].message.tool_calls
    (delta,) = [each for chunk in chunks for choice in chunk.choices for each in choice.delta.tool_calls]
    assert [(each.index, each.id, dict(each.function.extra)) for each in (whole_call, delta)] == [
        (0, "u", {"sig": '"s"'}),
        (0, "u", {"sig": '"s"'}),
    ]
    assert {chunk.moderation for chunk in chunks if chunk.HasField("moderation")} == {'{"a":1}'}
