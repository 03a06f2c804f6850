"""A chat-completion request as a POST to Anthropic's Messages API.

https://platform.claude.com/docs/en/api/messages
https://platform.claude.com/docs/en/api/versioning
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Any
from urllib.parse import quote, urlencode

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest, ResponseFormatType, ServiceTier
from orjson import Fragment

from service.codec import dumps, field_names
from service.config import Endpoint, Provider
from service.providers.anthropic.messages import Block, Turn, cache_control, conversation
from service.providers.anthropic.reasoning import Limits, Plan, lacks_thinking, plan
from service.providers.anthropic.schema import fit
from service.providers.anthropic.tools import forces_call, tool_fields
from service.providers.dialect import UpstreamRequest
from service.providers.parameters import takes
from service.providers.report import Report

DEFAULT_MAX_TOKENS = 4096
"""The token limit, which Anthropic demands, where neither the client nor the catalogue sets one."""

JSON_INSTRUCTION = "Answer with a single JSON object and nothing else: no text around it, no code fence."
"""What stands for `response_format: json_object`, which Anthropic has only with a schema."""

_FIRST_BEARER_VERSION = "2026-10-21"
"""From this version on keys go out as Bearer, and sampling fields are refused."""
_SAMPLING = ("temperature", "top_p", "top_k")
_MIN_THINKING_TOP_P = 0.95
_CARRIED = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "stop",
        "reasoning",
        "response_format",
        "parallel_tool_calls",
        "service_tier",
        "safety_identifier",
        "user_id",
        "metadata",
    }
)
"""Fields that have a form here, each in its own place."""
_ELSEWHERE = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_completion_tokens",
        "tools",
        "tool_choice",
        "modalities",
        "n",
        "provider_options",
    }
)
"""Fields that have a rule of their own. What is in neither of these has no form here, and is dropped."""
_OURS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "stop_sequences": ("stop",),
        "thinking": ("reasoning",),
        "output_config": ("reasoning", "response_format"),
        "output_config.effort": ("reasoning",),
        "output_config.format": ("response_format",),
        "metadata": ("safety_identifier", "user_id", "metadata"),
        "metadata.user_id": ("safety_identifier", "user_id", "metadata"),
        "tool_choice.disable_parallel_tool_use": ("parallel_tool_calls",),
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


@dataclass(frozen=True, slots=True)
class _Encoding:
    """One request on its way. `carried`: fields that go out in some form."""

    request: CreateChatCompletionRequest
    endpoint: Endpoint
    refused: frozenset[str]
    carried: frozenset[str]
    report: Report


def encode(
    request: CreateChatCompletionRequest, provider: Provider, endpoint: Endpoint, refused: frozenset[str]
) -> UpstreamRequest:
    """Return the POST for a normalised request."""
    report = Report()
    lost = {ours for name in refused for ours in _OURS.get(name, (name,))}
    if provider.anthropic_version >= _FIRST_BEARER_VERSION:
        lost.update(_SAMPLING)
    encoding = _Encoding(request, endpoint, refused, _carried(request, endpoint, lost, report), report)
    system, turns = conversation(request.messages, _has_server_tools(request), report)
    one_at_a_time = "parallel_tool_calls" in encoding.carried and not request.parallel_tool_calls
    tools = tool_fields(request, turns, one_at_a_time, "strict" not in refused, report)
    thinking = _plan(encoding, turns, forces_call(tools))
    body: dict[str, Any] = {"model": endpoint.model, "max_tokens": thinking.max_tokens}
    _add_format(body, system, encoding)
    if refused:
        said = chain.from_iterable(turn["content"] for turn in turns)
        _without_refused_caching(chain(system, said, tools.get("tools", ())), encoding)
    if system:
        body["system"] = system
    body["messages"] = turns
    body |= tools
    if thinking.thinking is not None:
        body["thinking"] = thinking.thinking
    if thinking.effort is not None:
        body.setdefault("output_config", {})["effort"] = thinking.effort
    _add_sampling(body, encoding, thinking.thinks)
    _add_stop(body, encoding)
    _add_user(body, encoding)
    _add_service_tier(body, encoding)
    if request.stream:
        body["stream"] = True
    _add_options(body, encoding)
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
    request: CreateChatCompletionRequest, endpoint: Endpoint, lost: Set[str], report: Report
) -> frozenset[str]:
    """Return the given fields that go out in some form; the others are reported."""
    carried = set()
    for name in field_names(request):
        if name in _ELSEWHERE:
            continue
        if name in _CARRIED and name not in lost and takes(endpoint, name):
            carried.add(name)
        else:
            report.drop(name)
    for name in request.extra:
        report.drop(name)
    report.drop_fields("stream_options", request.stream_options, but="include_usage")
    return frozenset(carried)


def _plan(encoding: _Encoding, turns: list[Turn], forced: bool) -> Plan:
    request, endpoint = encoding.request, encoding.endpoint
    asked = request.max_completion_tokens if request.HasField("max_completion_tokens") else None
    limits = Limits(asked, endpoint.max_output_tokens, DEFAULT_MAX_TOKENS)
    if "reasoning" not in encoding.carried:
        return Plan(limits.max_tokens)
    style = endpoint.reasoning or "budget"
    if style == "budget" and "thinking.type.enabled" in encoding.refused:
        style = "adaptive"
    obstacle = forced or (style == "budget" and lacks_thinking(turns))
    return plan(request.reasoning, style, limits, obstacle, encoding.report)


def _add_format(body: dict[str, Any], system: list[Block], encoding: _Encoding) -> None:
    if "response_format" not in encoding.carried:
        return
    form = encoding.request.response_format_object
    match form.type:
        case ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON_SCHEMA:
            if form.json_schema.description:
                encoding.report.drop("response_format.json_schema.description")
            schema = fit(form.json_schema.schema, encoding.report)
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        case ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON_OBJECT:
            system.append({"type": "text", "text": JSON_INSTRUCTION})
            encoding.report.adjust("response_format", {"type": "json_object"}, JSON_INSTRUCTION)


def _has_server_tools(request: CreateChatCompletionRequest) -> bool:
    """Say whether tools are asked for that Anthropic runs itself."""
    return "tools" in request.provider_options.anthropic.extra


def _without_refused_caching(blocks: Iterable[Block], encoding: _Encoding) -> None:
    """Take cache breakpoints out, or how long they last, where the provider has just refused them."""
    if "cache_control" in encoding.refused:
        for block in blocks:
            if block.pop("cache_control", None) is not None:
                encoding.report.drop("cache_control")
    elif "cache_control.ttl" in encoding.refused:
        for block in blocks:
            if "cache_control" in block and block["cache_control"].pop("ttl", None) is not None:
                encoding.report.drop("cache_control.ttl")


def _add_sampling(body: dict[str, Any], encoding: _Encoding, thinks: bool) -> None:
    """Add sampling fields, but those that thinking forbids.

    https://platform.claude.com/docs/en/build-with-claude/extended-thinking#feature-compatibility
    """
    request, carried, report = encoding.request, encoding.carried, encoding.report
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


def _add_stop(body: dict[str, Any], encoding: _Encoding) -> None:
    """Add stop sequences. Anthropic refuses those that are all white space."""
    if "stop" not in encoding.carried:
        return
    request = encoding.request
    one = request.HasField("stop_sequence")
    given = [request.stop_sequence] if one else list(request.stop_sequences.sequences)
    kept = [sequence for sequence in given if sequence.strip()]
    if kept:
        body["stop_sequences"] = kept
    if kept and len(kept) < len(given):
        encoding.report.adjust("stop", given, kept)
    elif given and not kept:
        encoding.report.drop("stop")


def _add_user(body: dict[str, Any], encoding: _Encoding) -> None:
    """Add the end user's id, the one thing that Anthropic's metadata hold."""
    request, carried = encoding.request, encoding.carried
    names = [name for name in ("safety_identifier", "user_id") if name in carried]
    user = next((value for name in names if (value := getattr(request, name))), "")
    if "metadata" in carried:
        others = set(request.metadata)
        if not user:
            user = request.metadata.get("user_id", "")
            others.discard("user_id")
        if others:
            encoding.report.drop("metadata")
    if user:
        body["metadata"] = {"user_id": user}


def _add_service_tier(body: dict[str, Any], encoding: _Encoding) -> None:
    if "service_tier" not in encoding.carried:
        return
    if encoding.request.service_tier in _TIERS:
        body["service_tier"] = _TIERS[encoding.request.service_tier]
    else:
        encoding.report.drop("service_tier")


def _add_options(body: dict[str, Any], encoding: _Encoding) -> None:
    """Add `provider_options.anthropic`. Its unknown fields are the API's own: sent verbatim, they replace none."""
    options, report, refused = encoding.request.provider_options, encoding.report, encoding.refused
    for vendor in ("openai", "google"):
        if options.HasField(vendor):
            given = getattr(options, vendor)
            report.drop_fields(f"provider_options.{vendor}", given)
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
