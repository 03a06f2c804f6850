"""Who may serve a request: every filter, and the error when nobody is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from gateway.v1.chat_request_pb2 import (
    MODALITY_IMAGE,
    MODALITY_TEXT,
    RESPONSE_FORMAT_TYPE_JSON_SCHEMA,
    RESPONSE_FORMAT_TYPE_TEXT,
    CreateChatCompletionRequest,
    MaxPrice,
    ProviderRouting,
    ResponseFormat,
)
from gateway.v1.content_pb2 import (
    ROLE_USER,
    AudioPart,
    ChatMessage,
    ContentPart,
    ContentParts,
    FilePart,
    ImagePart,
    TextPart,
    VideoPart,
)
from gateway.v1.tools_pb2 import (
    TOOL_CHOICE_MODE_AUTO,
    TOOL_CHOICE_MODE_REQUIRED,
    FunctionDefinition,
    FunctionTool,
    Tool,
)

from service.errors import GatewayError
from service.routing import larger_context, read_contents
from tests.unit.routing.builders import MODEL, Routing, ask, caller, catalogue, left, order

TOOLS = [Tool(function=FunctionTool(function=FunctionDefinition(name="f")))]
SCHEMA = ResponseFormat(type=RESPONSE_FORMAT_TYPE_JSON_SCHEMA)
SAMPLING = {"supported_parameters": ["temperature", "top_p"]}
TEXT_ONLY = {"modalities": {"input": ["text"], "output": ["text"]}}


def say(part: ContentPart) -> CreateChatCompletionRequest:
    parts = ContentParts(parts=[ContentPart(text=TextPart(text="look")), part])
    return CreateChatCompletionRequest(model=MODEL, messages=[ChatMessage(role=ROLE_USER, parts=parts)])


def prefer(**fields: Any) -> CreateChatCompletionRequest:
    return ask(provider=ProviderRouting(**fields))


# What b is configured with beside a, the request, whether b is a candidate, and b's reason.
FILTERS: Mapping[str, tuple[Mapping[str, Any], CreateChatCompletionRequest, str | None]] = {
    "nothing asked": ({}, ask(), None),
    "only": ({}, prefer(only=["a"]), "not in provider.only"),
    "only, trimmed and folded": ({}, prefer(only=[" A ", "B\t"]), None),
    "ignore": ({}, prefer(ignore=[" B"]), "in provider.ignore"),
    "ignore of somebody unknown": ({}, prefer(ignore=["c"]), None),
    "disabled": ({"status": "disabled"}, prefer(include_alpha=True), "disabled"),
    "alpha": ({"status": "alpha"}, ask(), "in alpha: needs provider.include_alpha"),
    "alpha, included": ({"status": "alpha"}, prefer(include_alpha=True), None),
    "max_price, cheap enough": (
        {"prices": {"input": 1, "output": 2}},
        prefer(only=["a", "b"], max_price=MaxPrice(prompt=1, completion=2)),
        None,
    ),
    "max_price of input": (
        {"prices": {"input": 1.5, "output": 1}},
        prefer(max_price=MaxPrice(prompt=1)),
        "dearer than provider.max_price",
    ),
    "max_price of output": (
        {"prices": {"input": 1, "output": 3}},
        prefer(max_price=MaxPrice(completion=2)),
        "dearer than provider.max_price",
    ),
    "max_price, empty": ({}, prefer(max_price=MaxPrice()), None),
    "image input": (TEXT_ONLY, say(ContentPart(image=ImagePart())), "image input is not supported"),
    "audio input": (TEXT_ONLY, say(ContentPart(audio=AudioPart())), "audio input is not supported"),
    "video input": (TEXT_ONLY, say(ContentPart(video=VideoPart())), "video input is not supported"),
    "file input": (TEXT_ONLY, say(ContentPart(file=FilePart())), "file input is not supported"),
    "image input, not said": ({}, say(ContentPart(image=ImagePart())), None),
    "image output": (TEXT_ONLY, ask(modalities=[MODALITY_TEXT, MODALITY_IMAGE]), "image output is not supported"),
    "text output": (TEXT_ONLY, ask(modalities=[MODALITY_TEXT]), None),
    "tools": (SAMPLING, ask(tools=TOOLS), "tools is not supported"),
    "tools, supported": ({"supported_parameters": ["tools"]}, ask(tools=TOOLS), None),
    "a free tool choice": (
        {"supported_parameters": ["tools"]},
        ask(tools=TOOLS, tool_choice_mode=TOOL_CHOICE_MODE_AUTO),
        None,
    ),
    "a forced tool choice": (
        {"supported_parameters": ["tools"]},
        ask(tools=TOOLS, tool_choice_mode=TOOL_CHOICE_MODE_REQUIRED),
        "tool_choice is not supported",
    ),
    "functions": (SAMPLING, ask(functions=[FunctionDefinition(name="f")]), "functions is not supported"),
    "functions by tools": ({"supported_parameters": ["tools"]}, ask(functions=[FunctionDefinition(name="f")]), None),
    "structured output": (SAMPLING, ask(response_format_object=SCHEMA), "response_format is not supported"),
    "structured output, by another name": (
        {"supported_parameters": ["structured_outputs"]},
        ask(response_format_object=SCHEMA),
        None,
    ),
    "plain text": (SAMPLING, ask(response_format_object=ResponseFormat(type=RESPONSE_FORMAT_TYPE_TEXT)), None),
    "logprobs": (SAMPLING, ask(logprobs=True), "logprobs is not supported"),
    "no logprobs": (SAMPLING, ask(logprobs=False), None),
    "n": (SAMPLING, ask(n=2), "n is not supported"),
    "one choice": (SAMPLING, ask(n=1), None),
    "a sampling parameter is dropped": (SAMPLING, ask(seed=1), None),
    "unless parameters are required": (
        SAMPLING,
        ask(seed=1, temperature=1, provider=ProviderRouting(require_parameters=True)),
        "seed is not supported",
    ),
    "required and there": (SAMPLING, ask(temperature=1, provider=ProviderRouting(require_parameters=True)), None),
    "the token limit is never dropped": (
        SAMPLING,
        ask(max_completion_tokens=5, provider=ProviderRouting(require_parameters=True)),
        None,
    ),
    "too many output tokens": (
        {"max_output_tokens": 100},
        ask(max_completion_tokens=101),
        "more than 100 output tokens is not supported",
    ),
    "output tokens at the limit": ({"max_output_tokens": 100}, ask(max_completion_tokens=100), None),
    "clearly too long": (
        {"context_length": 100},
        ask(system="", max_completion_tokens=101),
        "a context of about 101 tokens (it takes 100) is not supported",
    ),
    "perhaps too long": (
        {"context_length": 100},
        CreateChatCompletionRequest(messages=[ChatMessage(text="x" * 599)]),
        None,
    ),
    "too long by its text": (
        {"context_length": 100},
        CreateChatCompletionRequest(messages=[ChatMessage(text="x" * 606)]),
        "a context of about 101 tokens (it takes 100) is not supported",
    ),
}


@pytest.mark.parametrize("case", FILTERS)
def test_an_endpoint_is_kept_or_left_with_its_reason(case: str) -> None:
    entry, request, reason = FILTERS[case]
    a = {"provider": "a", "prices": {"input": 0.1, "output": 0.1}}
    routing = Routing(catalogue(a, {"provider": "b", **entry}))
    found = routing.plan(request)
    assert left(found) == ({} if reason is None else {"b": reason})
    assert sorted(order(found)) == (["a", "b"] if reason is None else ["a"])


def test_an_unknown_price_is_dearer_than_any_limit() -> None:
    routing = Routing(catalogue({"provider": "a", "prices": {"input": 1}}, {"provider": "b"}))
    assert left(routing.plan(prefer(max_price=MaxPrice(prompt=5)))) == {"b": "dearer than provider.max_price"}


def test_what_a_dialect_can_never_carry_excludes_its_endpoints() -> None:
    providers = {"b": {"dialect": "anthropic", "base_url": "http://b"}}
    routing = Routing(catalogue({"provider": "a"}, {"provider": "b"}, providers=providers))
    assert left(routing.plan(ask(n=2))) == {"b": "n is not supported"}
    assert left(routing.plan()) == {}


@pytest.mark.parametrize("fields", [{"seed": 4}, {"metadata": {"a": "b"}}, {"logit_bias": {"1": 1}}])
def test_required_parameters_are_those_that_a_dialect_sends(fields: Mapping[str, Any]) -> None:
    providers = {"b": {"dialect": "anthropic", "base_url": "http://b"}}
    routing = Routing(catalogue({"provider": "a"}, {"provider": "b"}, providers=providers))
    wanted = ask(temperature=1, **fields, provider=ProviderRouting(require_parameters=True))
    (name,) = fields
    assert left(routing.plan(wanted)) == {"b": f"{name} is not supported"}
    assert left(routing.plan(ask(**fields))) == {}


def test_the_keys_providers_are_the_only_ones() -> None:
    routing = Routing(catalogue({"provider": "azure-1"}, {"provider": "b"}), caller(providers=("azure-*",)))
    found = routing.plan()
    assert order(found) == ["azure-1"]
    assert left(found) == {"b": "not allowed to this API key"}


# The endpoints, the request, the key's providers; the error's code, param, and what its message names.
NOBODY: Mapping[
    str, tuple[Sequence[Mapping[str, Any]], Any, tuple[str, ...], tuple[str, str, str | None], list[str]]
] = {
    "filters leave nobody": (
        [{"provider": "a"}, {"provider": "b"}],
        prefer(only=["nosuch"]),
        ("*",),
        ("no_allowed_provider", "no_allowed_provider", "provider.only"),
        ["a, b", "provider.only"],
    ),
    "everybody is ignored": (
        [{"provider": "a"}],
        prefer(ignore=["a"]),
        ("*",),
        ("no_allowed_provider", "no_allowed_provider", "provider.ignore"),
        ["a"],
    ),
    "all in alpha": (
        [{"provider": "a", "status": "alpha"}],
        ask(),
        ("*",),
        ("no_allowed_provider", "no_allowed_provider", "provider.include_alpha"),
        ["include_alpha"],
    ),
    "all disabled": (
        [{"provider": "a", "status": "disabled"}],
        ask(),
        ("*",),
        ("no_allowed_provider", "no_allowed_provider", None),
        ["disabled"],
    ),
    "the key's providers": (
        [{"provider": "a"}, {"provider": "b", "status": "disabled"}],
        ask(),
        ("c",),
        ("model_not_allowed", "model_not_allowed", "model"),
        [MODEL],
    ),
    "the last filter is told": (
        [{"provider": "a", **TEXT_ONLY}, {"provider": "b"}],
        ask(modalities=[MODALITY_IMAGE], provider=ProviderRouting(only=["a"])),
        ("*",),
        ("unsupported_by_model", "unsupported_by_model", "modalities"),
        ["a: image output is not supported"],
    ),
    "the path of the part": (
        [{"provider": "a", **TEXT_ONLY}],
        say(ContentPart(image=ImagePart())),
        ("*",),
        ("unsupported_by_model", "unsupported_by_model", "messages[0].content[1]"),
        ["image input"],
    ),
    "too long for everybody": (
        [{"provider": "a", "context_length": 10}, {"provider": "b", "context_length": 20}],
        ask(max_completion_tokens=30),
        ("*",),
        ("unsupported_by_model", "context_length_exceeded", "messages"),
        ["it takes 10", "it takes 20"],
    ),
    "too long for one, no tools at the other": (
        [{"provider": "a", "context_length": 10}, {"provider": "b", **SAMPLING}],
        ask(max_completion_tokens=30, tools=TOOLS),
        ("*",),
        ("unsupported_by_model", "unsupported_by_model", "messages"),
        ["a: ", "b: tools"],
    ),
}


@pytest.mark.parametrize("case", NOBODY)
def test_when_nobody_is_left_the_error_says_why(case: str) -> None:
    endpoints, request, providers, expected, named = NOBODY[case]
    routing = Routing(catalogue(*endpoints), caller(providers=providers))
    with pytest.raises(GatewayError) as raised:
        routing.plan(request)
    error = raised.value
    assert (error.code, error.wire_code, error.param) == expected
    assert all(text in error.message for text in named)


def test_a_plan_tells_what_became_of_every_endpoint() -> None:
    routing = Routing(catalogue({"provider": "a"}, {"provider": "b"}, {"provider": "c"}))
    found = routing.plan(prefer(order=["b"], ignore=["c"]))
    told = [(each.provider, each.decision, each.reason) for each in found.candidates(found.targets[1].endpoint)]
    assert told == [
        ("b", "kept", "listed in provider.order"),
        ("a", "taken", "drawn by weight"),
        ("c", "left", "in provider.ignore"),
    ]


def test_a_longer_context_is_one_that_the_catalogue_says_is_longer() -> None:
    routing = Routing(
        catalogue(
            {"provider": "a", "context_length": 100},
            {"provider": "b", "context_length": 100},
            {"provider": "c"},
            {"provider": "d", "context_length": 200},
        )
    )
    a, b, c, d = (routing.target(name) for name in "abcd")
    assert larger_context(a.endpoint, [b, c, d]) == [d]
    assert larger_context(c.endpoint, [a, b, d]) == []


def test_tokens_are_estimated_from_text_and_the_limit() -> None:
    parts = ContentParts(parts=[ContentPart(text=TextPart(text="y" * 40)), ContentPart(image=ImagePart())])
    request = CreateChatCompletionRequest(
        messages=[ChatMessage(text="x" * 400), ChatMessage(parts=parts)], max_completion_tokens=50
    )
    assert read_contents(request).tokens(request.max_completion_tokens) == 160
