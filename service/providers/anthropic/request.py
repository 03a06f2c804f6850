"""A chat-completion request as a POST to Anthropic's Messages API.

https://platform.claude.com/docs/en/api/messages
https://platform.claude.com/docs/en/api/versioning
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest, ResponseFormatType, ServiceTier
from orjson import Fragment

from service.codec import dumps, field_names
from service.config import Endpoint, Provider
from service.providers.anthropic.messages import Block, Turn, cache_control, conversation
from service.providers.anthropic.reasoning import Limits, Plan, lacks_thinking, plan
from service.providers.anthropic.report import Report
from service.providers.anthropic.schema import closed
from service.providers.anthropic.tools import forces_call, tool_fields
from service.providers.dialect import UpstreamRequest

DEFAULT_MAX_TOKENS = 4096
"""The token limit, which Anthropic demands, where neither the client nor the catalogue sets one."""

JSON_INSTRUCTION = "Answer with a single JSON object and nothing else: no text around it, no code fence."
"""What stands for `response_format: json_object`, which Anthropic has only with a schema."""

_FIRST_BEARER_VERSION = "2026-10-21"
"""From this version on keys go out as Bearer, and sampling fields are refused."""
_SAMPLING = ("temperature", "top_p", "top_k")
_MIN_THINKING_TOP_P = 0.95
_ALWAYS = frozenset({"model", "messages", "stream", "stream_options", "tools", "tool_choice", "modalities", "n"})
_ALWAYS_CARRIED = _ALWAYS | {"max_completion_tokens", "provider_options"}
_CARRIED = _ALWAYS_CARRIED | {
    *_SAMPLING,
    "stop",
    "reasoning",
    "response_format",
    "service_tier",
    "parallel_tool_calls",
    "safety_identifier",
    "user_id",
    "metadata",
}
"""Our fields that the Messages API has a form for. The rest is dropped."""
_OURS: Mapping[str, str] = MappingProxyType(
    {
        "stop_sequences": "stop",
        "thinking": "reasoning",
        "output_config.effort": "reasoning",
        "output_config.format": "response_format",
    }
)
"""Our fields by Anthropic's name, where they differ and a provider may say that it does not take them."""
_TIERS: Mapping[int, str] = MappingProxyType(
    {
        ServiceTier.SERVICE_TIER_AUTO: "auto",
        ServiceTier.SERVICE_TIER_PRIORITY: "auto",
        ServiceTier.SERVICE_TIER_DEFAULT: "standard_only",
        ServiceTier.SERVICE_TIER_STANDARD: "standard_only",
    }
)
"""`auto` is priority capacity where there is some. https://platform.claude.com/docs/en/api/service-tiers"""


def encode(
    request: CreateChatCompletionRequest, provider: Provider, endpoint: Endpoint, refused: frozenset[str]
) -> UpstreamRequest:
    """Return the POST for a normalised request."""
    report = Report()
    carried = _carried(request, provider, endpoint, refused, report)
    system, turns = conversation(request.messages, report)
    tools = tool_fields(request, turns, "strict" not in refused, report)
    thinking = _plan(request, carried, endpoint, refused, turns, forces_call(tools), report)
    body: dict[str, Any] = {"model": endpoint.model, "max_tokens": thinking.max_tokens}
    if "response_format" in carried:
        _add_format(body, system, request, report)
    if system:
        body["system"] = system
    body["messages"] = turns
    body |= tools
    if thinking.thinking is not None:
        body["thinking"] = thinking.thinking
    if thinking.effort is not None:
        body.setdefault("output_config", {})["effort"] = thinking.effort
    _add_sampling(body, request, carried, thinking.thinks, report)
    if "stop" in carried:
        _add_stop(body, request, report)
    _add_user(body, request, carried, report)
    if "service_tier" in carried:
        if request.service_tier in _TIERS:
            body["service_tier"] = _TIERS[request.service_tier]
        else:
            report.drop("service_tier")
    if request.stream:
        body["stream"] = True
    _add_options(body, request, refused, report)
    return UpstreamRequest(_url(provider, endpoint), _headers(provider), dumps(body), report.dropped, report.adjusted)


def _url(provider: Provider, endpoint: Endpoint) -> str:
    base = provider.base_url.rstrip("/").replace("{model}", quote(endpoint.model, safe=""))
    path = "/messages" if base.endswith("/v1") else "/v1/messages"
    return base + path + ("?" + urlencode(provider.query) if provider.query else "")


def _headers(provider: Provider) -> dict[str, str]:
    headers = {"content-type": "application/json", "anthropic-version": provider.anthropic_version}
    if provider.anthropic_beta:
        headers["anthropic-beta"] = ",".join(provider.anthropic_beta)
    if provider.api_key is not None:
        bearer = provider.anthropic_version >= _FIRST_BEARER_VERSION
        name = (provider.api_key_header or ("authorization" if bearer else "x-api-key")).lower()
        key = provider.api_key.get_secret_value()
        headers[name] = f"Bearer {key}" if name == "authorization" else key
    headers.update((name.lower(), value) for name, value in provider.headers.items())
    return headers


def _carried(
    request: CreateChatCompletionRequest,
    provider: Provider,
    endpoint: Endpoint,
    refused: frozenset[str],
    report: Report,
) -> frozenset[str]:
    """Return the given fields that go out in some form; the others are reported."""
    lost = {_OURS.get(name, name) for name in refused}
    if provider.anthropic_version >= _FIRST_BEARER_VERSION:
        lost.update(_SAMPLING)
    supported = endpoint.supported_parameters
    carried = set()
    for name in field_names(request):
        known = name in _CARRIED and name not in lost
        if known and (supported is None or name in supported or name in _ALWAYS_CARRIED):
            carried.add(name)
        elif name not in _ALWAYS_CARRIED:
            report.drop(name)
    for name in request.extra:
        report.drop(name)
    return frozenset(carried)


def _plan(
    request: CreateChatCompletionRequest,
    carried: frozenset[str],
    endpoint: Endpoint,
    refused: frozenset[str],
    turns: list[Turn],
    forced: bool,
    report: Report,
) -> Plan:
    asked = request.max_completion_tokens if request.HasField("max_completion_tokens") else None
    limits = Limits(asked, endpoint.max_output_tokens, DEFAULT_MAX_TOKENS)
    reasoning = request.reasoning
    if "reasoning" not in carried or not (
        reasoning.effort or reasoning.HasField("enabled") or reasoning.HasField("max_tokens")
    ):
        return Plan(limits.max_tokens)
    style = endpoint.reasoning or "budget"
    if style == "budget" and "thinking.type.enabled" in refused:
        style = "adaptive"
    obstacle = forced or (style == "budget" and lacks_thinking(turns))
    return plan(reasoning, style, limits, obstacle, report)


def _add_format(
    body: dict[str, Any], system: list[Block], request: CreateChatCompletionRequest, report: Report
) -> None:
    match request.response_format_object.type:
        case ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON_SCHEMA:
            schema = closed(request.response_format_object.json_schema.schema)
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        case ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON_OBJECT:
            system.append({"type": "text", "text": JSON_INSTRUCTION})
            report.adjust("response_format", {"type": "json_object"}, JSON_INSTRUCTION)


def _add_sampling(
    body: dict[str, Any],
    request: CreateChatCompletionRequest,
    carried: frozenset[str],
    thinks: bool,
    report: Report,
) -> None:
    """Add sampling fields, but those that thinking forbids.

    https://platform.claude.com/docs/en/build-with-claude/extended-thinking#feature-compatibility
    """
    if "temperature" in carried:
        temperature = min(request.temperature, 1.0)
        if thinks and temperature != 1.0:
            report.drop("temperature")
        else:
            body["temperature"] = temperature
            if temperature != request.temperature:
                report.adjust("temperature", request.temperature, temperature)
    if "top_p" in carried:
        if thinks and request.top_p < _MIN_THINKING_TOP_P:
            report.drop("top_p")
        else:
            body["top_p"] = request.top_p
    if "top_k" in carried:
        if thinks:
            report.drop("top_k")
        else:
            body["top_k"] = request.top_k


def _add_stop(body: dict[str, Any], request: CreateChatCompletionRequest, report: Report) -> None:
    """Add stop sequences. Anthropic refuses those that are all white space."""
    one = request.HasField("stop_sequence")
    given = [request.stop_sequence] if one else list(request.stop_sequences.sequences)
    kept = [sequence for sequence in given if sequence.strip()]
    if kept:
        body["stop_sequences"] = kept
    if len(kept) < len(given):
        if kept:
            report.adjust("stop", given, kept)
        else:
            report.drop("stop")


def _add_user(
    body: dict[str, Any], request: CreateChatCompletionRequest, carried: frozenset[str], report: Report
) -> None:
    """Add the end user's id, the one thing that Anthropic's metadata hold."""
    named = "safety_identifier" in carried or "user_id" in carried
    user = (request.safety_identifier if "safety_identifier" in carried else "") or (
        request.user_id if "user_id" in carried else ""
    )
    if "metadata" in carried:
        if not named:
            user = request.metadata.get("user_id", "")
        if named or set(request.metadata) - {"user_id"}:
            report.drop("metadata")
    if user:
        body["metadata"] = {"user_id": user}


def _add_options(
    body: dict[str, Any], request: CreateChatCompletionRequest, refused: frozenset[str], report: Report
) -> None:
    """Add `provider_options.anthropic`. Its unknown fields are the API's own: sent verbatim, they replace none."""
    options = request.provider_options
    for vendor in ("openai", "google"):
        if options.HasField(vendor):
            for name in field_names(getattr(options, vendor)):
                report.drop(f"provider_options.{vendor}.{name}")
    if options.anthropic.HasField("cache_control"):
        if "cache_control" in refused:
            report.drop("provider_options.anthropic.cache_control")
        else:
            body["cache_control"] = cache_control(options.anthropic.cache_control, report)
    for name, text in options.anthropic.extra.items():
        if name in body or name in refused or name == "stream":
            report.drop(f"provider_options.anthropic.{name}")
        else:
            body[name] = Fragment(text)
