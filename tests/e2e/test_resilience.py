"""Providers fail, recover and stall, and workers die, under load: what clients notice of it."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.e2e.calling import Answer, ask, assert_ended_once, client_of, configuration, question, until
from tests.e2e.conftest import StartGateway
from tests.e2e.running import Gateway
from tests.fakes import chat
from tests.fakes.wire import Connection, Request, Server, chunk, head, serve, whole

REQUESTS = int(os.environ.get("RESILIENCE_REQUESTS", "300"))
"""The whole of what the gateway is judged by are 5,000."""
CONCURRENCY = 50
CLIENTS = 20
REST_S = 1.0


async def refuse(connection: Connection) -> None:
    await connection.send(whole(500, {"error": {"message": "engine failure", "type": "server_error"}}))


async def test_no_request_fails_while_one_provider_is_healthy(gateway_of: StartGateway) -> None:
    draw = random.Random(7)

    async def fail_often(connection: Connection, request: Request) -> None:
        await (refuse(connection) if draw.random() < 0.3 else chat.answer(connection, request))

    async def stall_now_and_then(connection: Connection, request: Request) -> None:
        if request.json().get("stream") and draw.random() < 0.05:
            await connection.send(head(200, "text/event-stream", chunked=True))
            await connection.hung_up()
        else:
            await chat.answer(connection, request)

    async with serve(fail_often) as failing, serve(stall_now_and_then) as stalling, serve(chat.answer) as healthy:
        servers = {"failing": failing, "stalling": stalling, "healthy": healthy}
        providers = {
            name: {"base_url": server.url, "timeouts": {"first_event": "1s"}} for name, server in servers.items()
        }
        # The breaker would take the failing provider away: here it is to be asked all the time.
        server = {"workers": 2, "breaker": {"min_attempts": 10**6}}
        gateway = await asyncio.to_thread(gateway_of, configuration(providers, {"m": list(servers)}, server))
        async with client_of(gateway) as client:
            answers = await ask_all(client, [question("m", stream=place % 2 == 0) for place in range(REQUESTS)])
    bad = [answer for answer in answers if (answer.status, answer.text) != (200, chat.TEXT) or answer.error]
    print({name: len(server.requests) for name, server in servers.items()}, len(answers))
    assert bad == []
    for answer in answers:
        assert_ended_once(answer)
    assert len(failing.requests) + len(stalling.requests) + len(healthy.requests) > len(answers)


async def ask_all(client: httpx.AsyncClient, bodies: Sequence[Mapping[str, Any]]) -> Sequence[Answer]:
    """Ask everything, CONCURRENCY at a time."""
    waiting = iter(bodies)

    async def keep_asking() -> list[Answer]:
        return [await ask(client, body) for body in waiting]

    lists = await asyncio.gather(*(keep_asking() for _ in range(CONCURRENCY)))
    return [answer for answers in lists for answer in answers]


async def test_a_provider_that_is_down_is_left_alone_and_taken_back(gateway_of: StartGateway) -> None:
    down = False
    first_moody = question("m", provider={"order": ["moody", "healthy"]})

    async def answer(connection: Connection, request: Request) -> None:
        await (refuse(connection) if down else chat.answer(connection, request))

    async with serve(answer) as moody, serve(chat.answer) as healthy:
        providers = {"moody": {"base_url": moody.url}, "healthy": {"base_url": healthy.url}}
        breaker = {"window": "10s", "min_attempts": 5, "failure_rate": 0.5, "rest": f"{REST_S}s", "probes": 1}
        config = configuration(providers, {"m": ["moody", "healthy"]}, {"breaker": breaker})
        gateway = await asyncio.to_thread(gateway_of, config)
        async with client_of(gateway) as client:
            down = True
            for _ in range(20):
                assert (await ask(client, first_moody)).status == 200
            assert len(moody.requests) == 5
            state = await health_of(client, "moody")
            assert (state["breaker"], state["attempts"], state["failures"]) == ("open", 5, 5)

            asked, ends_at = 0, time.monotonic() + 3 * REST_S
            while time.monotonic() < ends_at:
                answers = await asyncio.gather(*(ask(client, first_moody) for _ in range(4)))
                assert {answer.status for answer in answers} == {200}
                asked += len(answers)
            probes = len(moody.requests) - 5
            print(f"{probes} probes in {3 * REST_S} s and {asked} requests")
            assert 2 <= probes <= 3

            down = False
            recovered_at = time.monotonic()
            # Without a wish of the caller's: that it is due for a probe is enough.
            while (await ask(client, question("m"))).headers["x-gateway-provider"] != "moody":
                assert time.monotonic() < recovered_at + 2 * REST_S
            back_after = time.monotonic() - recovered_at
            print(f"back after {back_after:.2f} s")
            assert back_after < REST_S + 0.5
            served = Counter([(await ask(client, question("m"))).headers["x-gateway-provider"] for _ in range(40)])
            assert min(served["moody"], served["healthy"]) > 5


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
async def test_a_short_deadline_leaves_the_next_provider_its_share(gateway_of: StartGateway, stream: bool) -> None:
    async def stall(connection: Connection, request: Request) -> None:
        await connection.hung_up()

    async with serve(stall) as stalling, serve(chat.answer) as healthy:
        providers = {"stalling": {"base_url": stalling.url}, "healthy": {"base_url": healthy.url}}
        gateway = await asyncio.to_thread(gateway_of, configuration(providers, {"m": list(providers)}))
        async with client_of(gateway) as client:
            body = question("m", stream=stream, provider={"order": ["stalling", "healthy"]})
            answer = await ask(client, body, **{"x-request-timeout": "1"})
    assert (answer.status, answer.text) == (200, chat.TEXT)
    assert answer.headers["x-gateway-attempts"] == "2"
    assert len(stalling.requests) == 1


async def health_of(client: httpx.AsyncClient, provider: str) -> Mapping[str, Any]:
    """Return the health of a provider's only endpoint, as the gateway tells it."""
    (found,) = [each for each in (await client.get("/v1/providers")).json()["data"] if each["id"] == provider]
    (endpoint,) = found["endpoints"]
    return dict(endpoint)


@asynccontextmanager
async def load_on(gateway: Gateway, seconds: float) -> AsyncIterator[dict[str, Answer | str]]:
    """Ask whole answers for some seconds, each with a name of its own; leaving the context waits for all of them."""
    outcomes: dict[str, Answer | str] = {}
    ends_at = time.monotonic() + seconds

    async with client_of(gateway) as client:

        async def keep_asking(who: int) -> None:
            count = 0
            while time.monotonic() < ends_at:
                name = f"{who}-{count}"
                count += 1
                try:
                    outcomes[name] = await ask(client, question("m", name))
                except httpx.TransportError as error:
                    outcomes[name] = repr(error)
                    await asyncio.sleep(0.05)

        asking = [asyncio.ensure_future(keep_asking(who)) for who in range(CLIENTS)]
        yield outcomes
        await asyncio.gather(*asking)


async def slowly(connection: Connection, request: Request) -> None:
    await asyncio.sleep(0.05)
    await chat.answer(connection, request)


def asked_of(provider: Server) -> set[str]:
    """Return the names of the requests that reached a provider."""
    return {request.json()["messages"][0]["content"] for request in provider.requests}


async def test_a_killed_worker_loses_only_what_it_had_sent(gateway_of: StartGateway) -> None:
    async with serve(slowly) as provider:
        config = configuration({"p": {"base_url": provider.url}}, {"m": ["p"]}, {"workers": 2})
        gateway = await asyncio.to_thread(gateway_of, config)
        async with load_on(gateway, 4) as outcomes:
            await asyncio.sleep(1.5)
            os.kill(next(iter(gateway.workers.values())), signal.SIGKILL)
    lost = {name for name, outcome in outcomes.items() if isinstance(outcome, str) or outcome.status != 200}
    print(f"kill -9: {len(outcomes) - len(lost)} finished, {len(lost)} lost, which had reached the provider")
    assert lost <= asked_of(provider)
    assert len(lost) <= CLIENTS
    # One that was asked twice would be two requests of one name.
    assert len(asked_of(provider)) == len(provider.requests)


async def test_streams_of_a_killed_worker_do_not_look_whole(gateway_of: StartGateway) -> None:
    async def speak_slowly(connection: Connection, request: Request) -> None:
        await connection.send(head(200, "text/event-stream", chunked=True) + chunk(chat.opening()))
        for _ in range(30):
            await connection.send(chunk(chat.content("word ")))
            await asyncio.sleep(0.05)
        await connection.send(chunk(chat.terminal()) + chunk(b""))

    async with serve(speak_slowly) as provider:
        config = configuration({"p": {"base_url": provider.url}}, {"m": ["p"]}, {"workers": 2})
        gateway = await asyncio.to_thread(gateway_of, config)
        async with client_of(gateway) as client:
            # Envoy balances over connections that stand; before, it draws lots.
            await ask_all(client, [question("no such model") for _ in range(40)])
            asking = [asyncio.ensure_future(ask(client, question("m", stream=True))) for _ in range(20)]
            await until(lambda: len(provider.requests) == 20)
            await asyncio.sleep(0.5)
            os.kill(next(iter(gateway.workers.values())), signal.SIGKILL)
            answers = await asyncio.gather(*asking, return_exceptions=True)
    whole_ones = [answer for answer in answers if isinstance(answer, Answer)]
    assert 5 <= len(whole_ones) <= 15
    assert all(answer.done for answer in whole_ones)
    assert {type(answer) for answer in answers if not isinstance(answer, Answer)} == {httpx.RemoteProtocolError}


async def test_sigterm_under_load_finishes_what_was_taken_and_sends_the_rest_away(gateway_of: StartGateway) -> None:
    async with serve(slowly) as provider:
        config = configuration({"p": {"base_url": provider.url}}, {"m": ["p"]}, {"workers": 2})
        gateway = await asyncio.to_thread(gateway_of, config)
        async with load_on(gateway, 2.5) as outcomes:
            await asyncio.sleep(1.5)
            before = set(outcomes)
            gateway.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(gateway.process.wait, 20) == 0
    answers = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Answer)}
    refused = {name for name, answer in answers.items() if answer.status == 503}
    broken = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, str)}
    print(f"SIGTERM: {len(answers) - len(refused)} finished, {len(refused)} sent away, {len(broken)} found nobody")
    assert {answer.status for answer in answers.values()} <= {200, 503}
    assert all(int(answers[name].headers["retry-after"]) >= 1 for name in refused)
    # What had reached the provider has its answer; who came after Envoy had gone found nobody.
    assert asked_of(provider) == {name for name, answer in answers.items() if answer.status == 200}
    assert before <= set(answers)
