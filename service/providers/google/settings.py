"""Everything of a request but its messages, as the fields of Gemini's body: `generationConfig`, tools and the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson
from gateway.v1.chat_request_pb2 import (
    CreateChatCompletionRequest,
    ImageSize,
    Modality,
    ProviderOptions,
    ResponseFormatType,
    ServiceTier,
)
from gateway.v1.tools_pb2 import FunctionTool, ToolChoiceMode

from service.codec import parse
from service.config import Endpoint
from service.providers.google.parameters import calls_nothing
from service.providers.google.reasoning import thinking_config
from service.providers.report import Report

MAX_CANDIDATES = 8
_MAX_STOP_SEQUENCES = 5
_HIGHEST_PENALTY = 1.99  # the range excludes 2
_SEEDS = 2**31  # int32

_MODALITIES: Mapping[int, str] = MappingProxyType(
    {Modality.MODALITY_TEXT: "TEXT", Modality.MODALITY_IMAGE: "IMAGE", Modality.MODALITY_AUDIO: "AUDIO"}
)
_IMAGE_SIZES: Mapping[int, str] = MappingProxyType(
    {
        ImageSize.IMAGE_SIZE_HALF_K: "512",
        ImageSize.IMAGE_SIZE_1K: "1K",
        ImageSize.IMAGE_SIZE_2K: "2K",
        ImageSize.IMAGE_SIZE_4K: "4K",
    }
)
_SERVICE_TIERS: Mapping[int, str] = MappingProxyType(
    {
        ServiceTier.SERVICE_TIER_DEFAULT: "standard",
        ServiceTier.SERVICE_TIER_STANDARD: "standard",
        ServiceTier.SERVICE_TIER_FLEX: "flex",
        ServiceTier.SERVICE_TIER_PRIORITY: "priority",
    }
)
_MODES: Mapping[int, str] = MappingProxyType(
    {
        ToolChoiceMode.TOOL_CHOICE_MODE_AUTO: "AUTO",
        ToolChoiceMode.TOOL_CHOICE_MODE_NONE: "NONE",
        ToolChoiceMode.TOOL_CHOICE_MODE_REQUIRED: "ANY",
    }
)
# https://cloud.google.com/vertex-ai/generative-ai/docs/multimodal/add-labels-to-api-calls
_LABEL = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}")


def generation_config(
    request: CreateChatCompletionRequest, endpoint: Endpoint, wanted: frozenset[str], report: Report
) -> dict[str, Any]:
    """Return `generationConfig`. `wanted` names the request's fields that are to be sent."""
    config: dict[str, Any] = {}
    if request.HasField("max_completion_tokens"):
        config["maxOutputTokens"] = request.max_completion_tokens
    config.update(_sampling(request, wanted, report))
    if "response_format" in wanted:
        config.update(_response_format(request))
    if "reasoning" in wanted and (thinking := thinking_config(request.reasoning, endpoint, report)):
        config["thinkingConfig"] = thinking
    if "modalities" in wanted:
        config["responseModalities"] = [_MODALITIES[kind] for kind in request.modalities]
    if "image_config" in wanted and (image := _image_config(request, report)):
        config["imageConfig"] = image
    if "audio" in wanted and (speech := _speech_config(request, report)):
        config["speechConfig"] = speech
    return config


def _sampling(request: CreateChatCompletionRequest, wanted: frozenset[str], report: Report) -> dict[str, Any]:
    config: dict[str, Any] = {}
    if "temperature" in wanted:
        config["temperature"] = request.temperature
    if "top_p" in wanted:
        config["topP"] = request.top_p
    if "top_k" in wanted:
        config["topK"] = request.top_k
    if "presence_penalty" in wanted:
        config["presencePenalty"] = _penalty("presence_penalty", request.presence_penalty, report)
    if "frequency_penalty" in wanted:
        config["frequencyPenalty"] = _penalty("frequency_penalty", request.frequency_penalty, report)
    if "seed" in wanted:
        config["seed"] = seed = request.seed % _SEEDS
        if seed != request.seed:
            report.adjust("seed", request.seed, seed)
    if "stop" in wanted and (stop := _stop_sequences(request, report)):
        config["stopSequences"] = stop
    if "n" in wanted:
        config["candidateCount"] = request.n
    if "logprobs" in wanted and request.logprobs:
        config["responseLogprobs"] = True
        if "top_logprobs" in wanted and request.top_logprobs:
            config["logprobs"] = request.top_logprobs
    elif "top_logprobs" in wanted:
        report.drop("top_logprobs")
    return config


def _penalty(name: str, asked: float, report: Report) -> float:
    if asked <= _HIGHEST_PENALTY:
        return asked
    report.adjust(name, asked, _HIGHEST_PENALTY)
    return _HIGHEST_PENALTY


def _stop_sequences(request: CreateChatCompletionRequest, report: Report) -> list[str]:
    if request.HasField("stop_sequence"):
        return [request.stop_sequence]
    asked = list(request.stop_sequences.sequences)
    if len(asked) > _MAX_STOP_SEQUENCES:
        report.adjust("stop", asked, asked[:_MAX_STOP_SEQUENCES])
    return asked[:_MAX_STOP_SEQUENCES]


def _response_format(request: CreateChatCompletionRequest) -> dict[str, Any]:
    form = request.response_format_object
    match form.type:
        case ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON_OBJECT:
            return {"responseMimeType": "application/json"}
        case ResponseFormatType.RESPONSE_FORMAT_TYPE_JSON_SCHEMA:
            schema = orjson.Fragment(form.json_schema.schema)
            return {"responseMimeType": "application/json", "responseJsonSchema": schema}
        case _:
            return {}


def _image_config(request: CreateChatCompletionRequest, report: Report) -> dict[str, Any]:
    asked = request.image_config
    config = {"aspectRatio": asked.aspect_ratio} if asked.HasField("aspect_ratio") else {}
    if asked.image_size:
        config["imageSize"] = _IMAGE_SIZES[asked.image_size]
    for field, _ in asked.ListFields():
        if field.name not in ("aspect_ratio", "image_size", "extra"):
            report.drop(f"image_config.{field.name}")
    for name in asked.extra:
        report.drop(f"image_config.{name}")
    return config


def _speech_config(request: CreateChatCompletionRequest, report: Report) -> dict[str, Any]:
    if request.audio.HasField("format"):
        report.drop("audio.format")
    if not request.audio.HasField("voice_name"):
        report.drop("audio.voice")
        return {}
    return {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": request.audio.voice_name}}}


def tool_fields(request: CreateChatCompletionRequest, wanted: frozenset[str], report: Report) -> dict[str, Any]:
    """Return `tools` and `toolConfig`."""
    if request.HasField("parallel_tool_calls") and not request.parallel_tool_calls:
        report.drop("parallel_tool_calls")
    if not request.tools or (calls_nothing(request) and "tool_choice" not in wanted):
        # Without the choice a model would go on calling; no tools say the same.
        return {}
    declarations = [_declaration(tool.function, report) for tool in request.tools]
    fields: dict[str, Any] = {"tools": [{"functionDeclarations": declarations}]}
    if "tool_choice" in wanted and (config := _calling_config(request)):
        fields["toolConfig"] = {"functionCallingConfig": config}
    return fields


def _declaration(tool: FunctionTool, report: Report) -> dict[str, Any]:
    if tool.HasField("cache_control"):
        report.drop("cache_control")
    if tool.function.strict:
        report.drop("tools[].function.strict")
    report.drop_unknown("tools[]", tool)
    report.drop_unknown("tools[].function", tool.function)
    declaration: dict[str, Any] = {"name": tool.function.name}
    if tool.function.HasField("description"):
        declaration["description"] = tool.function.description
    if tool.function.HasField("parameters"):
        declaration["parametersJsonSchema"] = orjson.Fragment(tool.function.parameters)
    return declaration


def _calling_config(request: CreateChatCompletionRequest) -> dict[str, Any] | None:
    if request.WhichOneof("tool_choice") == "tool_choice_mode":
        mode = _MODES.get(request.tool_choice_mode)
        return {"mode": mode} if mode else None
    choice = request.tool_choice_object
    match choice.WhichOneof("choice"):
        case "function":
            return {"mode": "ANY", "allowedFunctionNames": [choice.function.function.name]}
        case "allowed_tools":
            allowed = choice.allowed_tools.allowed_tools
            names = [name for text in allowed.tools if (name := _referenced(text))]
            # names are only taken with a mode that checks calls; VALIDATED is the one that leaves the choice open
            return {"mode": "ANY" if allowed.mode == "required" else "VALIDATED", "allowedFunctionNames": names}
        case _:
            return None


def _referenced(text: str) -> str | None:
    reference = parse(text.encode())
    function = reference.get("function")
    name = function.get("name") if isinstance(function, dict) else reference.get("name")
    return name if isinstance(name, str) else None


def request_fields(request: CreateChatCompletionRequest, wanted: frozenset[str], report: Report) -> dict[str, Any]:
    """Return the fields beside `generationConfig`: the tier, labels, storing."""
    fields: dict[str, Any] = {}
    if "service_tier" in wanted:
        if tier := _SERVICE_TIERS.get(request.service_tier):
            fields["serviceTier"] = tier
        elif request.service_tier != ServiceTier.SERVICE_TIER_AUTO:
            report.drop("service_tier")
    if "metadata" in wanted:
        labels = dict(request.metadata)
        if all(_LABEL.fullmatch(key) and _LABEL_VALUE.fullmatch(value) for key, value in labels.items()):
            fields["labels"] = labels
        else:
            report.drop("metadata")
    if "store" in wanted:
        fields["store"] = request.store
    return fields


def add_options(body: dict[str, Any], options: ProviderOptions, report: Report) -> None:
    """Add `provider_options.google`. Its unknown fields are the API's own: sent verbatim, they replace none."""
    report.drop_fields("provider_options.openai", options.openai)
    report.drop_fields("provider_options.anthropic", options.anthropic)
    google = options.google
    if google.HasField("cached_content"):
        name = google.cached_content
        body["cachedContent"] = name if "/" in name else f"cachedContents/{name}"
    if google.HasField("cache_control"):
        report.drop("provider_options.google.cache_control")
    if google.HasField("cache_ttl"):
        report.drop("provider_options.google.cache_ttl")
    for name, text in google.extra.items():
        if name in body:
            report.drop(f"provider_options.google.{name}")
        else:
            body[name] = orjson.Fragment(text)
