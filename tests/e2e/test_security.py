"""What must not leak, what must not be believed, and TLS on both sides."""

from __future__ import annotations

import asyncio
import datetime
import json
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import h2.config
import h2.connection
import h2.events
import httpx
import pytest
import pytest_asyncio
import trustme
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_service_pb2_grpc import ChatCompletionServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.calling import CHAT, KEY, Answer, ask, client_of, configuration, question
from tests.e2e.conftest import StartGateway
from tests.e2e.hanging_up import grpc_call
from tests.e2e.running import Gateway, start_gateway
from tests.fakes import chat
from tests.fakes.wire import Connection, Request, Server, serve, whole

pytestmark = pytest.mark.asyncio(loop_scope="module")

GRPC_CHAT = "/gateway.v1.ChatCompletionService/CreateChatCompletion"
PROVIDER_KEY = "planted/provider+key 7f3a"
PROMPT = "planted-prompt-5d1c"
SAID = "planted-answer-9b2e"
INJECTED = "bad\r\nx-injected: 1\r\n\r\nHTTP/1.1 200 OK\r\n\u2028é\x00"
# Every message that a provider may be asked to fail with, and what it says then.
TROUBLES: Mapping[str, bytes] = {
    "rejects": whole(400, {"error": {"message": f"no {PROVIDER_KEY} {PROMPT}", "type": "invalid_request_error"}}),
    "refuses": whole(401, {"error": {"message": f"Incorrect API key: {PROVIDER_KEY}", "code": "invalid_api_key"}}),
    "breaks": whole(500, f"<html>{PROVIDER_KEY} {PROMPT}</html>".encode(), content_type="text/html"),
    "babbles": whole(200, f'{{"choices": [{{"message": "{SAID} {PROMPT} {PROVIDER_KEY}"'.encode()),
    "injects": whole(400, {"error": {"message": INJECTED, "code": INJECTED, "param": INJECTED}}, "Retry-After: 5;x"),
    "pretends": whole(
        200,
        chat.answer_body(),
        "x-http-status: 418",
        "x-gateway-refused: 1",
        "x-generation-id: evil",
        "Set-Cookie: a=b",
    ),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A gateway that logs all it can, and its provider."""

    gateway: Gateway
    provider: Server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(short_dir: Callable[[], Path]) -> AsyncIterator[Scene]:
    """Run the gateway."""

    async def answer(connection: Connection, request: Request) -> None:
        trouble = TROUBLES.get(request.json()["messages"][0]["content"].split()[0])
        await (chat.answer(connection, request) if trouble is None else connection.send(trouble))

    async with serve(answer) as provider:
        provider_settings = {"base_url": provider.url, "api_key": PROVIDER_KEY}
        config = configuration({"p": provider_settings}, {"m": ["p"]})
        gateway = await asyncio.to_thread(start_gateway, short_dir(), config, {"GATEWAY_LOG": "debug"})
        yield Scene(gateway, provider)
        assert await asyncio.to_thread(gateway.stop) == 0


async def test_no_secret_and_no_prompt_is_logged(scene: Scene) -> None:
    seen = ""
    async with client_of(scene.gateway) as client:
        for trouble in ("fine", *TROUBLES):
            for stream in (False, True):
                body = question(
                    "m",
                    f"{trouble} {PROMPT}",
                    stream=stream,
                    meta=True,
                    user=PROMPT[:5],
                    debug={"trace": "full", "return_upstream_request": True, "return_upstream_response": True},
                )
                seen += str((await client.post(CHAT, json=body)).text)
        for odd in (f'{{"model": "{PROMPT}', f'{{"model": "m", "messages": "{PROMPT}"}}', f'{{"{PROMPT}": 1}}'):
            await client.post(CHAT, content=odd)
        await client.post(f"{CHAT}?api_key={PROMPT}", json=question("m"), headers={"authorization": f"Bearer {PROMPT}"})
        async with grpc_call(scene.gateway, question("m", f"rejects {PROMPT}")) as asked:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await asked.first_message()
    assert PROVIDER_KEY not in seen + str(caught.value)
    await asyncio.sleep(1.2)  # Envoy writes its log once a second
    logs = scene.gateway.log + "".join(
        (scene.gateway.run_dir / f"{name}.log").read_text() for name in ("access", "envoy")
    )
    assert logs.count("chatcmpl-") > 20
    for secret in (PROVIDER_KEY, KEY, PROMPT, SAID, chat.TEXT):
        assert secret not in logs, secret


@pytest.mark.parametrize("stream", [False, True], ids=["unary", "streamed"])
async def test_a_providers_error_text_cannot_become_a_header(scene: Scene, stream: bool) -> None:
    async with client_of(scene.gateway) as client:
        response = await client.post(CHAT, json=question("m", "injects", stream=stream))
        assert response.status_code == 400
        assert "x-injected" not in response.headers
        assert response.json()["error"]["message"] == INJECTED
    async with grpc_call(scene.gateway, question("m", "injects", stream=stream)) as asked:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await asked.first_message()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "x-injected" not in dict(caught.value.trailing_metadata() or ())


async def test_a_providers_headers_are_not_the_gateways(scene: Scene) -> None:
    async with client_of(scene.gateway) as client:
        answer = await ask(client, question("m", "pretends"))
    assert (answer.status, answer.text) == (200, chat.TEXT)
    assert answer.headers["x-generation-id"].startswith("chatcmpl-")
    for name in ("x-http-status", "x-gateway-refused", "set-cookie"):
        assert name not in answer.headers


FORGED = {
    "x-http-status": "418",
    "x-generation-id": "evil",
    "x-gateway-provider": "evil",
    "x-gateway-refused": "1",
    "x-error-body-bin": "ZXZpbA==",
    "x-envoy-retry-on": "5xx",
    "x-envoy-upstream-rq-timeout-ms": "1",
    "x-envoy-immediate-health-check-fail": "1",
    "grpc-timeout": "1n",
    "connection": "x-hop",
    "x-hop": "1",
    "keep-alive": "timeout=1",
    "proxy-authorization": "Basic ZXZpbA==",
    "cookie": "a=b",
    "x-api-key": "evil",
    "content-encoding": "identity",
}


async def test_a_clients_headers_are_neither_believed_nor_passed_on(scene: Scene) -> None:
    async with client_of(scene.gateway) as client:
        answer = await ask(client, question("m"), **FORGED)
        assert (await client.get("/v1/models", headers=FORGED)).status_code == 200
    assert (answer.status, answer.text) == (200, chat.TEXT)
    assert answer.headers["x-gateway-provider"] == "p"
    assert answer.headers["x-generation-id"] != "evil"
    assert "x-http-status" not in answer.headers
    request = scene.provider.requests[-1]
    assert request.headers["authorization"] == f"Bearer {PROVIDER_KEY}"
    known = {"host", "user-agent", "accept", "accept-encoding", "content-type", "content-length", "authorization"}
    assert set(request.headers) <= known


@pytest.mark.parametrize(
    "value", ["abc", "-1", "0", "nan", "inf", "-inf", "1e999", "1;2", "0x10", "1_0", "\u0661", "5s", "9" * 400]
)
async def test_a_request_timeout_that_is_none(scene: Scene, value: str) -> None:
    async with client_of(scene.gateway) as client:
        headers = {b"x-request-timeout": value.encode()}
        response = await client.post(CHAT, json=question("m"), headers=headers)
        error = response.json()["error"]
        assert (response.status_code, error["code"], error["param"]) == (400, "invalid_value", "x-request-timeout")
        assert (await ask(client, question("m"), **{"x-request-timeout": "2.5"})).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {b"x-request-id": b"caf\xc3\xa9"},
        {b"x-odd": b"\xff\xfe"},
        {b"authorization": b"Bearer sk-\xc3\xa9"},
        {b"authorization": b"Bearer \xff\xff"},
        {b"user-agent": b"\xf0\x9f\x98\x80"},
        {b"x-long": b"x" * 8000},
    ],
)
async def test_odd_headers_are_answered_like_any_request(scene: Scene, headers: Mapping[bytes, bytes]) -> None:
    async with client_of(scene.gateway) as client:
        response = await client.post(CHAT, json=question("m"), headers=dict(headers))
        assert response.status_code in (200, 400, 401), response.text
        if response.status_code != 200:
            assert response.json()["error"]["type"] in ("invalid_request_error", "authentication_error")
        assert (await ask(client, question("m"))).status == 200


@pytest.mark.parametrize(("name", "value"), [("grpc-timeout", "abc"), ("grpc-encoding", "br"), ("x-a-bin", "!!!")])
async def test_a_header_that_cannot_be_read_is_nobody_elses(scene: Scene, name: str, value: str) -> None:
    """Envoy sends everybody's calls to a worker on one connection, whose table of headers is shared by all of them."""
    host, _, port = scene.gateway.url.removeprefix("http://").partition(":")
    for _ in range(3):
        reader, writer = await asyncio.open_connection(host, int(port))
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        connection.initiate_connection()
        pseudo = ((":method", "POST"), (":path", GRPC_CHAT), (":scheme", "http"), (":authority", "gateway"))
        fields = (("te", "trailers"), ("content-type", "application/grpc"), (name, value))
        connection.send_headers(1, (*pseudo, *fields), end_stream=True)
        writer.write(connection.data_to_send())
        ended = False
        while not ended:
            events = connection.receive_data(await reader.read(65536))
            ended = any(isinstance(event, h2.events.StreamEnded) for event in events)
        writer.close()
    for _ in range(20):
        async with grpc_call(scene.gateway, question("m"), timeout_s=20) as asked:
            assert await asked.first_message()


async def test_compressed_messages_are_not_taken(scene: Scene) -> None:
    """A few kilobytes may be many megabytes."""
    request = CreateChatCompletionRequest(model="m", messages=[{"role": "ROLE_USER", "text": "a" * 1000}])  # type: ignore[list-item]
    address = scene.gateway.url.removeprefix("http://")
    async with grpc.aio.insecure_channel(address, compression=grpc.Compression.Gzip) as channel:
        ask_typed = ChatCompletionServiceStub(channel).CreateChatCompletion
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ask_typed(request, metadata=(("authorization", f"Bearer {KEY}"),))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_header_that_is_not_in_utf_8_is_not_logged(scene: Scene) -> None:
    async with client_of(scene.gateway) as client:
        await client.post(CHAT, json=question("m"), headers={b"cookie": b"session=plant\xe9d-secret"})
        await client.post(CHAT, json=question("m"), headers={b"authorization": b"Bearer plant\xe9d-secret"})
    assert "d-secret" not in scene.gateway.log


async def test_a_line_is_json_and_a_callers_id_in_it_short(scene: Scene) -> None:
    """Long lines may be mixed with other workers'."""
    async with client_of(scene.gateway) as client:
        fields: dict[str, Any] = {
            "user": "u" * 5000,
            "session_id": "s" * 256,
            "metadata": {str(n): "v" * 512 for n in range(16)},
        }
        await client.post(CHAT, json=question("m", **fields), headers={"x-request-id": "r" * 20_000})
        await client.post(CHAT, json=question("m" * 20_000))
    await asyncio.sleep(0.2)
    lines = scene.gateway.log.rstrip("\n").split("\n")  # not at U+2028, which JSON may have
    assert all(isinstance(json.loads(line), dict) for line in lines)
    assert any("r" * 200 in line for line in lines)
    assert "r" * 201 not in scene.gateway.log


@pytest.mark.parametrize("http2", [False, True])
async def test_without_a_key_a_large_body_is_refused_like_a_small_one(scene: Scene, http2: bool) -> None:
    async with httpx.AsyncClient(base_url=scene.gateway.url, http1=not http2, http2=http2, timeout=30) as client:
        answers = [await client.post(CHAT, content=b"a" * size) for size in (10, 31 * 1024 * 1024)]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].headers.keys() == answers[1].headers.keys()
    assert answers[1].headers["www-authenticate"] == "Bearer"
    assert answers[1].headers["x-generation-id"] == answers[1].json()["error"]["generation_id"]
    errors = [{**answer.json()["error"], "generation_id": ""} for answer in answers]
    assert errors[0] == errors[1]
    assert errors[1]["code"] == "invalid_api_key"


@pytest_asyncio.fixture
async def local(gateway_of: StartGateway) -> Gateway:
    """A gateway as it is without a configuration, with the key that everybody knows."""
    return await asyncio.to_thread(gateway_of, None)


@pytest.mark.parametrize("http2", [False, True])
async def test_with_a_known_key_only_names_of_loopback_are_served(local: Gateway, http2: bool) -> None:
    async with client_of(local, "sk-local", http2=http2) as client:
        for host in ("localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:9", "[::1]", "[::1]:8080"):
            assert (await client.get("/v1/models", headers={"host": host})).status_code == 200, host
        for host in ("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "[::2]"):
            for path in ("/v1/models", "/healthz", "/nowhere"):
                response = await client.get(path, headers={"host": host})
                error = response.json()["error"]
                assert (response.status_code, error["type"]) == (421, "invalid_request_error"), host
                assert (error["code"], error["request_id"]) == ("wrong_host", response.headers["x-request-id"])


async def test_over_grpc_likewise(local: Gateway) -> None:
    async def is_serving(name: str) -> bool:
        options = (("grpc.default_authority", name),)
        async with grpc.aio.insecure_channel(local.url.removeprefix("http://"), options) as channel:
            checks: Any = health_pb2_grpc.HealthStub(channel)  # the stubs' methods are made at run time
            answer = await checks.Check(health_pb2.HealthCheckRequest())
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    assert await is_serving("localhost:8080")
    with pytest.raises(grpc.aio.AioRpcError, match="Host"):
        await is_serving("evil.example")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
async def test_with_keys_of_its_own_a_gateway_serves_all_names(gateway_of: StartGateway, host: str) -> None:
    """A proxy on the same machine may pass on the name that its clients know."""
    async with serve(chat.answer) as provider:
        config = configuration({"p": {"base_url": provider.url}}, {"m": ["p"]})
        gateway = await asyncio.to_thread(gateway_of, config, {"HTTP_HOST": host})
        async with client_of(gateway) as client:
            assert (await ask(client, question("m"), host="gateway.example")).status == 200


async def test_urls_in_messages_are_passed_on_and_never_fetched(scene: Scene) -> None:
    async with serve(chat.answer) as elsewhere:
        url = f"{elsewhere.url}/picture.png"
        content = [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": url}}]
        async with client_of(scene.gateway) as client:
            body = {
                "model": "m",
                "messages": [{"role": "assistant", "content": "Go on."}, {"role": "user", "content": content}],
            }
            answer = await ask(client, body)
        assert answer.status == 200
        assert url in scene.provider.requests[-1].body.decode()
        assert elsewhere.connections == []


TRUSTED = trustme.CA()
NOW = datetime.datetime.now(datetime.UTC)
CERTIFICATES: Mapping[str, tuple[Callable[[], trustme.LeafCert], bool]] = {
    "of the authority": (lambda: TRUSTED.issue_cert("127.0.0.1"), True),
    "of another authority": (lambda: trustme.CA().issue_cert("127.0.0.1"), False),
    "for another host": (lambda: TRUSTED.issue_cert("provider.example"), False),
    "expired": (
        lambda: TRUSTED.issue_cert(
            "127.0.0.1", not_before=NOW - datetime.timedelta(days=2), not_after=NOW - datetime.timedelta(days=1)
        ),
        False,
    ),
}


async def test_certificates_of_providers(gateway_of: StartGateway, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    TRUSTED.cert_pem.write_to_path(str(ca_file))
    async with asyncio.timeout(60), _tls_servers() as servers:
        providers = {name: {"base_url": server.url, "ca_file": str(ca_file)} for name, server in servers.items()}
        gateway = await asyncio.to_thread(gateway_of, configuration(providers, {name: [name] for name in servers}))
        async with client_of(gateway) as client:
            answers = {name: await ask(client, question(name)) for name in servers}
    for name, (_, is_good) in CERTIFICATES.items():
        assert answers[name].status == (200 if is_good else 502), name
        if not is_good:
            assert_tls_failure(answers[name])
            assert servers[name].requests == []


def assert_tls_failure(answer: Answer) -> None:
    assert answer.error is not None
    assert {detail["outcome"] for detail in answer.error["details"]} == {"connection_error"}
    assert "TLS" in answer.error["details"][0]["message"]


@asynccontextmanager
async def _tls_servers() -> AsyncIterator[Mapping[str, Server]]:
    async with AsyncExitStack() as stack:
        servers = {}
        for name, (issue, _) in CERTIFICATES.items():
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            issue().configure_cert(context)
            servers[name] = await stack.enter_async_context(serve(chat.answer, context))
        yield servers


async def test_the_gateway_speaks_tls_when_it_has_a_certificate(gateway_of: StartGateway, tmp_path: Path) -> None:
    leaf = TRUSTED.issue_cert("127.0.0.1")
    leaf.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    leaf.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    environ = {"TLS_CERT": str(tmp_path / "cert.pem"), "TLS_KEY": str(tmp_path / "key.pem")}
    async with serve(chat.answer) as provider:
        config = configuration({"p": {"base_url": provider.url}}, {"m": ["p"]})
        gateway = await asyncio.to_thread(gateway_of, config, environ)
        assert gateway.url.startswith("https://")
        trust = ssl.create_default_context()
        TRUSTED.configure_trust(trust)
        headers = {"authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=gateway.url, headers=headers, verify=trust, http2=True) as client:
            response = await client.post(CHAT, json=question("m"))
            assert (response.status_code, response.http_version) == (200, "HTTP/2")
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.TransportError):
                await client.get(gateway.url.replace("https:", "http:"))
            with pytest.raises(httpx.ConnectError, match="certificate"):
                await client.get(gateway.url)
