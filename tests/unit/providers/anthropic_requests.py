"""Requests of the tests of the Anthropic dialect: every body sent is checked against the vendor's published types."""

from __future__ import annotations

import json
from typing import Any

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from pydantic import SecretStr

from service.codec import decode_request
from service.config import Endpoint, Provider
from service.providers.anthropic import AnthropicDialect
from service.providers.dialect import UpstreamRequest
from tests.fakes.anthropic import check_request

DIALECT = AnthropicDialect()
PROVIDER = Provider(dialect="anthropic", base_url="https://api.anthropic.com", api_key=SecretStr("sk-ant-test"))
CLAUDE = Endpoint(provider="anthropic", model="claude-sonnet-4-5")
ADAPTIVE = Endpoint(provider="anthropic", model="claude-opus-5", reasoning="adaptive")
PNG = "data:image/png;base64,iVBORw0KGgo="
PDF = "data:application/pdf;base64,JVBERi0="
HI = [{"role": "user", "content": "Hi"}]
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {"type": "object"}}}


def request(**fields: Any) -> CreateChatCompletionRequest:
    body = {"model": "anthropic/claude", "messages": HI, **fields}
    return decode_request(CreateChatCompletionRequest, json.dumps(body).encode(), max_depth=64)


def encode(
    endpoint: Endpoint = CLAUDE,
    provider: Provider = PROVIDER,
    refused: frozenset[str] = frozenset(),
    **fields: Any,
) -> tuple[dict[str, Any], UpstreamRequest]:
    wanted = request(**fields)
    assert DIALECT.unsupported(wanted, endpoint) is None
    sent = DIALECT.encode(wanted, provider, endpoint, refused)
    return check_request(sent.body, provider.anthropic_version), sent


def adjusted(sent: UpstreamRequest) -> list[tuple[str, Any, Any]]:
    return [(item.name, json.loads(getattr(item, "from")), json.loads(item.to)) for item in sent.adjusted]


def call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]
