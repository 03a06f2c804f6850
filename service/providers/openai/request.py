"""A chat-completion request as a POST to an OpenAI-compatible provider.

https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest

from service.codec import dumps, to_json
from service.config import Endpoint, Provider
from service.providers.dialect import UpstreamRequest
from service.providers.openai.messages import adapt_messages, without_cache_control
from service.providers.openai.reasoning import reasoning_effort
from service.providers.parameters import PARAMETERS, takes
from service.providers.report import Report

_TOKEN_LIMITS = ("max_tokens", "max_completion_tokens")

_ALWAYS = frozenset(
    {
        "messages",
        "modalities",
        "service_tier",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "user_id",
        "metadata",
        "store",
        "moderation",
    }
)
"""OpenAI's fields that say nothing of how a model answers: `supported_parameters` is not asked about them."""

_PASSED_ON = (frozenset(PARAMETERS) | _ALWAYS) - {"reasoning"}
"""Fields that go out in their own form; the others have a rule of their own."""

_FOREIGN = frozenset({"top_k", "image_config"})
"""Fields that OpenAI does not document: sent only where `supported_parameters` lists them."""

_UPSTREAM_NAMES: Mapping[str, str] = MappingProxyType({"user_id": "user"})
"""OpenAI's names of our fields, where they differ."""


def encode(
    request: CreateChatCompletionRequest, provider: Provider, endpoint: Endpoint, refused: frozenset[str]
) -> UpstreamRequest:
    """Return the POST for a normalised request.

    Fields that are not OpenAI's go out only where the endpoint's `supported_parameters` lists them, fields that the
    schema does not know always. Names in `refused` are left out, but for the token limit, which takes its other name.
    """
    report = Report()
    # What is refused below a field (`stream_options.include_usage`) is left out with the whole field.
    left_out = {re.split(r"[.\[]", name, maxsplit=1)[0] for name in refused} if refused else frozenset()
    given, extra = to_json(request), request.extra
    body: dict[str, Any] = {"model": endpoint.model}
    choice_is_none = given.get("tool_choice") == "none"
    for name, value in given.items():
        unknown = name not in _PASSED_ON
        if unknown and name not in extra:
            continue
        upstream_name = _UPSTREAM_NAMES.get(name, name)
        if upstream_name in left_out or not (unknown or _is_supported(name, endpoint)):
            if not (name == "tool_choice" and choice_is_none):
                report.drop(name)
        else:
            body[upstream_name] = value
    if choice_is_none and "tool_choice" not in body:
        # Without the choice a model would go on calling; no tools say the same.
        body.pop("tools", None)
        body.pop("parallel_tool_calls", None)
    body["messages"] = adapt_messages(given["messages"], endpoint.supported_parameters or frozenset(), report)
    if "tools" in body and not _lists(endpoint, "cache_control"):
        body["tools"] = [without_cache_control(tool, report) for tool in body["tools"]]
    if body.get("service_tier") == "standard":
        body["service_tier"] = "default"
    if "max_completion_tokens" in given:
        body[_token_limit(provider, refused)] = given["max_completion_tokens"]
    if "reasoning" in given:
        _add_reasoning(body, request, given["reasoning"], endpoint, left_out, report)
    if "provider_options" in given:
        _add_options(body, request, given["provider_options"], left_out, report)
    if request.stream:
        body["stream"] = True
        if options := _stream_options(given.get("stream_options", {}), provider, left_out):
            body["stream_options"] = options
    return UpstreamRequest(
        _url(provider, endpoint),
        _headers(provider),
        dumps(body),
        report.dropped,
        report.adjusted,
        choices=given.get("n") or 1 if "n" in body else 1,
    )


def _is_supported(name: str, endpoint: Endpoint) -> bool:
    if name in _FOREIGN:
        return _lists(endpoint, name)
    return takes(endpoint, name)


def _lists(endpoint: Endpoint, name: str) -> bool:
    return endpoint.supported_parameters is not None and name in endpoint.supported_parameters


def _token_limit(provider: Provider, refused: frozenset[str]) -> str:
    """Return the name of the token limit: the provider's, unless it has just refused that one."""
    name = provider.token_limit_field
    if name not in refused:
        return name
    return next((other for other in _TOKEN_LIMITS if other not in refused), name)


def _add_reasoning(
    body: dict[str, Any],
    request: CreateChatCompletionRequest,
    given: Mapping[str, Any],
    endpoint: Endpoint,
    left_out: Set[str],
    report: Report,
) -> None:
    """Add `reasoning_effort`, or `reasoning` itself where that is what the endpoint lists."""
    supported = endpoint.supported_parameters
    takes_object = _lists(endpoint, "reasoning") and not _lists(endpoint, "reasoning_effort")
    name = "reasoning" if takes_object else "reasoning_effort"
    if endpoint.reasoning == "none" or name in left_out or (supported is not None and name not in supported):
        report.drop("reasoning")
    elif takes_object:
        body["reasoning"] = given
    else:
        effort = reasoning_effort(request.reasoning, report)
        if effort is not None:
            body["reasoning_effort"] = effort


def _add_options(
    body: dict[str, Any],
    request: CreateChatCompletionRequest,
    given: Mapping[str, Any],
    left_out: Set[str],
    report: Report,
) -> None:
    """Add `provider_options.openai`; its unknown fields are the API's own, but replace nothing."""
    for vendor in ("anthropic", "google"):
        for name in given.get(vendor, {}):
            report.drop(f"provider_options.{vendor}.{name}")
    for name, value in given.get("openai", {}).items():
        unknown = name in request.provider_options.openai.extra
        if name in left_out or (unknown and name in (*given, *body, "stream", *_TOKEN_LIMITS)):
            report.drop(f"provider_options.openai.{name}")
        else:
            body[name] = value


def _stream_options(given: Mapping[str, Any], provider: Provider, left_out: Set[str]) -> Mapping[str, Any]:
    if "stream_options" in left_out:
        return {}
    options = {name: value for name, value in given.items() if name != "include_usage"}
    return {**options, "include_usage": True} if provider.stream_usage else options


def _url(provider: Provider, endpoint: Endpoint) -> str:
    base = provider.base_url.rstrip("/")
    if "{model}" in base:
        base = base.replace("{model}", quote(endpoint.model, safe=""))
    query = f"?{urlencode(provider.query)}" if provider.query else ""
    return f"{base}/chat/completions{query}"


def _headers(provider: Provider) -> Mapping[str, str]:
    headers = {"content-type": "application/json"}
    if provider.api_key is not None:
        key = provider.api_key.get_secret_value()
        name = (provider.api_key_header or "authorization").lower()
        headers[name] = f"Bearer {key}" if name == "authorization" else key
    for name, value in provider.headers.items():
        headers[name.lower()] = value
    return headers
