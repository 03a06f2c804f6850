"""Planted secrets: no byte that leaves the gateway holds one, whatever the provider says and whatever is asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from tests.contract.client import CALLER_KEY, Client, request, typed
from tests.contract.conftest import SECRETS
from tests.contract.provider import Provider, Reply, Stream, Turn, Whole, chunk, completion
from tests.e2e.running import Gateway, wait_until

TALE = " ".join(f"{name} {secret}" for name, secret in SECRETS.items())
URL = f"https://host/v1?access_token={SECRETS['query']}"
ASKED = {
    "meta": True,
    "usage": True,
    "echo_upstream_request": True,
    "debug": {"return_upstream_request": True, "return_upstream_response": True, "trace": True, "trace_level": "full"},
}


def error(status: int, **fields: Any) -> Whole:
    return Whole(status, {"error": {"message": f"refused: {TALE} {URL}", **fields}}, [f"X-Echo: {TALE}"])


# What the provider says, unary and streamed alike where it is the same.
REPLIES: Sequence[Reply] = (
    Turn(text="Hello"),
    Whole(200, completion({"content": "Hello"}, x_request={"headers": TALE, "url": URL}), [f"X-Echo: {TALE}"]),
    Whole(200, completion({"content": f"I was asked with {TALE}"})),
    Whole(200, {**completion({"content": "Hello"}), "id": SECRETS["api_key"], "system_fingerprint": SECRETS["header"]}),
    Stream([chunk({"content": "Hello"}, x_request=TALE), chunk({}, "stop")]),
    Stream([chunk({"content": "Hello"}), {"error": {"message": TALE, "code": SECRETS["api_key"]}}]),
    Stream([chunk({"content": "Hello"}), {"choices": TALE}]),
    Stream([{"error": {"message": TALE, "param": SECRETS["header"]}}]),
    Stream([chunk({"content": "Hello"}, x=URL)], cut=True),
    error(400, type="invalid_request_error"),
    error(400, code=SECRETS["api_key"], param=SECRETS["query"], type=SECRETS["header"]),
    error(401, code="invalid_api_key"),
    error(403),
    error(404, code="model_not_found"),
    error(413),
    error(422, param=URL),
    error(429, code="rate_limit_exceeded"),
    error(500),
    Whole(400, {"error": TALE}),
    Whole(400, {"detail": [{"msg": TALE, "input": URL}]}),
    Whole(400, json.dumps({"error": {"message": TALE.replace("p", "\\u0070")}}).replace("\\\\u", "\\u").encode()),
    Whole(502, f"<html>{TALE}</html>".encode(), content_type="text/html"),
    Whole(200, f"not JSON: {TALE}".encode()),
    Whole(200, b""),
    Whole(302, b"", [f"Location: {URL}"], content_type=TALE),
)


def assert_clean(data: bytes, where: str) -> None:
    for name, secret in {**SECRETS, "caller's key": CALLER_KEY}.items():
        assert secret.encode() not in data, f"{name} in {where}: {data[:2000]!r}"


def over_grpc(client: Client, body: dict[str, Any]) -> bytes:
    """Call both typed methods and return every byte that came: metadata, messages, details."""
    message = typed(body)
    assert message is not None
    seen = b""
    stream = client.chat.StreamChatCompletion(message, metadata=client.metadata)
    try:
        seen += b"".join(each.SerializeToString() for each in stream)
    except grpc.RpcError as failed:
        seen += repr(failed).encode() + repr(failed.trailing_metadata()).encode()
    seen += repr(stream.initial_metadata()).encode() + repr(stream.trailing_metadata()).encode()
    try:
        answer, call = client.chat.CreateChatCompletion.with_call(message, metadata=client.metadata)
        seen += answer.SerializeToString() + repr(call.initial_metadata()).encode()
    except grpc.RpcError as failed:
        seen += repr(failed).encode() + repr(failed.trailing_metadata()).encode()
    return seen


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: repr(reply)[:70])
def test_no_answer_holds_a_secret(reply: Reply, client: Client, provider: Provider) -> None:
    for stream in (False, True):
        provider.says(reply, reply)
        response = client.post(request("secretive", stream=stream, **ASKED))
        sent = provider.requests[0]
        assert sent.headers["authorization"] == f"Bearer {SECRETS['api_key']}"
        assert sent.headers["x-team-token"] == SECRETS["header"]
        assert SECRETS["query"] in sent.target
        assert_clean(response.content, f"the body of {response.status_code}")
        assert_clean(repr(response.headers.raw).encode(), "the headers")
    provider.says(*[reply] * 4)
    assert_clean(over_grpc(client, request("secretive", **ASKED)), "gRPC")


def test_a_secretive_provider_that_is_not_there(client: Client) -> None:
    response = client.post(request("secretive-gone", **ASKED))
    assert response.json()["error"]["code"] == "all_providers_failed"
    assert_clean(response.content, "the body")
    assert_clean(over_grpc(client, request("secretive-gone", **ASKED)), "gRPC")


def test_the_catalogue_holds_no_secret(client: Client) -> None:
    for path in ("/v1/models", "/v1/models/secretive", "/v1/providers", "/healthz", "/openapi.json", "/docs"):
        assert_clean(client.http.get(path).content, path)


def test_no_log_holds_a_secret(client: Client, contract_gateway: Gateway) -> None:
    """All that this process's tests made the gateway write, up to a request of this test."""
    marker = "request-of-the-secrets-test"
    client.post(request("secretive", **ASKED), x_request_id=marker)
    access_log = contract_gateway.run_dir / "access.log"
    wait_until(lambda: marker in access_log.read_text(), 5)
    logs = [path for path in contract_gateway.run_dir.iterdir() if path.suffix == ".log"]
    assert len(logs) == 3
    for path in logs:
        assert_clean(path.read_bytes(), path.name)
    assert "Hello there!" not in contract_gateway.log
