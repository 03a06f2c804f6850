"""Which request fields the Gemini API has a form for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.tools_pb2 import TOOL_CHOICE_MODE_NONE

from service.codec import field_names
from service.config import Endpoint
from service.providers.parameters import takes
from service.providers.report import Report

ALWAYS = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_completion_tokens",
        "tools",
        "parallel_tool_calls",
        "provider",
        "provider_options",
    }
)
"""Fields that an endpoint's `supported_parameters` do not switch off, or that are treated on their own."""

CARRIED = frozenset(
    {
        "temperature",
        "top_p",
        "top_k",
        "frequency_penalty",
        "presence_penalty",
        "seed",
        "stop",
        "logprobs",
        "top_logprobs",
        "n",
        "response_format",
        "tool_choice",
        "reasoning",
        "modalities",
        "image_config",
        "audio",
        "service_tier",
        "metadata",
        "store",
    }
)

FIELD_OF: Mapping[str, str] = MappingProxyType(
    {
        "temperature": "temperature",
        "topP": "top_p",
        "topK": "top_k",
        "presencePenalty": "presence_penalty",
        "frequencyPenalty": "frequency_penalty",
        "responseLogprobs": "logprobs",
        "logprobs": "top_logprobs",
        "seed": "seed",
        "thinkingConfig": "reasoning",
        "imageConfig": "image_config",
        "serviceTier": "service_tier",
        "labels": "metadata",
        "store": "store",
    }
)
"""Keys of the body that a request can do without, with the request field that each comes from."""

_REFUSED_TOGETHER: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "penalty": ("presencePenalty", "frequencyPenalty"),
        "logprobs": ("responseLogprobs", "logprobs"),
        "responselogprobs": ("responseLogprobs", "logprobs"),
        "thinking": ("thinkingConfig",),
        "thinkinglevel": ("thinkingConfig",),
        "thinkingbudget": ("thinkingConfig",),
        "includethoughts": ("thinkingConfig",),
        **{key.lower(): (key,) for key in FIELD_OF if key != "responseLogprobs" and key != "logprobs"},
    }
)


def keys_refused(name: str) -> tuple[str, ...]:
    """Return the keys that a name of Google's (`Penalty`, `thinking_level`, `labels`) stands for; none if needed."""
    return _REFUSED_TOGETHER.get(name.replace("_", "").replace(" ", "").lower(), ())


def calls_nothing(request: CreateChatCompletionRequest) -> bool:
    """Say whether the model is told to call no tool."""
    return request.tool_choice_mode == TOOL_CHOICE_MODE_NONE


def wanted_fields(request: CreateChatCompletionRequest, endpoint: Endpoint, report: Report) -> frozenset[str]:
    """Return the names of the set fields that are to be sent; the others are reported."""
    wanted = set()
    for name in field_names(request):
        if name in ALWAYS:
            continue
        if name in CARRIED and takes(endpoint, name):
            wanted.add(name)
        elif name != "tool_choice" or not calls_nothing(request):
            report.drop(name)
    report.drop_fields("stream_options", request.stream_options, but="include_usage")
    for name in request.extra:
        report.drop(name)
    return frozenset(wanted)


def without_refused(body: dict[str, Any], refused: frozenset[str], report: Report) -> None:
    """Take out of a body what the provider has just said it does not take."""
    config = body.get("generationConfig", {})
    for name in sorted(refused):
        for key in keys_refused(name):
            if config.pop(key, None) is not None or body.pop(key, None) is not None:
                report.drop(FIELD_OF[key])
