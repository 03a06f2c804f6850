"""The platforms that people run these APIs on, as configuration: where a call goes, and with what credentials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from service.config import Config
from tests.contract.dialects.client import MODEL, Gateway
from tests.contract.dialects.fake import Fake
from tests.contract.dialects.scenes import HELLO, user
from tests.contract.dialects.vendors import VENDORS
from tests.fakes import wire


@dataclass(frozen=True, slots=True)
class Platform:
    """A provider's configuration (`base_url` without the server), and what a call looks like there."""

    name: str
    provider: Mapping[str, Any]
    target: str
    headers: Mapping[str, str]
    absent: tuple[str, ...] = ()
    streamed_target: str = ""
    model: str = "m1"
    body: Mapping[str, Any] = field(default_factory=dict)


_BEARER = {"authorization": "Bearer k-123456"}

PLATFORMS = (
    Platform(
        "OpenAI",
        {"dialect": "openai", "base_url": "/v1", "token_limit_field": "max_completion_tokens"},
        "/v1/chat/completions",
        _BEARER,
        body={"model": "m1", "max_completion_tokens": 64},
    ),
    Platform(
        "OpenAI-compatible with a prefix",
        {"dialect": "openai", "base_url": "/api/v1/"},
        "/api/v1/chat/completions",
        _BEARER,
        body={"max_tokens": 64},
    ),
    Platform("OpenAI-compatible without a prefix", {"dialect": "openai", "base_url": ""}, "/chat/completions", _BEARER),
    Platform(
        "OpenAI with an organisation",
        {"dialect": "openai", "base_url": "/v1", "headers": {"OpenAI-Organization": "org-1", "X-Title": "Chat"}},
        "/v1/chat/completions",
        {**_BEARER, "openai-organization": "org-1", "x-title": "Chat"},
    ),
    Platform(
        "Azure OpenAI",
        {
            "dialect": "openai",
            "base_url": "/openai/deployments/{model}",
            "api_key_header": "api-key",
            "query": {"api-version": "2024-10-21"},
        },
        "/openai/deployments/my%20gpt/chat/completions?api-version=2024-10-21",
        {"api-key": "k-123456"},
        absent=("authorization",),
        model="my gpt",
    ),
    Platform(
        "Anthropic",
        {"dialect": "anthropic", "base_url": "", "anthropic_beta": ["files-api-2025-04-14", "context-1m-2025-08-07"]},
        "/v1/messages",
        {
            "x-api-key": "k-123456",
            "anthropic-version": "2023-06-01",
            "anthropic-beta": "files-api-2025-04-14,context-1m-2025-08-07",
        },
        absent=("authorization",),
    ),
    Platform(
        "Anthropic, version 2026-10-21",
        {"dialect": "anthropic", "base_url": "/v1", "anthropic_version": "2026-10-21"},
        "/v1/messages",
        {**_BEARER, "anthropic-version": "2026-10-21"},
        absent=("x-api-key",),
    ),
    Platform(
        "Gemini",
        {"dialect": "google", "base_url": ""},
        "/v1beta/models/m1:generateContent",
        {"x-goog-api-key": "k-123456"},
        absent=("authorization",),
        streamed_target="/v1beta/models/m1:streamGenerateContent?alt=sse",
    ),
    Platform(
        "Gemini behind a proxy with a token",
        {"dialect": "google", "base_url": "/gemini/v1", "api_key_header": "Authorization", "query": {"tenant": "a b"}},
        "/gemini/v1/models/m1:generateContent?tenant=a+b",
        _BEARER,
        absent=("x-goog-api-key",),
        streamed_target="/gemini/v1/models/m1:streamGenerateContent?tenant=a+b&alt=sse",
    ),
)


@pytest.mark.parametrize("platform", PLATFORMS, ids=lambda platform: platform.name)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_where_a_call_goes(platform: Platform, stream: bool) -> None:
    dialect = platform.provider["dialect"]
    fake = Fake(VENDORS[dialect], HELLO)
    async with wire.serve(fake.answer) as server:
        provider = {**platform.provider, "base_url": server.url + platform.provider["base_url"], "api_key": "k-123456"}
        config = {
            "providers": {"p": provider},
            "models": {MODEL: {"endpoints": [{"provider": "p", "model": platform.model}]}},
        }
        gateway = Gateway(Config.model_validate(config), {})
        answer = await gateway.ask({"messages": [user("Hi")], "max_tokens": 64}, stream=stream)
        await gateway.upstream.close()
    assert answer.message.content == "".join(HELLO.text)
    (request,) = server.requests
    assert request.target == ((stream and platform.streamed_target) or platform.target)
    assert {name: request.headers.get(name) for name in platform.headers} == platform.headers
    assert not set(platform.absent) & set(request.headers)
    assert {name: request.json()[name] for name in platform.body} == platform.body
    assert "k-123456" not in request.target + request.body.decode()
