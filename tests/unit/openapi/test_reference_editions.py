"""Whatever both editions of the reference accept, the OpenAPI document and the codec accept too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from service import codec
from service.errors import GatewayError
from tests.unit.openapi.editions import EDITIONS, REFUSALS, Refusal, load, values

_ROOT = Path(__file__).parents[3]
_QUICK = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
_SCHEMAS = {edition: load(edition, REFUSALS) for edition in EDITIONS}
_FIELDS = [
    (edition, name) for edition, schemas in _SCHEMAS.items() for name in schemas["ChatCompletionsRequest"]["properties"]
]


@pytest.mark.parametrize(("edition", "field"), _FIELDS)
@_QUICK
@given(data=st.data())
def test_each_field_of_an_edition_is_accepted_as_it_is_documented(
    edition: str, field: str, data: st.DataObject, request_validator: Draft202012Validator
) -> None:
    schemas = _SCHEMAS[edition]
    root = schemas["ChatCompletionsRequest"]
    body = {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    body[field] = data.draw(values(schemas, root["properties"][field]))
    _assert_accepted(body, request_validator)


@pytest.mark.parametrize("edition", EDITIONS)
@settings(_QUICK, max_examples=150)
@given(data=st.data())
def test_requests_that_are_valid_by_an_edition_are_accepted(
    edition: str, data: st.DataObject, request_validator: Draft202012Validator
) -> None:
    schemas = _SCHEMAS[edition]
    _assert_accepted(data.draw(values(schemas, schemas["ChatCompletionsRequest"])), request_validator)


@pytest.mark.parametrize("refusal", REFUSALS, ids=lambda refusal: refusal.value)
def test_what_is_refused_all_the_same_is_documented(refusal: Refusal, request_validator: Draft202012Validator) -> None:
    for body in refusal.bodies:
        with pytest.raises(GatewayError) as caught:
            codec.decode_request(CreateChatCompletionRequest, json.dumps(body).encode(), max_depth=64)
        assert caught.value.code == refusal.code, body
        assert refusal.code == "unknown_parameter" or not request_validator.is_valid(body), body
    row = f"| {refusal.value} | `{refusal.code}` | {refusal.why} |"
    assert row in (_ROOT / "docs" / "api.md").read_text(encoding="utf-8")


def _assert_accepted(body: dict[str, Any], validator: Draft202012Validator) -> None:
    text = json.dumps(body).encode()
    codec.decode_request(CreateChatCompletionRequest, text, max_depth=64)
    validator.validate(json.loads(text))
