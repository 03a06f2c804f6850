"""What the protos do not say: defaults, what errors mean, and what becomes of a field that a provider lacks."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

_REQUEST = "gateway.v1.CreateChatCompletionRequest"

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        f"{_REQUEST}.stream": False,
        f"{_REQUEST}.usage": False,
        f"{_REQUEST}.meta": False,
        f"{_REQUEST}.echo_upstream_request": False,
        "gateway.v1.StreamOptions.include_usage": False,
        "gateway.v1.DatetimeParameters.timezone": "UTC",
        "gateway.v1.ProviderRouting.include_alpha": False,
        "gateway.v1.ProviderRouting.allow_fallbacks": True,
        "gateway.v1.ProviderRouting.require_parameters": False,
        "gateway.v1.DebugOptions.return_upstream_request": False,
        "gateway.v1.DebugOptions.return_upstream_response": False,
        "gateway.v1.DebugOptions.trace": False,
        "gateway.v1.DebugOptions.trace_level": "summary",
    }
)
"""Values that the gateway itself takes for a field that is not given. All other fields are then not sent at all."""

ERROR_MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "invalid_api_key": "No key, or one that is malformed, unknown, expired or disabled.",
        "model_not_allowed": "The key may not use this model, or none of its providers.",
        "invalid_json": "The body is not JSON, not an object, not UTF-8, or nested too deep.",
        "missing_required_parameter": "A required field is not there, or null.",
        "invalid_type": "A field has the wrong JSON type.",
        "out_of_range": "A number, a length or a count of items is out of range.",
        "invalid_value": "A value is none of those allowed, or contradicts another field.",
        "unknown_parameter": "A typo of a known field, or a field of an object that takes no others.",
        "tool_disabled": "Web-search tools are disabled.",
        "unknown_tool": "A `gateway:*` tool that does not exist.",
        "invalid_timezone": "The time zone of a `gateway:datetime` tool does not exist.",
        "model_not_found": "There is no such model. The message has the nearest names.",
        "not_found": "There is nothing at this path.",
        "no_allowed_provider": "The filters in `provider` leave no endpoint. The message has the model's providers.",
        "unsupported_by_model": "No endpoint of the model supports what was asked: a modality, tools, so many tokens "
        "(`context_length_exceeded` where that is all).",
        "request_too_large": "The body is over the limit (32 MiB unless configured), or a typed message has over "
        "500,000 fields.",
        "unsupported_content_encoding": "The body is compressed.",
        "rate_limit_exceeded": "The key's own limit. `retry-after` says when to come back.",
        "upstream_rejected": "The provider says that the request is wrong. Its own `code`, status (400, 413, 422) and "
        "message are handed on where it gives them, e.g. `context_length_exceeded`.",
        "upstream_rate_limited": "Every endpoint is rate limited. `retry-after` is the shortest wait.",
        "all_providers_failed": "Every endpoint failed; `details` has each attempt.",
        "upstream_stream_broken": "The provider's stream broke off after its first content.",
        "upstream_timeout": "The provider, or all of them, took too long.",
        "overloaded": "Too many requests in flight, or the gateway is shutting down. Send the request again.",
        "internal_error": "A fault of the gateway.",
    }
)
"""What each code of `service.errors.ERRORS` means."""

OPEN_STATUSES: Mapping[str, tuple[str, ...]] = MappingProxyType({"upstream_rejected": ("400", "413", "422")})
"""Statuses of errors that have more than the one of the table."""

_KNOWN = "Every provider has it."
_DROPPED = "Dropped; named in `meta.dropped_parameters`."
_LEFT = "Endpoints without it are not used."
_LEFT_OR_DROPPED = "Endpoints whose entry lacks it are not used; dialects that have no form for it drop it."
_OWN = "The gateway's own; never sent."
_OPENAI = "Dropped and reported by other dialects than OpenAI's."

LACKING: Mapping[str, str] = MappingProxyType(
    {
        "model": _KNOWN,
        "messages": "Endpoints without a kind of input in it are not used.",
        "messages[].content[].image_url": "Endpoints without image input are not used.",
        "messages[].content[].input_audio": "Endpoints without audio input are not used.",
        "messages[].content[].video_url": "Endpoints without video input are not used.",
        "messages[].content[].file": "Endpoints without file input are not used.",
        "system": _KNOWN,
        "stream": _KNOWN,
        "stream_options": "Usage is counted all the same; the rest is dropped and reported.",
        "max_completion_tokens": "Sent under the provider's name for it; never dropped.",
        "temperature": f"{_DROPPED} Brought into the provider's range (`meta.adjusted_parameters`).",
        "top_p": _DROPPED,
        "top_k": _DROPPED,
        "frequency_penalty": _DROPPED,
        "presence_penalty": _DROPPED,
        "logit_bias": _DROPPED,
        "seed": _DROPPED,
        "stop": f"{_DROPPED} Surplus sequences are cut (`meta.adjusted_parameters`).",
        "logprobs": _LEFT_OR_DROPPED,
        "top_logprobs": _DROPPED,
        "n": "Endpoints without it are not used when it is more than 1.",
        "response_format": "Endpoints without it are not used for JSON formats.",
        "verbosity": _DROPPED,
        "prediction": _DROPPED,
        "tools": _LEFT,
        "tool_choice": "Endpoints without it are not used when it forces a call or names tools; "
        "with `none` they are sent no tools.",
        "parallel_tool_calls": _DROPPED,
        "max_tool_calls": _OWN,
        "functions": _LEFT,
        "function_call": _DROPPED,
        "web_search_options": _LEFT_OR_DROPPED,
        "reasoning": "Brought into the provider's form (effort, budget, level); what has none is dropped and reported.",
        "thinking": "As `reasoning`.",
        "reasoning_effort": "As `reasoning`.",
        "modalities": "Endpoints without a kind of output in it are not used.",
        "image_config": _DROPPED,
        "audio": _DROPPED,
        "provider": f"{_OWN} Unknown keys are reported as dropped.",
        "provider_options": "Each part goes to its own dialect alone; unknown ones are reported as dropped.",
        "service_tier": f"{_DROPPED} `standard` goes to OpenAI as `default`.",
        "speed": f"{_OWN} Other values than `fast` are reported as dropped.",
        "prompt_cache_key": _OPENAI,
        "prompt_cache_options": _OPENAI,
        "prompt_cache_retention": _OPENAI,
        "safety_identifier": _DROPPED,
        "user_id": _DROPPED,
        "metadata": f"{_DROPPED} Logs have it in any case.",
        "store": _DROPPED,
        "moderation": _OPENAI,
        "session_id": _OWN,
        "usage": _OWN,
        "meta": _OWN,
        "echo_upstream_request": _OWN,
        "debug": _OWN,
    }
)
"""What becomes of each top-level request field, and of some within them, where a provider or an endpoint lacks it."""
