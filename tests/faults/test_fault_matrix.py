"""Every fault of a provider, through a real Envoy: what the client reads, alone and with another provider behind it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import trustme

from tests.e2e.calling import Answer, ask, assert_ended_once, client_of, configuration, question
from tests.e2e.conftest import StartGateway
from tests.e2e.running import start_gateway
from tests.fakes import chat
from tests.fakes.wire import Connection, Request, refusing_port, serve, whole
from tests.faults.misbehaviour import CONNECTION, FAULTS, LATE, Broken, Fault, Good, Told, settings_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

Converse = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
MODES: Mapping[str, bool] = {"unary": False, "streamed": True}
MISBEHAVE = "Misbehave"
BEHAVE = "Behave"


async def unreached(connection: Connection, streamed: bool) -> None:
    raise AssertionError("the gateway reached a provider that it cannot talk to")


# What happens before there is a connection for a provider to misbehave on.
UNREACHABLE: Mapping[str, Fault] = {
    "connection_refused": Fault(unreached, CONNECTION, CONNECTION),
    "untrusted_certificate": Fault(unreached, CONNECTION, CONNECTION),
    "plain_text_for_tls": Fault(unreached, CONNECTION, CONNECTION),
}
CASES: Mapping[str, Fault] = {**UNREACHABLE, **FAULTS}


@dataclass(frozen=True, slots=True)
class Place:
    """A gateway with two models for each fault and mode: `alone/...` has one provider, `rescued/...` two."""

    client: httpx.AsyncClient


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(short_dir: Callable[[], Path]) -> AsyncIterator[Place]:
    """Run a gateway in front of one provider for each fault."""
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(stranger)
    async with AsyncExitStack() as stack:
        faulty = await stack.enter_async_context(serve(misbehave))
        untrusted = await stack.enter_async_context(serve(misbehave, stranger))
        plain = await stack.enter_async_context(await asyncio.start_server(speak_plainly, "127.0.0.1", 0))
        urls = {fault: f"{faulty.url}/{fault}" for fault in FAULTS} | {
            "connection_refused": f"http://127.0.0.1:{refusing_port()}",
            "untrusted_certificate": untrusted.url,
            "plain_text_for_tls": f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}",
        }
        providers = {name: settings_of(url) for name, url in urls.items()} | {"healthy": settings_of(faulty.url)}
        # Of each mode's own, and without a breaker: each test is to find its provider as the others did.
        models = {
            f"{kind}/{name}/{mode}": [name, *behind]
            for name in CASES
            for mode in MODES
            for kind, behind in (("alone", ()), ("rescued", ("healthy",)))
        }
        server = {"breaker": {"min_attempts": 10_000}}
        gateway = await asyncio.to_thread(start_gateway, short_dir(), configuration(providers, models, server))
        client = await stack.enter_async_context(client_of(gateway))
        yield Place(client)
        assert await asyncio.to_thread(gateway.stop) == 0
        noise = ('"level":"error"', '"logger":', "Traceback")
        assert [line for line in gateway.log.splitlines() if any(mark in line for mark in noise)] == []


async def speak_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer a TLS greeting as a server without TLS does."""
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    writer.close()


async def misbehave(connection: Connection, request: Request) -> None:
    """Do as the path says, if the message asks for it."""
    fault, body = request.target.split("/")[1], request.json()
    if fault in FAULTS and body["messages"][0]["content"] == MISBEHAVE:
        await FAULTS[fault].behave(connection, bool(body.get("stream")))
    else:
        await chat.answer(connection, request)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CASES)
async def test_what_the_client_reads(place: Place, name: str, mode: str) -> None:
    stream = MODES[mode]
    expected = CASES[name].streamed if stream else CASES[name].unary
    alone, rescued = await asyncio.gather(
        ask(place.client, question(f"alone/{name}/{mode}", MISBEHAVE, stream=stream)),
        ask(
            place.client,
            question(
                f"rescued/{name}/{mode}", MISBEHAVE, stream=stream, meta=True, provider={"order": [name, "healthy"]}
            ),
        ),
    )
    match expected:
        case Good():
            assert_good(alone, name)
            assert_good(rescued, name)
        case Broken():
            # After the first content there is no going back: both clients read the same.
            assert_broken(alone, expected, name)
            assert_broken(rescued, expected, name)
        case Told():
            assert_told(alone, expected, name)
            assert_good(rescued, "healthy")
            assert expected.outcome in outcomes_of(rescued)
    if name in FAULTS:
        assert_good(await ask(place.client, question(f"alone/{name}/{mode}", BEHAVE, stream=stream)), name)


def assert_good(answer: Answer, provider: str) -> None:
    assert answer.error is None
    assert (answer.status, answer.text, list(answer.finish_reasons)) == (200, chat.TEXT, ["stop"])
    assert_ended_once(answer)
    assert (answer.body or answer.chunks[-1])["provider"] == provider


def assert_told(answer: Answer, expected: Told, provider: str) -> None:
    error = answer.error
    assert error is not None
    assert answer.body is not None, "an error before the first event is JSON"
    detail = error["details"][-1]
    told = Told(answer.status, error["code"], detail["outcome"])
    assert told == expected, error
    assert detail["provider"] == provider
    assert provider in error["message"]
    assert error["type"] == ("rate_limit_error" if answer.status == 429 else "upstream_error")
    assert error["generation_id"] == answer.headers["x-generation-id"]
    assert ("retry-after" in answer.headers) == (answer.status == 429)


def assert_broken(answer: Answer, expected: Broken, provider: str) -> None:
    error = answer.error
    assert error is not None
    assert answer.status == 200
    assert answer.text.startswith(("Hello", "and so on"))
    assert Broken(error["code"], error["details"][-1]["outcome"]) == expected, error
    assert error["details"][-1]["provider"] == provider
    assert_ended_once(answer)


def outcomes_of(answer: Answer) -> list[str]:
    said = answer.body or next(chunk for chunk in answer.chunks if "meta" in chunk)
    return [attempt["outcome"] for attempt in said["meta"]["attempts"]]


LARGE = "x" * (12 * 1024 * 1024)
"""More than sockets hold, so that it matters whether a provider reads it."""


async def read_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await writer.wait_closed()


async def refuse_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer when the head has come, and linger a little, as proxies do with bodies that are too large for them."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(whole(413, {"error": {"message": "too large", "type": "invalid_request_error"}}))
    await asyncio.sleep(0.2)
    writer.close()


async def close_early(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.close()


UNREAD: Mapping[str, tuple[Converse, Told]] = {
    "read_nothing": (read_nothing, LATE),
    "refuse_early": (refuse_early, Told(413, "upstream_rejected", "rejected")),
    "close_early": (close_early, CONNECTION),
}


@pytest.mark.parametrize("mode", MODES)
async def test_a_large_request_that_is_not_read(gateway_of: StartGateway, mode: str) -> None:
    async with AsyncExitStack() as stack:
        listeners = {
            name: await stack.enter_async_context(await asyncio.start_server(converse, "127.0.0.1", 0))
            for name, (converse, _) in UNREAD.items()
        }
        providers = {
            name: settings_of(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
            for name, listener in listeners.items()
        }
        config = configuration(providers, {name: [name] for name in UNREAD})
        gateway = await asyncio.to_thread(gateway_of, config)
        async with client_of(gateway) as client:
            for name, (_, expected) in UNREAD.items():
                answer = await ask(client, question(name, LARGE, stream=MODES[mode]))
                assert answer.error is not None
                detail = answer.error["details"][-1]
                assert Told(answer.status, answer.error["code"], detail["outcome"]) == expected, name
                assert detail["provider"] == name
