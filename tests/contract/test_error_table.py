"""Every kind of error, on both faces: HTTP status, type and code; canonical code and reason; headers and details."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import httpx
import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest

from service import codec
from tests.contract.client import CALLER_KEY, HI, Client, Refusal, read_refusal, request, typed
from tests.contract.provider import HELLO, Provider, Reply, Silence, Stream, Whole, chunk

F: dict[str, Any] = {"type": "function", "function": {"name": "f"}}
IMAGE = {"type": "image_url", "image_url": {"url": "https://images.example/a.png"}}
ClientWith = Callable[[str], Client]


@dataclass(frozen=True, slots=True)
class Row:
    """A request, what the provider answers to each attempt, and the error that both faces tell."""

    fields: Mapping[str, Any]
    replies: Sequence[Reply]
    status: int
    type: str
    code: str
    grpc: str
    param: str | None = None
    reason: str = ""
    words: Sequence[str] = ()
    outcomes: Sequence[str] = field(default=())

    def __str__(self) -> str:
        return f"{self.status} {self.code} {self.fields}"[:80]


def refused(status: int, *lines: str, **error: Any) -> Whole:
    return Whole(status, {"error": {"message": "The provider says no.", **error}}, lines)


def bad(code: str, param: str | None, *words: str, **fields: Any) -> Row:
    return Row(fields, (), 400, "invalid_request_error", code, "INVALID_ARGUMENT", param, words=words)


def rejected(reply: Whole, status: int, code: str, param: str | None = None, outcome: str = "rejected") -> Row:
    return Row(
        {},
        (reply,),
        status,
        "invalid_request_error",
        code,
        "INVALID_ARGUMENT",
        param,
        "UPSTREAM_REJECTED",
        ("The provider says no.",),
        (outcome,),
    )


def failed(model: str, replies: Sequence[Reply], *outcomes: str, **fields: Any) -> Row:
    row = {"model": model, **fields}
    return Row(row, replies, 502, "upstream_error", "all_providers_failed", "UNAVAILABLE", outcomes=outcomes)


ROWS: Sequence[Row] = (
    Row(
        {"model": "plane"},
        (),
        404,
        "invalid_request_error",
        "model_not_found",
        "NOT_FOUND",
        "model",
        words=("'plane'", "Did you mean plain"),
    ),
    Row({"model": "x" * 300}, (), 404, "invalid_request_error", "model_not_found", "NOT_FOUND", "model"),
    bad("no_allowed_provider", "provider.only", "openai", provider={"only": ["nobody"]}),
    bad("no_allowed_provider", "provider.ignore", "openai", provider={"ignore": ["OPENAI"]}),
    bad("no_allowed_provider", "provider.include_alpha", model="alpha"),
    bad("no_allowed_provider", None, model="disabled"),
    bad("no_allowed_provider", None, model="disabled", provider={"include_alpha": True}),
    bad("no_allowed_provider", "provider.max_price", model="dear", provider={"max_price": {"prompt": 1}}),
    bad(
        "unsupported_by_model",
        "messages[0].content[0]",
        "image",
        model="short",
        messages=[{"role": "user", "content": [IMAGE]}],
    ),
    bad("unsupported_by_model", "modalities", "audio", model="short", modalities=["audio"]),
    bad("unsupported_by_model", "max_completion_tokens", "100", model="short", max_tokens=101),
    bad("unsupported_by_model", "tools", "tools", model="little", tools=[F]),
    bad("unsupported_by_model", "tools", "tools", model="little", tools=[{"type": "gateway:datetime"}]),
    bad("unsupported_by_model", "response_format", model="little", response_format="json"),
    bad("unsupported_by_model", "logprobs", model="little", logprobs=True),
    bad("unsupported_by_model", "n", model="little", n=2),
    bad("unsupported_by_model", "top_p", model="little", top_p=1, provider={"require_parameters": True}),
    Row(
        {"model": "short", "messages": [{"role": "user", "content": "a" * 10_000}]},
        (),
        400,
        "invalid_request_error",
        "context_length_exceeded",
        "INVALID_ARGUMENT",
        "messages",
        "UNSUPPORTED_BY_MODEL",
    ),
    rejected(refused(400), 400, "upstream_rejected"),
    rejected(refused(400, code="bad_schema", param="tools[0]"), 400, "bad_schema", "tools[0]"),
    rejected(refused(413), 413, "upstream_rejected"),
    rejected(refused(422, param="seed"), 422, "upstream_rejected", "seed"),
    rejected(
        refused(400, code="context_length_exceeded", param="messages"),
        400,
        "context_length_exceeded",
        "messages",
        "context_length_exceeded",
    ),
    rejected(refused(400, code="content_policy_violation"), 400, "content_policy_violation", None, "content_policy"),
    failed("failing-500", [refused(500)] * 2, *["server_error"] * 2),
    failed("failing-503", [refused(503)] * 2, *["overloaded"] * 2),
    failed("failing-401", [refused(401)], "credentials_refused"),
    failed("failing-403", [refused(403)], "credentials_refused"),
    failed("failing-404", [refused(404)], "model_not_found"),
    failed("failing-empty", [Whole(200, b"")] * 2, *["empty_answer"] * 2),
    failed("failing-html", [Whole(200, b"<html>", content_type="text/html")], "malformed_answer"),
    failed("failing-redirect", [Whole(302, b"", ["Location: https://elsewhere.example"])], "malformed_answer"),
    failed("failing-disguise", [Whole(200, {"error": {"message": "oops"}})] * 2, *["server_error"] * 2),
    failed("gone", (), *["connection_error"] * 2),
    failed(
        "failing-two",
        [refused(500), refused(401)],
        "server_error",
        "credentials_refused",
        provider={"order": ["openai", "other"]},
    ),
)
RATE_LIMITED = Row(
    {"model": "limited-two", "provider": {"order": ["openai", "other"]}},
    [refused(429, "Retry-After: 30"), refused(429, "retry-after-ms: 7000")],
    429,
    "rate_limit_error",
    "upstream_rate_limited",
    "RESOURCE_EXHAUSTED",
    outcomes=["rate_limited"] * 2,
)
SLOW = Row(
    {"model": "hasty"},
    [Silence(1.0)],
    504,
    "upstream_error",
    "upstream_timeout",
    "DEADLINE_EXCEEDED",
    outcomes=["timeout"],
)


def check_http(response: httpx.Response, row: Row) -> Mapping[str, Any]:
    assert response.status_code == row.status, response.text
    assert response.headers["content-type"] == "application/json"
    error: dict[str, Any] = response.json()["error"]
    assert (error["type"], error["code"], error["param"]) == (row.type, row.code, row.param)
    assert error["generation_id"] == response.headers["x-generation-id"]
    assert [detail["outcome"] for detail in error.get("details", ())] == list(row.outcomes)
    assert all(word in error["message"] for word in row.words), error["message"]
    return error


def check_grpc(refusal: Refusal, row: Row) -> None:
    assert refusal.code == row.grpc
    assert refusal.info.reason == (row.reason or row.code.upper())
    assert refusal.info.metadata["code"] == row.code
    assert refusal.info.metadata["http_status"] == str(row.status)
    assert refusal.fields == ([row.param] if row.param else [])
    assert refusal.info.metadata["generation_id"] == refusal.metadata["x-generation-id"]
    for place, outcome in enumerate(row.outcomes):
        assert refusal.info.metadata[f"details[{place}].outcome"] == outcome
    assert all(word in refusal.message for word in row.words)


@pytest.mark.parametrize("row", [*ROWS, RATE_LIMITED, SLOW], ids=str)
def test_errors(row: Row, client: Client, provider: Provider) -> None:
    body = {**request(), **row.fields}
    for stream in (False, True):
        provider.says(*row.replies)
        check_http(client.post({**body, "stream": stream}), row)
        assert len(provider.requests) == len(row.replies)
    message = codec.decode(CreateChatCompletionRequest, json.dumps(body).encode())
    for call in (client.call, client.call_stream):
        provider.says(*row.replies)
        with pytest.raises(grpc.RpcError) as caught:
            call(message)
        check_grpc(read_refusal(caught.value), row)


def test_the_smallest_wait_is_handed_on(client: Client, provider: Provider) -> None:
    provider.says(*RATE_LIMITED.replies)
    response = client.post({**request(), **RATE_LIMITED.fields})
    assert response.headers["retry-after"] == "7"
    message = typed({**request(), **RATE_LIMITED.fields})
    assert message is not None
    provider.says(*RATE_LIMITED.replies, *RATE_LIMITED.replies)
    refusal = client.refusal(message)
    assert refusal.retry_s == 7
    assert refusal.metadata["retry-after"] == "7"


KEYS: Sequence[tuple[str, Mapping[str, str]]] = (
    ("none", {}),
    ("empty", {"authorization": ""}),
    ("no scheme", {"authorization": CALLER_KEY}),
    ("another scheme", {"authorization": f"Basic {CALLER_KEY}"}),
    ("no token", {"authorization": "Bearer"}),
    ("unknown", {"authorization": "Bearer sk-unknown"}),
    ("disabled", {"authorization": "Bearer key-that-is-disabled"}),
    ("expired", {"authorization": "Bearer key-that-has-expired"}),
)


@pytest.mark.parametrize(("headers"), [headers for _, headers in KEYS], ids=[name for name, _ in KEYS])
def test_keys(headers: Mapping[str, str], client: Client, provider: Provider) -> None:
    """The key is checked before the body."""
    url = str(client.http.base_url)
    for response in (
        httpx.post(f"{url}/v1/chat/completions", content=b"{", headers=headers),
        httpx.get(f"{url}/v1/models", headers=headers),
        httpx.get(f"{url}/v1/models/plain", headers=headers),
        httpx.get(f"{url}/v1/providers", headers=headers),
    ):
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
        assert response.headers["content-type"] == "application/json"
        error = response.json()["error"]
        assert (error["type"], error["code"], error["param"]) == ("authentication_error", "invalid_api_key", None)
        assert error["generation_id"] == response.headers["x-generation-id"]
    message = typed(request())
    assert message is not None
    with pytest.raises(grpc.RpcError) as caught:
        client.chat.CreateChatCompletion(message, metadata=tuple(headers.items()))
    refusal = read_refusal(caught.value)
    assert (refusal.code, refusal.info.reason) == ("UNAUTHENTICATED", "INVALID_API_KEY")
    assert not provider.requests


def test_what_a_key_may_not_use(client_with: ClientWith, provider: Provider) -> None:
    row = Row({}, (), 403, "permission_error", "model_not_allowed", "PERMISSION_DENIED", "model")
    for key in ("key-for-vendor-models", "key-for-other-provider"):
        client = client_with(key)
        check_http(client.post(request("plain")), row)
        message = typed(request("plain"))
        assert message is not None
        check_grpc(client.refusal(message), row)
    assert client_with("key-for-other-provider").ask(request("two"))["provider"] == "other"
    assert client_with("key-for-vendor-models").ask(request("vendor/family/model-1:free"))["provider"] == "openai"


def test_a_keys_limit(client_with: ClientWith) -> None:
    client = client_with("key-for-one-a-minute")
    served = client.post(request())
    assert served.status_code == 200
    assert served.headers["x-ratelimit-limit-requests"] == "1"
    assert served.headers["x-ratelimit-remaining-requests"] == "0"
    row = Row({}, (), 429, "rate_limit_error", "rate_limit_exceeded", "RESOURCE_EXHAUSTED")
    response = client.post(request())
    check_http(response, row)
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert response.headers["x-ratelimit-limit-requests"] == "1"
    assert response.headers["x-ratelimit-remaining-requests"] == "0"
    message = typed(request())
    assert message is not None
    refusal = client.refusal(message)
    check_grpc(refusal, row)
    assert refusal.retry_s is not None
    assert 0 < refusal.retry_s <= 60


def test_order_of_checks(client: Client, client_with: ClientWith) -> None:
    """Key, JSON, schema, model, routing."""
    restricted = client_with("key-for-vendor-models")
    assert restricted.post(b"{").json()["error"]["code"] == "invalid_json"
    assert restricted.post(request("nope", temperature=9)).json()["error"]["code"] == "out_of_range"
    assert restricted.post(request("nope")).json()["error"]["code"] == "model_not_found"
    wish = {"only": ["nobody"]}
    assert restricted.post(request("plain", provider=wish)).json()["error"]["code"] == "model_not_allowed"
    assert client.post(request("little", provider=wish, tools=[F])).json()["error"]["code"] == "no_allowed_provider"


def test_a_body_over_the_limit(client: Client) -> None:
    row = Row({}, (), 413, "invalid_request_error", "request_too_large", "RESOURCE_EXHAUSTED")
    check_http(client.post(request(messages=[{"role": "user", "content": "a" * 1_000_000}])), row)
    assert client.post(request(messages=[{"role": "user", "content": "a" * 990_000}])).status_code == 200
    for size in (5_000_000, 30_000_000):
        check_http(client.post(request(messages=[{"role": "user", "content": "a" * size}])), row)
    for size in (1_000_000, 5_000_000):
        message = typed(request(messages=[{"role": "user", "content": "a" * size}]))
        assert message is not None
        check_grpc(client.refusal(message), row)


def test_a_compressed_body(client: Client) -> None:
    row = Row({}, (), 415, "invalid_request_error", "unsupported_content_encoding", "INVALID_ARGUMENT")
    body = json.dumps(request()).encode()
    check_http(client.post(gzip.compress(body), content_encoding="gzip"), row)
    check_http(client.post(body, content_encoding="br"), row)
    assert client.post(body, content_encoding="identity").status_code == 200


def test_a_request_that_is_no_message(client: Client) -> None:
    response = client.http.get("/v1/models/%ff")
    check_http(response, Row({}, (), 400, "invalid_request_error", "invalid_value", "INVALID_ARGUMENT"))
    for method in ("ModelService/ListModels", "ModelService/GetModel", "ProviderService/ListProviders"):
        call: Callable[..., object] = client.channel.unary_unary(f"/gateway.v1.{method}")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff", metadata=client.metadata, timeout=20)
        refusal = read_refusal(caught.value)
        assert (refusal.code, refusal.info.reason) == ("INVALID_ARGUMENT", "INVALID_VALUE")


def test_too_many_requests_at_once(client: Client, provider: Provider) -> None:
    row = Row({}, (), 503, "server_error", "overloaded", "UNAVAILABLE")
    message = typed(request())
    assert message is not None
    provider.says(*[Silence(1.0)] * 8)
    with ThreadPoolExecutor(8) as threads:
        served = [threads.submit(client.post, request()) for _ in range(8)]
        while len(provider.requests) < 8:
            time.sleep(0.01)
        response = client.post(request())
        refusal = client.refusal(message)
        assert [each.result().status_code for each in served] == [200] * 8
    check_http(response, row)
    check_grpc(refusal, row)
    assert response.headers["retry-after"] == "1"
    assert refusal.retry_s == 1


def test_a_stream_that_breaks_ends_with_one_error(client: Client, provider: Provider) -> None:
    hi = chunk({"content": "Hi"})
    broken: Sequence[Reply] = (
        Stream([hi], cut=True),
        Stream([hi]),
        Stream([hi, {"error": {"message": "oops"}}, chunk({"content": "more"})], pause_s=0.03),
        Stream([hi, {"choices": 5}], pause_s=0.03),
    )
    message = typed(request())
    assert message is not None
    for reply in broken:
        provider.says(reply)
        answer = client.stream(request(usage=True))
        assert (answer.done, answer.text, answer.finish_reasons) == (False, "Hi", [])
        error = answer.events[-1]["error"]
        assert (error["type"], error["code"]) == ("upstream_error", "upstream_stream_broken")
        assert error["generation_id"] == answer.response.headers["x-generation-id"]
        provider.says(reply)
        call = client.chat.StreamChatCompletion(message, metadata=client.metadata)
        assert next(call).choices[0].delta.content == "Hi"
        with pytest.raises(grpc.RpcError) as caught:
            next(call)
        refusal = read_refusal(caught.value)
        assert (refusal.code, refusal.info.reason) == ("UNAVAILABLE", "UPSTREAM_STREAM_BROKEN")


def test_a_callers_deadline(client: Client, provider: Provider) -> None:
    row = Row({}, (), 504, "upstream_error", "upstream_timeout", "DEADLINE_EXCEEDED", outcomes=["timeout"])
    message = typed(request())
    assert message is not None
    for stream in (False, True):
        provider.says(Silence(1.0))
        started = time.monotonic()
        check_http(client.post(request(stream=stream), x_request_timeout="0.2"), row)
        assert time.monotonic() - started < 0.8
    provider.says(Silence(1.0), Silence(1.0))
    check_grpc(client.refusal(message, timeout=0.3), row)
    for wrong in ("0", "-1", "soon", "nan", "inf"):
        response = client.post(request(), x_request_timeout=wrong)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == "x-request-timeout"
    provider.says(HELLO)
    assert client.post(request(), x_request_timeout="10.5").status_code == 200


def test_messages_of_errors_hold_no_prompt(client: Client) -> None:
    prompt = [{"role": "user", "content": "my secret prompt"}, *HI]
    for fields in ({"temperature": 9}, {"model": "nope"}, {"provider": {"only": ["nobody"]}}):
        assert "secret prompt" not in client.post({**request(messages=prompt), **fields}).text
