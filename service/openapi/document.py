"""Puts the OpenAPI document together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.openapi import operations
from service.openapi.meanings import DEFAULTS
from service.openapi.schemas import Schema, Side, View, component, member_tags, reachable
from service.openapi.source import Method, Source

Document = dict[str, Any]

_INPUT_ROOTS = ("gateway.v1.CreateChatCompletionRequest",)
_OUTPUT_ROOTS = ("gateway.v1.ChatCompletion", "gateway.v1.ChatCompletionChunk")

_DESCRIPTION = "\n".join(
    (
        "OpenAI's chat completions for every provider, with routing, failover and the gateway's own tools.",
        "",
        "- `null` on an optional request field is the same as not given. Whole numbers may be written as `1.0`.",
        "- Unknown request fields go to OpenAI-compatible providers as they are, where `additionalProperties` is true.",
        "- At the top level of a request, an unknown field one edit away from a known one (six letters or more) is",
        "  refused as a typo.",
        "- Where a field has aliases, the field itself beats them.",
        "- Answers may have fields that this description does not know, wherever `additionalProperties` is true.",
    )
)


def make_document(source: Source) -> Document:
    """Return the OpenAPI 3.1 document, in the order a person reads it.

    Raises:
        KeyError: a method, an error code or a comment is missing where it has to be said.
    """
    schemas, names = _components(source)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Chat Gateway", "version": "1.0.0", "description": _DESCRIPTION},
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "tags": [{"name": name} for name in operations.TAGS],
        "paths": operations.paths(_ordered(source), names),
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": "A key of the gateway's configuration."}
            },
            "parameters": dict(operations.PARAMETERS),
            "headers": dict(operations.HEADERS),
            "responses": operations.error_responses(),
            "schemas": {**schemas, "Error": operations.error_schema()},
        },
    }


def _ordered(source: Source) -> list[Method]:
    return sorted(source.methods, key=lambda method: (method.verb != "post", not method.path.startswith("/v1/")))


def _components(source: Source) -> tuple[dict[str, Schema], Mapping[str, str]]:
    """Return all schemas by component name, and the component names of the methods' messages."""
    inputs = reachable(source, _INPUT_ROOTS)
    outputs = reachable(source, _OUTPUT_ROOTS)
    answers = [method.output for method in source.methods if method.output in source.messages]
    typed = reachable(source, answers)
    shared = set(inputs) & set(outputs)
    if shared & set(typed) or set(typed) & {*inputs, *outputs}:
        raise TypeError("a message of the chat API in a typed answer: its JSON differs")
    views = [
        _view(source, Side.INPUT, inputs, shared, "Input"),
        _view(source, Side.OUTPUT, outputs, shared, ""),
        _view(source, Side.TYPED, typed, shared, ""),
    ]
    schemas: dict[str, Schema] = {}
    names: dict[str, str] = {}
    for view, messages in zip(views, (inputs, outputs, typed), strict=True):
        for message in messages:
            if _is_component(source, message):
                schemas[view.names[message]] = component(view, message)
        names.update(view.names)
    return schemas, names


def _view(source: Source, side: Side, messages: Sequence[str], shared: set[str], suffix: str) -> View:
    names = {name: name.rpartition(".")[2] + (suffix if name in shared else "") for name in messages}
    return View(source, side, names, member_tags(source, messages), DEFAULTS)


def _is_component(source: Source, message: str) -> bool:
    """Whether a message stands as an object; one that is the list of a union is written in place."""
    return source.messages[message].wrapped_list is None
