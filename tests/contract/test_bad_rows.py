"""Every row of the contract table's bad side: the exact error, on both faces, and no call of the provider."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.content_pb2 import ChatMessage, Role

from service import codec
from tests.contract.bad_rows import NOT_JSON, ROWS, TYPOS
from tests.contract.client import Client, request, typed
from tests.contract.everything import EVERYTHING
from tests.contract.provider import Provider
from tests.contract.rows import Bad, put
from tests.contract.wrong_types import WRONG_TYPES


def check_envelope(response: Any, code: str, param: str | None) -> str:
    """Check a 400 and return its message."""
    assert response.status_code == 400, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    error = body["error"]
    assert body.keys() == {"error"}
    assert error.keys() == {"message", "type", "param", "code", "generation_id"}
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert error["generation_id"] == response.headers["x-generation-id"]
    message: str = error["message"]
    assert 10 < len(message) < 1000
    return message


def test_a_request_with_every_field_is_served_on_both_faces(client: Client, provider: Provider) -> None:
    client.ask(EVERYTHING)
    message = typed(EVERYTHING)
    assert message is not None
    client.call(message)
    over_http, over_grpc = provider.bodies
    assert over_http == over_grpc


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_mistakes_over_http(row: Bad, client: Client, provider: Provider) -> None:
    body = put(EVERYTHING, row.path, row.value)
    check_envelope(client.post(body), row.code, row.param if row.param != "" else row.path)
    check_envelope(client.post({**body, "stream": True}), row.code, row.param if row.param != "" else row.path)
    assert not provider.requests


TYPED_ROWS = [
    (row, message)
    for row in ROWS
    if row.typed != "-" and (message := typed(put(EVERYTHING, row.path, row.value))) is not None
]


def test_many_mistakes_can_be_made_on_the_typed_face() -> None:
    assert len(TYPED_ROWS) > 100


@pytest.mark.parametrize(("row", "message"), TYPED_ROWS, ids=[str(row) for row, _ in TYPED_ROWS])
def test_mistakes_over_grpc(row: Bad, message: CreateChatCompletionRequest, client: Client, provider: Provider) -> None:
    refusal = client.refusal(message)
    code, param = row.typed or row.code, row.path if row.param == "" else row.param
    assert (refusal.code, refusal.info.reason) == ("INVALID_ARGUMENT", code.upper())
    assert refusal.fields == ([] if param is None else [param])
    assert refusal.info.domain == "gateway.v1"
    assert refusal.info.metadata["http_status"] == "400"
    assert not provider.requests


@pytest.mark.parametrize(("path", "values"), WRONG_TYPES.items(), ids=WRONG_TYPES)
def test_values_of_a_wrong_type(path: str, values: Sequence[Any], client: Client, provider: Provider) -> None:
    for value in values:
        message = check_envelope(client.post(put(EVERYTHING, path, value)), "invalid_type", path)
        assert message.startswith(f"'{path}' must be ")
    assert not provider.requests


@pytest.mark.parametrize("body", NOT_JSON, ids=lambda body: repr(body[:30]))
def test_what_is_not_json(body: bytes, client: Client, provider: Provider) -> None:
    check_envelope(client.post(body), "invalid_json", None)
    assert not provider.requests


def test_a_typo_is_told_with_what_was_meant(client: Client) -> None:
    response = client.post(request(temprature=1))
    assert "did you mean 'temperature'?" in response.json()["error"]["message"]
    assert len(TYPOS) > 10


@pytest.mark.parametrize("known", ["temperature", "imageConfig", "response_modalities", "max_tokens"])
def test_known_names_are_no_typos_of_each_other(known: str) -> None:
    others = [row.path for row in TYPOS]
    assert known not in others


MESSAGES = [ChatMessage(role=Role.ROLE_USER, text="Hi")]
TYPED_ONLY: Sequence[tuple[CreateChatCompletionRequest, str, str]] = [
    (CreateChatCompletionRequest(), "missing_required_parameter", "model"),
    (CreateChatCompletionRequest(model="plain"), "missing_required_parameter", "messages"),
    (
        CreateChatCompletionRequest(model="plain", messages=[ChatMessage(text="Hi")]),
        "missing_required_parameter",
        "messages[0].role",
    ),
    (
        CreateChatCompletionRequest(model="plain", messages=[ChatMessage(role=99, text="Hi")]),  # type: ignore[arg-type]
        "invalid_value",
        "messages[0].role",
    ),
    (
        CreateChatCompletionRequest(model="plain", messages=MESSAGES, service_tier=99),  # type: ignore[arg-type]
        "invalid_value",
        "service_tier",
    ),
    (
        CreateChatCompletionRequest(model="plain", messages=MESSAGES, temperature=float("nan")),
        "out_of_range",
        "temperature",
    ),
    (
        CreateChatCompletionRequest(model="plain", messages=MESSAGES, logit_bias={"1": float("inf")}),
        "out_of_range",
        "logit_bias.1",
    ),
    (CreateChatCompletionRequest(model="plain", messages=MESSAGES, extra={"x": "{"}), "invalid_value", "x"),
    (CreateChatCompletionRequest(model="plain", messages=MESSAGES, extra={"seed": "1"}), "invalid_value", "seed"),
    (
        CreateChatCompletionRequest(model="plain", messages=MESSAGES, extra={"temprature": "1"}),
        "unknown_parameter",
        "temprature",
    ),
    (
        CreateChatCompletionRequest(
            model="plain",
            messages=MESSAGES,
            tools=[{"function": {"function": {"name": "f", "parameters": "[]"}}}],  # type: ignore[list-item]
        ),
        "invalid_value",
        "tools[0].function.parameters",
    ),
    (
        CreateChatCompletionRequest(model="plain", messages=MESSAGES, tools=[{}]),  # type: ignore[list-item]
        "missing_required_parameter",
        "tools[0].type",
    ),
]


@pytest.mark.parametrize(("message", "code", "param"), TYPED_ONLY, ids=lambda value: str(value)[:60])
def test_mistakes_that_only_a_typed_caller_can_make(
    message: CreateChatCompletionRequest, code: str, param: str, client: Client, provider: Provider
) -> None:
    refusal = client.refusal(message)
    assert (refusal.code, refusal.info.reason, refusal.fields) == ("INVALID_ARGUMENT", code.upper(), [param])
    assert not provider.requests


def test_a_typed_request_says_the_same_as_its_json() -> None:
    message = typed(EVERYTHING)
    assert message is not None
    assert json.loads(codec.encode(message)) == EVERYTHING
