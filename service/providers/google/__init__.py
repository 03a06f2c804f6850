"""The Gemini dialect: `generateContent` and `streamGenerateContent`, as ai.google.dev describes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest
from gateway.v1.chat_response_pb2 import AssistantMessage, ChatCompletion, Choice
from gateway.v1.content_pb2 import TOOL_CALL_TYPE_FUNCTION, FunctionCall, ToolCall

from service.codec import dumps
from service.config import Endpoint, Provider
from service.errors import FailureKind, ProviderFailure
from service.providers.dialect import StreamDecoder, UpstreamRequest
from service.providers.google.answers import (
    Call,
    blocked_prompt,
    detail_of,
    finish_reason_of,
    logprobs_of,
    read_parts,
    usage_of,
)
from service.providers.google.contents import Dialogue, uses_audio_reference
from service.providers.google.errors import decode_error, error_of
from service.providers.google.media import audio_supported
from service.providers.google.parameters import wanted_fields, without_refused
from service.providers.google.reasoning import style_of
from service.providers.google.settings import (
    MAX_CANDIDATES,
    add_options,
    generation_config,
    request_fields,
    tool_fields,
)
from service.providers.google.shapes import Json, get_count, get_objects, get_text, json_object
from service.providers.google.signatures import put_signature
from service.providers.google.stream import GoogleStreamDecoder
from service.providers.report import Report

__all__ = ["GoogleDialect"]


class GoogleDialect:
    """The Gemini API, with a key of AI Studio or anything that a header can carry."""

    def unsupported(self, request: CreateChatCompletionRequest, endpoint: Endpoint) -> str | None:
        """Return what of the request Gemini can never carry, or None."""
        if any(tool.WhichOneof("tool") != "function" for tool in request.tools):
            return "custom tools"
        if request.functions:
            return "functions"
        if request.n > MAX_CANDIDATES:
            return "n"
        if uses_audio_reference(request.messages):
            return "messages[].audio"
        for message in request.messages:
            if not message.HasField("parts"):
                continue
            for part in message.parts.parts:
                if part.HasField("audio") and not audio_supported(part.audio.input_audio):
                    return "input_audio.format"
        return None

    def encode(
        self,
        request: CreateChatCompletionRequest,
        provider: Provider,
        endpoint: Endpoint,
        refused: frozenset[str],
    ) -> UpstreamRequest:
        """Return the HTTP request for a normalised request."""
        report = Report()
        wanted = wanted_fields(request, endpoint, report)
        dialogue = Dialogue(_versioned(provider.base_url), style_of(endpoint) == "level", report)
        body = dialogue.body(request.messages)
        body.update(tool_fields(request, wanted, report))
        body.update(request_fields(request, wanted, report))
        if config := generation_config(request, endpoint, wanted, report):
            body["generationConfig"] = config
        if request.HasField("provider_options"):
            add_options(body, request.provider_options, report)
        without_refused(body, refused, report)
        return UpstreamRequest(
            url=_url(provider, endpoint, stream=request.stream),
            headers=_headers(provider),
            body=dumps(body),
            dropped=tuple(report.dropped),
            adjusted=tuple(report.adjusted),
            choices=config.get("candidateCount", 1),
        )

    def decode(self, body: bytes) -> ChatCompletion:
        """Return the answer that a 200 body means.

        Raises:
            ProviderFailure: the body is malformed, empty or an error, or the model ended without a usable answer.
        """
        answer = json_object(body)
        if answer.get("error") is not None:
            raise error_of(answer["error"], None, {})
        completion = ChatCompletion()
        if response_id := get_text(answer, "responseId"):
            completion.native_response_id = response_id
        if version := get_text(answer, "modelVersion"):
            completion.system_fingerprint = version
        completion.choices.extend(_choice(candidate, response_id) for candidate in get_objects(answer, "candidates"))
        if (blocked := blocked_prompt(answer)) is not None:
            message = AssistantMessage(role="assistant", content="")
            completion.choices.add(message=message, finish_reason="content_filter", extra=blocked)
        if not completion.choices:
            raise ProviderFailure(FailureKind.EMPTY, "The provider answered without a candidate.")
        if (usage := usage_of(answer)) is not None:
            completion.usage.CopyFrom(usage)
        return completion

    def stream_decoder(self, choices: int = 1) -> StreamDecoder:
        """Return a decoder for one stream."""
        return GoogleStreamDecoder(choices)

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderFailure:
        """Return the failure that a non-200 answer means."""
        return decode_error(status, headers, body)


def _versioned(base_url: str) -> str:
    """Return the API's address up to the version, `v1beta` unless the configuration names one."""
    base = base_url.rstrip("/")
    return base if re.search(r"/v\d\w*$", base) else f"{base}/v1beta"


def _url(provider: Provider, endpoint: Endpoint, *, stream: bool) -> str:
    model = quote(endpoint.model, safe="/:@")
    if "{model}" in provider.base_url:
        address = provider.base_url.replace("{model}", model)
    else:
        path = model if model.startswith(("models/", "tunedModels/")) else f"models/{model}"
        address = f"{_versioned(provider.base_url)}/{path}"
    query = {**provider.query, "alt": "sse"} if stream else provider.query
    method = "streamGenerateContent" if stream else "generateContent"
    return f"{address}:{method}?{urlencode(query)}" if query else f"{address}:{method}"


def _headers(provider: Provider) -> dict[str, str]:
    headers = {"content-type": "application/json"}
    if provider.api_key is not None:
        name = (provider.api_key_header or "x-goog-api-key").lower()
        key = provider.api_key.get_secret_value()
        headers[name] = f"Bearer {key}" if name == "authorization" else key
    headers.update({name.lower(): value for name, value in provider.headers.items()})
    return headers


def _choice(candidate: Json, response_id: str) -> Choice:
    pieces = read_parts(candidate, response_id, 0)
    message = AssistantMessage(
        role="assistant",
        tool_calls=[_tool_call(call) for call in pieces.calls],
        images=pieces.images,
        audios=pieces.audios,
        extra=pieces.extra(),
    )
    if pieces.text or not (pieces.calls or pieces.images or pieces.audios):
        message.content = "".join(pieces.text)
    if pieces.reasoning:
        message.reasoning_content = "".join(pieces.reasoning)
    finish = finish_reason_of(candidate, called=bool(pieces.calls))
    choice = Choice(index=get_count(candidate, "index"), message=message, extra=detail_of(candidate, finish))
    if (logprobs := logprobs_of(candidate)) is not None:
        choice.logprobs.CopyFrom(logprobs)
    if finish is not None:
        choice.finish_reason = finish
    return choice


def _tool_call(call: Call) -> ToolCall:
    function = FunctionCall(name=call.name, arguments=call.arguments)
    message = ToolCall(id=call.id, type=TOOL_CALL_TYPE_FUNCTION, function=function)
    if call.signature:
        put_signature(message.extra, call.signature)
    return message
