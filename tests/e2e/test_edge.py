"""What Envoy does to requests and answers, in front of a worker that does as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import grpc
import httpx
import pytest
import trustme
from gateway.v1 import chat_service_pb2_grpc
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import ChatCompletion

from tests.e2e.running import Envoy, start_envoy, wait_until
from tests.e2e.seen import look
from tests.e2e.stub_worker import MODEL_ERROR, StubWorker

CHAT = "/v1/chat/completions"
KEY = {"authorization": "Bearer k"}
KEY_LINE = b"authorization: Bearer k"
MEBIBYTE = 1024 * 1024
Workers = tuple[StubWorker, StubWorker]


@pytest.fixture
def client(envoy: Envoy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=envoy.url, headers=KEY, timeout=30) as client:
        yield client


def error(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/json"
    assert int(response.headers["content-length"]) == len(response.content)
    body = response.json()
    assert set(body) == {"error"}
    assert {"message", "type", "param", "code"} <= set(body["error"])
    value: dict[str, Any] = body["error"]
    return value


def seen(response: httpx.Response) -> dict[str, str]:
    metadata: dict[str, str] = response.json()["metadata"]
    return metadata


def test_the_workers_status_and_headers_reach_the_client(client: httpx.Client) -> None:
    headers = {
        "x-http-status": "429",
        "retry-after": "7",
        "www-authenticate": "Bearer",
        "x-ratelimit-limit-requests": "5",
    }
    response = client.post(CHAT, json={"headers": headers})
    assert response.status_code == 429
    assert response.headers.items() >= {(name, value) for name, value in headers.items() if name != "x-http-status"}
    assert not {"x-http-status", "grpc-status", "grpc-accept-encoding"} & set(response.headers)


def test_what_is_only_between_envoy_and_the_service_is_taken_from_clients(client: httpx.Client) -> None:
    forged = {
        "x-http-status": "500",
        "x-gateway-provider": "me",
        "x-generation-id": "mine",
        "x-error-body-bin": "AA==",
        "x-envoy-retry-on": "5xx",
        "grpc-timeout": "nonsense",
        "grpc-encoding": "nonsense",
        "x-binary-bin": "!!!",
        "proxy-authorization": "Basic abc",
    }
    response = client.post(CHAT, content=b"x", headers={**forged, "authorization": "Bearer k", "x-other": "kept"})
    assert response.status_code == 200
    assert not set(forged) & set(seen(response))
    assert seen(response)["authorization"] == "Bearer k"
    assert seen(response)["x-other"] == "kept"


def test_what_no_worker_reads_is_not_handed_on(client: httpx.Client) -> None:
    useless = {
        "accept": "text/html",
        "accept-encoding": "br",
        "x-stainless-lang": "python",
        "x-forwarded-for": "192.0.2.1",
    }
    response = client.post(CHAT, content=b"x", headers={**useless, "x-accept": "kept"})
    assert not set(useless) & set(seen(response))
    assert seen(response)["x-accept"] == "kept"


def test_a_request_id_is_kept_or_made(client: httpx.Client) -> None:
    kept = client.post(CHAT, content=b"x", headers={"x-request-id": "mine"})
    made = client.post(CHAT, content=b"x")
    assert kept.headers["x-request-id"] == seen(kept)["x-request-id"] == "mine"
    assert made.headers["x-request-id"] == seen(made)["x-request-id"] != ""


def test_events_arrive_as_they_are_sent(client: httpx.Client) -> None:
    with client.stream("POST", CHAT, json={"events": 3, "every_s": 0.2}) as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert [chunk for chunk in response.iter_raw() if chunk] == [b"data: x\n\n"] * 3


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/nope", 404, "not_found"),
        ("POST", "/v1/nope", 404, "not_found"),
        ("GET", "/v1//models", 404, "not_found"),
        ("GET", CHAT, 405, "method_not_allowed"),
        ("DELETE", "/v1/models", 405, "method_not_allowed"),
        ("POST", "/v1/models/a/b", 405, "method_not_allowed"),
        ("OPTIONS", "/healthz", 405, "method_not_allowed"),
    ],
)
def test_unknown_paths_and_methods_get_the_envelope(
    client: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert error(response)["code"] == code
    assert error(response)["request_id"] == response.headers["x-request-id"]
    assert ("allow" in response.headers) == (status == 405)


def test_headers_beyond_the_limit_get_the_envelope(client: httpx.Client) -> None:
    assert client.get("/healthz", headers={"x-large": "a" * 20_000}).status_code == 200
    response = client.get("/healthz", headers={"x-large": "a" * 40_000})
    assert response.status_code == 431
    assert error(response)["code"] == "headers_too_large"


def test_an_upgrade_is_refused_with_the_envelope(client: httpx.Client) -> None:
    response = client.get("/healthz", headers={"connection": "upgrade", "upgrade": "websocket"})
    assert response.status_code == 403
    assert error(response)["code"] == "upgrade_refused"


def pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // 65536):
        yield b"a" * 65536


@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_up_to_32_mebibytes_pass_and_larger_ones_get_413(client: httpx.Client, chunked: bool) -> None:
    def post(mebibytes: int) -> httpx.Response:
        size = mebibytes * MEBIBYTE
        return client.post(CHAT, content=pieces(size) if chunked else b"a" * size)

    assert post(31).json()["length"] == 31 * MEBIBYTE
    assert post(32).json()["length"] == 32 * MEBIBYTE
    response = post(33)
    assert response.status_code == 413
    assert error(response)["code"] == "request_too_large"


def head(length: int, *lines: bytes) -> bytes:
    """Return the head of a chat request over HTTP/1.1."""
    return b"\r\n".join(
        (b"POST /v1/chat/completions HTTP/1.1", b"host: localhost", *lines, b"content-length: %d\r\n\r\n" % length)
    )


@pytest.mark.parametrize("http2", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
def test_of_a_large_body_without_a_key_the_worker_gets_nothing(envoy: Envoy, http2: bool, chunked: bool) -> None:
    with httpx.Client(base_url=envoy.url, http1=not http2, http2=http2, timeout=30) as client:
        small = client.post(CHAT, content=b"a" * 99_999)
        for path in (CHAT, f"{CHAT}//", f"{CHAT}?model=m"):
            large = client.post(path, content=pieces(MEBIBYTE) if chunked else b"a" * MEBIBYTE)
            assert large.json()["length"] == 0
    assert small.json()["length"] == 99_999


def test_unfinished_bodies_without_a_key_take_no_memory(envoy: Envoy) -> None:
    before = look(envoy.process.pid).rss
    with ExitStack() as stack:
        for _ in range(8):
            sender = stack.enter_context(socket.create_connection(("127.0.0.1", envoy.port)))
            sender.sendall(head(32 * MEBIBYTE) + b"a" * 31 * MEBIBYTE)
        assert look(envoy.process.pid).rss - before < 40 * MEBIBYTE


@pytest.fixture
def small_envoy(short_dir: Callable[[], Path], workers: Workers) -> Iterator[Envoy]:
    """Run an Envoy that may hold 64 MiB."""
    running = start_envoy(short_dir(), [workers[0].port], max_heap_bytes=64 * MEBIBYTE)
    yield running
    running.process.kill()
    running.process.wait()


def is_served(envoy: Envoy) -> bool:
    return httpx.post(envoy.url + CHAT, content=b"x").is_success


def test_when_memory_ends_nothing_more_is_taken_and_unfinished_bodies_are_refused(small_envoy: Envoy) -> None:
    with ExitStack() as stack:
        senders: list[socket.socket] = []
        while is_served(small_envoy):
            assert len(senders) < 10
            senders.append(stack.enter_context(socket.create_connection(("127.0.0.1", small_envoy.port), 10)))
            senders[-1].sendall(head(32 * MEBIBYTE, KEY_LINE) + b"a" * 10 * MEBIBYTE)
            time.sleep(0.3)  # Envoy looks at its memory four times a second
        for http2 in (False, True):
            with httpx.Client(base_url=small_envoy.url, http1=not http2, http2=http2) as client:
                response = client.post(CHAT, content=b"x")
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert (error(response)["type"], error(response)["code"]) == ("server_error", "overloaded")
        with contextlib.suppress(ConnectionError):
            for _ in range(20):
                senders[0].sendall(b"a" * MEBIBYTE)
                time.sleep(0.05)
        answer = senders[0].recv(4096)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "overloaded"
    wait_until(lambda: is_served(small_envoy), 10)


async def test_when_memory_ends_the_largest_http2_streams_are_ended(small_envoy: Envoy) -> None:
    async def unfinished() -> AsyncIterator[bytes]:
        for piece in pieces(31 * MEBIBYTE):
            yield piece
        await asyncio.Event().wait()

    async def send() -> None:
        async with httpx.AsyncClient(http1=False, http2=True, timeout=60) as client:
            await client.post(small_envoy.url + CHAT, content=unfinished(), headers=KEY)

    sending = [asyncio.ensure_future(send()) for _ in range(8)]
    log = small_envoy.run_dir / "access.log"
    await asyncio.to_thread(wait_until, lambda: '"OM"' in log.read_text(), 30)
    await asyncio.to_thread(wait_until, lambda: is_served(small_envoy), 10)
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)


@pytest.mark.parametrize("http2", [False, True])
def test_a_typed_calls_error_is_the_envelope_that_the_worker_sent(envoy: Envoy, http2: bool) -> None:
    with httpx.Client(base_url=envoy.url, http1=not http2, http2=http2) as client:
        response = client.get("/v1/models/nope")
    assert response.http_version == ("HTTP/2" if http2 else "HTTP/1.1")
    assert response.status_code == 404
    assert response.text == MODEL_ERROR
    assert error(response)["code"] == "model_not_found"
    assert response.headers["x-generation-id"] == "g-1"
    assert not {"x-error-body-bin", "grpc-status", "grpc-message"} & set(response.headers)


def test_an_error_without_an_envelope_gets_one_that_tells_nothing(client: httpx.Client) -> None:
    response = client.get("/v1/models/broken")
    assert response.status_code == 500
    assert error(response)["code"] == "internal_error"
    assert "secret" not in response.text + str(response.headers)


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("a", "a"),
        ("a/b", "a/b"),
        ("a%2Fb", "a/b"),
        ("a%2fb%2Fc", "a/b/c"),
        ("a/b:free", "a/b:free"),
        ("a%2Fb%3Afree", "a/b:free"),
        ("a%20b", "a b"),
        ("a/b?limit=3&model=other", "a/b"),
    ],
)
def test_model_ids_with_plain_and_escaped_characters(client: httpx.Client, path: str, model: str) -> None:
    response = client.get(f"/v1/models/{path}")
    assert response.json()["id"] == model
    assert "grpc-status" not in response.headers


def test_typed_answers_write_empty_fields_under_their_own_names(client: httpx.Client) -> None:
    assert client.get("/v1/models").json() == {"object": "list", "data": []}
    assert client.get("/v1/models/m").json().items() >= {"owned_by": "", "created": 0}.items()
    assert client.get("/livez").json() == {"status": "ok", "notes": []}


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "https://chat.example"])
def test_allowed_origins_may_call_from_a_page(client: httpx.Client, origin: str) -> None:
    asks = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization",
    }
    preflight = client.options(CHAT, headers=asks)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == origin
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    answer = client.post(CHAT, content=b"x", headers={"origin": origin})
    assert answer.headers["access-control-allow-origin"] == origin
    assert "x-generation-id" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost.evil.example", "null"])
def test_other_origins_may_not(client: httpx.Client, origin: str) -> None:
    preflight = client.options(CHAT, headers={"origin": origin, "access-control-request-method": "POST"})
    assert not preflight.is_success
    answer = client.post(CHAT, content=b"x", headers={"origin": origin})
    assert "access-control-allow-origin" not in {**preflight.headers, **answer.headers}


def test_grpc_passes_through_with_its_status_and_details(envoy: Envoy) -> None:
    request = CreateChatCompletionRequest()
    with grpc.insecure_channel(f"127.0.0.1:{envoy.port}") as channel:
        stub = chat_service_pb2_grpc.ChatCompletionServiceStub(channel)
        assert stub.CreateChatCompletion(request).id == "typed"
        assert [chunk.id for chunk in stub.StreamChatCompletion(request)] == ["1", "2"]
        with pytest.raises(grpc.RpcError) as caught:
            stub.CreateChatCompletion(request, metadata=(("x-test", "fail"),))
    failed = cast(grpc.Call, caught.value)
    assert (failed.code(), failed.details()) == (grpc.StatusCode.UNAUTHENTICATED, "who are you?")
    assert ("grpc-status-details-bin", b"\x08\x10") in failed.trailing_metadata()


def test_grpc_web_is_served(client: httpx.Client) -> None:
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    path = "/gateway.v1.ChatCompletionService/CreateChatCompletion"
    body = client.post(path, content=b"\0\0\0\0\0", headers=headers).content
    length = int.from_bytes(body[1:5], "big")
    assert ChatCompletion.FromString(body[5 : 5 + length]).id == "typed"
    assert (body[5 + length], b"grpc-status:0" in body[5 + length :]) == (0x80, True)


def test_whole_bodies_have_their_own_type(client: httpx.Client) -> None:
    assert client.get("/openapi.json").json() == {}
    page = client.get("/docs")
    assert (page.headers["content-type"], len(page.content)) == ("text/html; charset=utf-8", 3 * MEBIBYTE)


@pytest.mark.parametrize("http2", [False, True])
def test_a_client_that_hangs_up_ends_the_call(envoy: Envoy, workers: Workers, http2: bool) -> None:
    for worker in workers:
        worker.cancelled.clear()
    with httpx.Client(base_url=envoy.url, http1=not http2, http2=http2, timeout=10) as client:  # noqa: SIM117
        with client.stream("POST", CHAT, json={"events": 1000, "every_s": 0.05}) as response:
            next(response.iter_raw())
    wait_until(lambda: any(worker.cancelled.is_set() for worker in workers), 1)


def test_a_client_that_does_not_read_holds_the_worker_back(envoy: Envoy, workers: Workers) -> None:
    def sent() -> int:
        return sum(worker.sent for worker in workers)

    before, now, last = sent(), -1, -2
    body = json.dumps({"events": 2000, "event_bytes": 100_000}).encode()
    with socket.create_connection(("127.0.0.1", envoy.port)) as idle:
        idle.sendall(head(len(body), KEY_LINE) + body)
        while now != last:
            time.sleep(0.4)
            last, now = now, sent()
        assert 0 < now - before < 200, "at most 20 MB of 200 MB wait, the kernel's buffers included"
        assert httpx.post(envoy.url + CHAT, content=b"x").status_code == 200


def test_what_a_worker_refused_goes_to_another(client: httpx.Client, workers: Workers) -> None:
    busy, free = workers
    for _ in range(10):
        response = client.post(CHAT, json={"refuse_at": busy.port})
        assert response.json()["port"] == free.port


def test_without_a_worker_the_answer_is_503_and_when_to_retry(short_dir: Callable[[], Path]) -> None:
    alone = start_envoy(short_dir(), [])
    try:
        response = httpx.post(alone.url + CHAT, content=b"x")
        with grpc.insecure_channel(f"127.0.0.1:{alone.port}") as channel:
            stub = chat_service_pb2_grpc.ChatCompletionServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.CreateChatCompletion(CreateChatCompletionRequest())
    finally:
        alone.process.kill()
        alone.process.wait()
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert (error(response)["type"], error(response)["code"]) == ("server_error", "overloaded")
    failed = cast(grpc.Call, caught.value)
    assert failed.code() is grpc.StatusCode.UNAVAILABLE
    assert "{" not in str(failed.details())


def test_tls_offers_http2(short_dir: Callable[[], Path], workers: Workers) -> None:
    run_dir, authority = short_dir(), trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(run_dir / "both.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    secure = start_envoy(run_dir, [workers[0].port], tls=(run_dir / "both.pem", run_dir / "both.pem"))
    try:
        with httpx.Client(verify=trust, http2=True) as client:
            response = client.get(secure.url + "/healthz")
    finally:
        secure.process.kill()
        secure.process.wait()
    assert (response.http_version, response.status_code) == ("HTTP/2", 200)


def test_the_access_log_is_json_without_keys_queries_and_bodies(client: httpx.Client, envoy: Envoy) -> None:
    secrets = ("sk-planted-key", "planted-query", "planted-prompt")
    headers = {"authorization": f"Bearer {secrets[0]}", "x-request-id": "find-me"}
    client.post(f"{CHAT}?key={secrets[1]}", content=secrets[2].encode(), headers=headers)
    log = envoy.run_dir / "access.log"
    wait_until(lambda: "find-me" in log.read_text(), 5)
    entry = next(json.loads(line) for line in log.read_text().splitlines() if "find-me" in line)
    assert (entry["method"], entry["path"], entry["status"]) == ("POST", CHAT, 200)
    assert not any(secret in log.read_text() for secret in secrets)


def test_http_1_0_is_told_what_is_needed(client: httpx.Client) -> None:
    port = client.base_url.port
    assert port is not None
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 426 ")
    assert json.loads(body)["error"]["code"] == "http_version"
