"""A worker that is killed: what had not reached a provider is answered by another one, what had is not sent twice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_service_pb2_grpc import ChatCompletionServiceStub
from gateway.v1.content_pb2 import ChatMessage, Role

from tests.e2e.calling import CHAT, KEY, ask, client_of, configuration, question, until
from tests.e2e.conftest import StartGateway
from tests.e2e.running import Envoy, Replica, start_envoy, start_replica
from tests.fakes import chat
from tests.fakes.wire import Connection, Request, Server, serve

BELOW_ENVOYS_LIMIT = 3 * 1024 * 1024
ABOVE_IT = 5 * 1024 * 1024


def asked(provider: Server) -> Counter[str]:
    """Return how often each request, known by its text, reached a provider."""
    return Counter(request.json()["messages"][0]["content"].strip() for request in provider.requests)


async def slowly(connection: Connection, request: Request) -> None:
    await asyncio.sleep(0.05)
    await chat.answer(connection, request)


def one_provider(provider: Server, workers: int = 2) -> str:
    return configuration({"p": {"base_url": provider.url}}, {"m": ["p"]}, {"workers": workers})


@pytest.mark.parametrize("padding", [0, BELOW_ENVOYS_LIMIT])
@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_killed_worker_had_not_read_is_answered_by_another(
    gateway_of: StartGateway, padding: int, stream: bool
) -> None:
    async with serve(slowly) as provider:
        gateway = await asyncio.to_thread(gateway_of, one_provider(provider))
        victim = next(iter(gateway.workers.values()))
        async with client_of(gateway) as client:
            os.kill(victim, signal.SIGSTOP)
            names = [str(number) for number in range(8 if padding else 20)]
            asking = [
                asyncio.ensure_future(ask(client, question("m", n + " " * padding, stream=stream))) for n in names
            ]
            # Those that wait now lie unread in the socket of the worker that stands still.
            await asyncio.sleep(0.8)
            waiting = [each for each in asking if not each.done()]
            os.kill(victim, signal.SIGKILL)
            answers = await asyncio.gather(*asking)
    assert waiting
    assert [(answer.status, answer.text) for answer in answers] == [(200, chat.TEXT)] * len(names)
    assert asked(provider) == Counter(names)


async def test_what_envoy_does_not_keep_is_not_repeated(gateway_of: StartGateway) -> None:
    async with serve(slowly) as provider:
        gateway = await asyncio.to_thread(gateway_of, one_provider(provider, workers=1))
        (victim,) = gateway.workers.values()
        async with client_of(gateway) as client:
            os.kill(victim, signal.SIGSTOP)
            asking = asyncio.ensure_future(ask(client, question("m", "x" * ABOVE_IT)))
            await asyncio.sleep(0.8)
            os.kill(victim, signal.SIGKILL)
            answer = await asking
    assert (answer.status, answer.error and answer.error["code"]) == (503, "overloaded")
    assert not provider.requests


@asynccontextmanager
async def provider_that_waits() -> AsyncIterator[tuple[Server, asyncio.Event]]:
    """Serve a provider that takes requests and answers once the event is set."""
    answers = asyncio.Event()

    async def wait(connection: Connection, request: Request) -> None:
        await answers.wait()
        await chat.answer(connection, request)

    async with serve(wait) as provider:
        yield provider, answers


@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_killed_worker_had_sent_is_not_sent_twice(gateway_of: StartGateway, stream: bool) -> None:
    names = [str(number) for number in range(8)]
    async with provider_that_waits() as (provider, answers):
        gateway = await asyncio.to_thread(gateway_of, one_provider(provider))
        async with client_of(gateway) as client:
            # Ids that clients send, here one for all, decide nothing.
            same = {"x-request-id": "mine"}
            asking = [asyncio.ensure_future(ask(client, question("m", n, stream=stream), **same)) for n in names]
            await until(lambda: len(provider.requests) == len(names))
            os.kill(next(iter(gateway.workers.values())), signal.SIGKILL)
            await until(lambda: any(each.done() for each in asking))
            refused = [each.result() for each in asking if each.done()]
            answers.set()
            everything = await asyncio.gather(*asking)
    assert asked(provider) == Counter(names)
    assert 0 < len(refused) < len(names)
    for answer in (answer for answer in everything if answer.status != 200):
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "x-gateway-refused" not in answer.headers
        assert answer.error
        assert answer.error["code"] == "overloaded"
        assert "had sent it to a provider" in answer.error["message"]


async def test_grpc_through_envoy_likewise(gateway_of: StartGateway) -> None:
    names = [str(number) for number in range(8)]
    async with provider_that_waits() as (provider, answers):
        gateway = await asyncio.to_thread(gateway_of, one_provider(provider))
        async with grpc.aio.insecure_channel(gateway.url.removeprefix("http://")) as channel:
            stub = ChatCompletionServiceStub(channel)
            metadata = (("authorization", f"Bearer {KEY}"),)

            async def call(name: str) -> str:
                message = ChatMessage(role=Role.ROLE_USER, text=name)
                request = CreateChatCompletionRequest(model="m", messages=[message])
                try:
                    completion = await stub.CreateChatCompletion(request, metadata=metadata, timeout=20)
                except grpc.aio.AioRpcError as error:
                    return f"{error.code().name}: {error.details()}"
                return str(completion.choices[0].message.content)

            victim = next(iter(gateway.workers.values()))
            sent = [asyncio.ensure_future(call(name)) for name in names]
            await until(lambda: len(provider.requests) == len(names))
            os.kill(victim, signal.SIGSTOP)
            unread = [asyncio.ensure_future(call(f"unread {name}")) for name in names]
            await asyncio.sleep(0.5)
            os.kill(victim, signal.SIGKILL)
            await until(lambda: any(each.done() for each in sent))
            answers.set()
            assert await asyncio.gather(*unread) == [chat.TEXT] * len(names)
            told = Counter(await asyncio.gather(*sent))
    assert max(asked(provider).values()) == 1
    assert 0 < told.pop(chat.TEXT) < len(names)
    assert all(text.startswith("UNAVAILABLE: ") and "had sent it to a provider" in text for text in told)


def test_neither_the_count_nor_the_name_of_a_call_is_the_clients_to_say(envoy: Envoy) -> None:
    forged = {"x-envoy-attempt-count": "7", "x-gateway-call": "mine", "x-request-id": "mine"}
    calls = [httpx.post(f"{envoy.url}{CHAT}", content=b"x", headers=forged).json()["metadata"] for _ in range(2)]
    assert [call["x-envoy-attempt-count"] for call in calls] == ["1", "1"]
    assert len({"mine", *(call["x-gateway-call"] for call in calls)}) == 3


@pytest.fixture
def replicas_of(short_dir: Callable[[], Path]) -> Iterator[Callable[[str, Mapping[str, str]], Sequence[Replica]]]:
    """Start two replicas with a configuration and environment of the test's own."""
    running: list[Replica] = []

    def start(config: str, environ: Mapping[str, str]) -> Sequence[Replica]:
        for _ in range(2):
            running.append(start_replica(short_dir(), config, environ))
        return running

    yield start
    for one in running:
        one.process.kill()
        one.process.wait()


StartReplicas = Callable[[str, Mapping[str, str]], Sequence[Replica]]


@asynccontextmanager
async def envoy_before(ports: Sequence[int], folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Run Envoy before workers, and give a client of it."""
    envoy = await asyncio.to_thread(start_envoy, folder, ports)
    try:
        headers = {"authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=envoy.url, headers=headers, timeout=20) as client:
            yield client
    finally:
        envoy.process.kill()
        envoy.process.wait()


@pytest.mark.parametrize("shared", [True, False])
async def test_replicas_that_share_no_directory_refuse_what_is_repeated(
    replicas_of: StartReplicas, short_dir: Callable[[], Path], shared: bool
) -> None:
    names = [str(number) for number in range(8)]
    environ = {"GATEWAY_SENT_DIR": str(short_dir() / "sent")} if shared else {}
    async with serve(slowly) as provider:
        replicas = await asyncio.to_thread(replicas_of, one_provider(provider), environ)
        async with envoy_before([each.port for each in replicas], short_dir()) as client:
            victim = replicas[0].worker
            os.kill(victim, signal.SIGSTOP)
            asking = [asyncio.ensure_future(client.post(CHAT, json=question("m", name))) for name in names]
            await asyncio.sleep(0.8)
            waited = [not each.done() for each in asking]
            os.kill(victim, signal.SIGKILL)
            answers = await asyncio.gather(*asking)
    assert any(waited)
    if shared:
        assert {answer.status_code for answer in answers} == {200}
        assert asked(provider) == Counter(names)
        return
    assert [answer.status_code for answer in answers] == [503 if each else 200 for each in waited]
    assert max(asked(provider).values()) == 1
    for answer in (answer for answer in answers if answer.status_code == 503):
        assert answer.headers["retry-after"] == "1"
        assert "GATEWAY_SENT_DIR" in answer.json()["error"]["message"]


class Relay:
    """Passes bytes on to a port, until `cut` ends its clients' connections: the server does not hear of it."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._clients: list[asyncio.StreamWriter] = []
        self._servers: list[asyncio.StreamWriter] = []
        self._passing: list[asyncio.Task[None]] = []
        self.is_cut = False

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        if self.is_cut:
            writer.close()
            return
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._to)
        self._clients.append(writer)
        self._servers.append(to_server)
        self._passing += [
            asyncio.ensure_future(self._pass(reader, to_server)),
            asyncio.ensure_future(self._pass(from_server, writer)),
        ]

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)

    def cut(self) -> None:
        """End the clients' connections, and take no more."""
        self.is_cut = True
        for client in self._clients:
            client.transport.abort()

    def close(self) -> None:
        """End everything."""
        for task in self._passing:
            task.cancel()
        for writer in (*self._clients, *self._servers):
            writer.transport.abort()


async def test_a_worker_that_envoy_has_lost_and_that_lives_does_not_send_what_another_one_has(
    replicas_of: StartReplicas, short_dir: Callable[[], Path]
) -> None:
    names = [str(number) for number in range(8)]
    async with serve(slowly) as provider:
        environ = {"GATEWAY_SENT_DIR": str(short_dir() / "sent")}
        cut_off, other = await asyncio.to_thread(replicas_of, one_provider(provider), environ)
        relay = Relay(cut_off.port)
        listener = await asyncio.start_server(relay.accept, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        try:
            async with envoy_before([port, other.port], short_dir()) as client:
                os.kill(cut_off.worker, signal.SIGSTOP)
                asking = [asyncio.ensure_future(client.post(CHAT, json=question("m", name))) for name in names]
                await asyncio.sleep(0.8)
                assert any(not each.done() for each in asking)
                relay.cut()
                answers = await asyncio.gather(*asking)
                os.kill(cut_off.worker, signal.SIGCONT)
                await asyncio.sleep(0.8)
        finally:
            relay.close()
            listener.close()
    assert {answer.status_code for answer in answers} == {200}
    assert asked(provider) == Counter(names)
