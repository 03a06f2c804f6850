"""Turns the HTTP methods into OpenAPI paths: parameters, bodies, headers and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from service.errors import ERRORS
from service.openapi import examples
from service.openapi.meanings import ERROR_MEANINGS, OPEN_STATUSES
from service.openapi.source import Method

Json = dict[str, Any]

_HTTP_BODY = "google.api.HttpBody"


@dataclass(frozen=True, slots=True)
class Details:
    """What the protos do not say of a method. `is_open`: it needs no key. `errors` are HTTP statuses."""

    tag: str
    errors: Sequence[str] = ()
    is_open: bool = False
    media_type: str = "application/json"


_DETAILS: Mapping[str, Details] = MappingProxyType(
    {
        "CreateChatCompletion": Details(
            "Chat", ("400", "401", "403", "404", "413", "422", "429", "500", "502", "503", "504")
        ),
        "ListModels": Details("Catalogue", ("400", "401", "503")),
        "GetModel": Details("Catalogue", ("400", "401", "404", "503")),
        "ListProviders": Details("Catalogue", ("400", "401", "503")),
        "GetHealth": Details("Health", is_open=True),
        "GetReadiness": Details("Health", ("503",), is_open=True),
        "GetOpenApi": Details("Description", is_open=True),
        "GetDocs": Details("Description", is_open=True, media_type="text/html"),
    }
)

TAGS = ("Chat", "Catalogue", "Health", "Description")

PARAMETERS: Mapping[str, Json] = MappingProxyType(
    {
        "RequestTimeout": {
            "name": "x-request-timeout",
            "in": "header",
            "description": "Seconds to wait for the answer, decimals allowed. It caps the gateway's own timeouts.",
            "schema": {"type": "number", "exclusiveMinimum": 0},
        },
    }
)

_HEADERS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "x-generation-id": ("string", "The id of this call, which logs have too. In a chat completion it is the `id`."),
        "x-gateway-provider": ("string", "The provider that served, or was tried last."),
        "x-gateway-attempts": ("integer", "Attempts at providers, failed ones included."),
        "server-timing": ("string", "Milliseconds until the answer began: `gateway;dur=12.3`."),
        "x-request-id": ("string", "The id of the request: the client's own `x-request-id`, or one made by the edge."),
        "retry-after": ("integer", "Seconds to wait before the request is sent again."),
        "www-authenticate": ("string", "`Bearer`."),
        "x-ratelimit-limit-requests": ("integer", "The key's requests per minute."),
        "x-ratelimit-remaining-requests": ("integer", "Requests that are left."),
        "x-ratelimit-reset-requests": ("string", "Until the limit is full again, e.g. `1s`, `6m0s`."),
        "x-ratelimit-limit-tokens": ("integer", "The key's tokens per minute."),
        "x-ratelimit-remaining-tokens": ("integer", "Tokens that are left."),
        "x-ratelimit-reset-tokens": ("string", "Until the limit is full again, e.g. `1s`, `6m0s`."),
    }
)
HEADERS: Mapping[str, Json] = MappingProxyType(
    {name: {"description": text, "schema": {"type": kind}} for name, (kind, text) in _HEADERS.items()}
)

_CALL = ("x-generation-id", "server-timing", "x-request-id")
_SERVED = (*_CALL, "x-gateway-provider", "x-gateway-attempts")
_LIMITS = tuple(name for name in _HEADERS if name.startswith("x-ratelimit-"))
_ERROR_HEADERS: Mapping[str, Sequence[str]] = MappingProxyType(
    {
        "401": (*_CALL, "www-authenticate"),
        "429": (*_SERVED, "retry-after", *_LIMITS),
        "502": _SERVED,
        "503": (*_CALL, "retry-after"),
        "504": _SERVED,
    }
)


def paths(methods: Sequence[Method], names: Mapping[str, str]) -> Json:
    """Return the paths. `names` gives the component of each message."""
    result: Json = {}
    for method in methods:
        result.setdefault(method.path, {})[method.verb] = _operation(method, names)
    return result


def error_responses() -> Json:
    """Return a response for each status that an error has, and one for those that the edge itself answers with."""
    statuses = sorted({status for code in ERRORS for status in error_statuses(code)})
    responses = {f"Error{status}": _error_response(status) for status in statuses}
    text = "An answer of the edge itself: it has `request_id` instead of `generation_id`."
    return {**responses, "EdgeError": {"description": text, "content": _error_content()}}


def error_statuses(code: str) -> tuple[str, ...]:
    """Return the HTTP statuses that an error may have."""
    return OPEN_STATUSES.get(code, (str(ERRORS[code].http),))


def error_rows() -> list[tuple[str, str, str, str, str]]:
    """Return of each error: code, HTTP statuses, type, gRPC code, and when it happens."""
    return [
        (code, " ".join(error_statuses(code)), each.type, each.grpc, ERROR_MEANINGS[code])
        for code, each in ERRORS.items()
    ]


def error_schema() -> Json:
    """Return the schema of the error envelope."""
    meanings = "\n".join(f"- `{code}`: {ERROR_MEANINGS[code]}" for code in ERRORS)
    codes = {"type": "string", "enum": list(ERRORS)}
    open_code = {"type": "string", "description": "A provider's own code, or one of the edge."}
    return {
        "description": "OpenAI's error envelope.",
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"description": "What is wrong, for people.", "type": "string"},
                    "type": {
                        "description": "The class of the error.",
                        "type": "string",
                        "enum": list(dict.fromkeys(each.type for each in ERRORS.values())),
                    },
                    "param": {
                        "description": "Path of the field at fault, e.g. `messages[2].content[0].image_url.url`.",
                        "type": ["string", "null"],
                    },
                    "code": {"description": f"What is wrong, for programs.\n\n{meanings}", "anyOf": [codes, open_code]},
                    "generation_id": {"description": "The id of the call.", "type": "string"},
                    "request_id": {
                        "description": "The id of the request, in errors of the edge itself.",
                        "type": ["string", "null"],
                    },
                    "details": {
                        "description": "More about it: the provider, or each attempt.",
                        "type": "array",
                        "items": {"type": "object", "additionalProperties": True},
                    },
                },
                "additionalProperties": False,
            }
        },
        "additionalProperties": False,
    }


def _operation(method: Method, names: Mapping[str, str]) -> Json:
    details = _DETAILS[method.name]
    title, _, rest = method.summary.partition("\n\n")
    operation: Json = {"tags": [details.tag], "summary": title.rstrip("."), "operationId": _operation_id(method)}
    if rest:
        operation["description"] = rest
    parameters = _parameters(method, details)
    if parameters:
        operation["parameters"] = parameters
    if method.name == "CreateChatCompletion":
        operation["requestBody"] = _chat_request(names)
    ok = _chat_answer(names) if method.name == "CreateChatCompletion" else _answer(method, details, names)
    errors = {status: {"$ref": f"#/components/responses/Error{status}"} for status in details.errors}
    operation["responses"] = {"200": ok, **errors, "default": {"$ref": "#/components/responses/EdgeError"}}
    if details.is_open:
        operation["security"] = []
    return operation


def _operation_id(method: Method) -> str:
    name = method.name[0].lower() + method.name[1:]
    return "getLiveness" if method.path == "/livez" else name


def _parameters(method: Method, details: Details) -> list[Json]:
    found: list[Json] = []
    if "{model}" in method.path:
        text = "The model's id. Its slashes may stand as they are, or percent-encoded."
        schema = {"type": "string", "minLength": 1}
        found.append({"name": "model", "in": "path", "required": True, "description": text, "schema": schema})
    if not details.is_open:
        found.append({"$ref": "#/components/parameters/RequestTimeout"})
    return found


def _chat_request(names: Mapping[str, str]) -> Json:
    schema = _ref(names["gateway.v1.CreateChatCompletionRequest"])
    content = {"application/json": {"schema": schema, "examples": dict(examples.REQUESTS)}}
    return {"required": True, "content": content}


def _chat_answer(names: Mapping[str, str]) -> Json:
    whole = {"schema": _ref(names["gateway.v1.ChatCompletion"]), "examples": dict(examples.ANSWERS)}
    piece = {"schema": _ref(names["gateway.v1.ChatCompletionChunk"]), "examples": dict(examples.EVENTS)}
    return {
        "description": "The answer; with `stream: true`, server-sent events. The data of each event is a chunk; the "
        "last event is `[DONE]`, or one with an error, after which nothing comes.",
        "headers": _headers((*_SERVED, *_LIMITS)),
        "content": {"application/json": whole, "text/event-stream": piece},
    }


def _answer(method: Method, details: Details, names: Mapping[str, str]) -> Json:
    if method.output != _HTTP_BODY:
        schema = _ref(names[method.output])
    elif details.media_type == "application/json":
        schema = {"type": "object", "additionalProperties": True}
    else:
        schema = {"type": "string"}
    answer: Json = {"description": "The answer."}
    if not details.is_open:
        answer["headers"] = _headers(_CALL)
    return {**answer, "content": {details.media_type: {"schema": schema}}}


def _error_response(status: str) -> Json:
    codes = ", ".join(f"`{code}`" for code in ERRORS if status in error_statuses(code))
    headers = _headers(_ERROR_HEADERS.get(status, _CALL))
    return {"description": codes, "headers": headers, "content": _error_content()}


def _error_content() -> Json:
    return {"application/json": {"schema": _ref("Error"), "example": dict(examples.ERROR)}}


def _headers(names: Sequence[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}
