"""Answers that are played from a script within the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest

from service.config import Provider
from service.errors import FailureKind, ProviderFailure
from service.providers.dialect import UpstreamRequest
from service.upstream import CallTimeouts, Response, Script, Step, Upstream

REQUEST = UpstreamRequest("simulator:", {}, b"{}")
PATIENT = CallTimeouts(connect=5, first_event=5, idle=5, total=10)
EVENTS = [Step(0, b"data: a\n\ndata: b\n\n"), Step(0, b"data: "), Step(0, b"c\n\n")]


def upstream(script: Script) -> Upstream:
    return Upstream({"local": Provider(dialect="simulator", max_event_bytes=100)}, {"simulator": lambda _: script})


async def data(response: Response) -> list[list[bytes]]:
    return [[found.data for found in events] async for events in response.events()]


async def test_a_script_is_read_whole() -> None:
    script = Script(429, {"retry-after": "3"}, [Step(0, b"ab"), Step(0.001, b"c")])

    async with upstream(script).send("local", REQUEST, PATIENT) as response:
        assert (response.status, response.headers["retry-after"], await response.read()) == (429, "3", b"abc")


async def test_a_script_is_read_as_events() -> None:
    async with upstream(Script(200, {}, EVENTS)).send("local", REQUEST, PATIENT) as response:
        assert await data(response) == [[b"a", b"b"], [b"c"]]


async def test_the_player_sees_the_request() -> None:
    def play(request: UpstreamRequest) -> Script:
        return Script(200, {}, [Step(0, request.body[::-1])])

    local = Upstream({"local": Provider(dialect="simulator")}, {"simulator": play})

    async with local.send("local", UpstreamRequest("", {}, b"abc"), PATIENT) as response:
        assert await response.read() == b"cba"


async def test_steps_come_after_their_delays() -> None:
    began = time.perf_counter()

    async with upstream(Script(200, {}, [Step(0.05, b"a"), Step(0.05, b"b")])).send("local", REQUEST, PATIENT) as got:
        await got.read()

    assert 0.09 < time.perf_counter() - began < 0.4


async def test_a_cut_script() -> None:
    async with upstream(Script(200, {}, EVENTS, cut=True)).send("local", REQUEST, PATIENT) as response:
        events = response.events()
        assert len(await anext(events)) == 2
        assert len(await anext(events)) == 1
        with pytest.raises(ProviderFailure, match="local broke off") as caught:
            await anext(events)

    assert caught.value.kind is FailureKind.CUT


@pytest.mark.parametrize(
    ("steps", "timeouts", "name"),
    [
        ([Step(9, b"data: a\n\n")], CallTimeouts(5, first_event=0.05, idle=5, total=5), "first_event"),
        ([Step(0, b": ping\n\n"), Step(9, b"data: a\n\n")], CallTimeouts(5, first_event=0.05, idle=5), "first_event"),
        ([*EVENTS, Step(9, b"data: a\n\n")], CallTimeouts(5, first_event=0.5, idle=0.05, total=5), "idle"),
        ([*EVENTS, Step(9, b"data: a\n\n")], CallTimeouts(5, first_event=5, idle=5, total=0.05), "total"),
        ([*EVENTS, Step(9, b"data: a\n\n")], CallTimeouts(5, first_event=5, total=0.05), "total"),
    ],
)
async def test_a_stream_that_takes_too_long(steps: list[Step], timeouts: CallTimeouts, name: str) -> None:
    began = time.perf_counter()

    with pytest.raises(ProviderFailure) as caught:
        async with upstream(Script(200, {}, steps)).send("local", REQUEST, timeouts) as response:
            await data(response)

    assert (caught.value.kind, caught.value.timeout) == (FailureKind.TIMEOUT, name)
    assert 0.04 < time.perf_counter() - began < 0.4


async def test_an_answer_that_takes_too_long() -> None:
    with pytest.raises(ProviderFailure, match=r"local did not answer within 0.05 s \(response timeout\)"):
        async with upstream(Script(200, {}, [Step(9, b"")])).send(
            "local", REQUEST, CallTimeouts(5, response=0.05)
        ) as response:
            await response.read()


async def test_an_event_that_is_too_large() -> None:
    with pytest.raises(ProviderFailure) as caught:
        async with upstream(Script(200, {}, [Step(0, b"data: " + b"x" * 200)])).send(
            "local", REQUEST, PATIENT
        ) as response:
            await data(response)

    assert caught.value.kind is FailureKind.MALFORMED


@pytest.mark.parametrize("delay", [0, 5], ids=["without delays", "in a delay"])
async def test_a_script_can_be_cancelled(delay: float) -> None:
    def endless() -> Iterator[Step]:
        while True:
            yield Step(delay, b"data: a\n\n")

    async def call() -> None:
        async with upstream(Script(200, {}, endless())).send("local", REQUEST, PATIENT) as response:
            await data(response)

    task = asyncio.create_task(call())
    await asyncio.sleep(0.01)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
