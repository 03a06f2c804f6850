"""Other names of fields: each works, and of several given at once the right one wins."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from tests.contract.client import Client, request
from tests.contract.provider import Provider

FONTS = [{"font_url": "https://fonts.example/a.ttf", "text": "a"}]
CAMEL_FONTS = [{"fontUrl": "https://fonts.example/a.ttf", "text": "a"}]
SNAKE_IMAGE = {
    "aspect_ratio": "16:9",
    "image_size": "1K",
    "include_rai_reason": False,
    "font_inputs": FONTS,
    "super_resolution_references": ["https://images.example/a.png"],
    "reference_images": [{"a": 1}],
}
CAMEL_IMAGE = {
    "aspectRatio": "16:9",
    "imageSize": "1K",
    "includeRaiReason": False,
    "fontInputs": CAMEL_FONTS,
    "superResolutionReferences": ["https://images.example/a.png"],
    "referenceImages": [{"a": 1}],
}

# What the client gives, and what the provider that takes everything receives of it.
ROWS: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]] = (
    ({"max_tokens": 2, "max_completion_tokens": 1}, {"max_tokens": 1}),
    ({"max_output_tokens": 3, "max_tokens": 2}, {"max_tokens": 2}),
    ({"max_output_tokens": 3, "max_tokens": 2, "max_completion_tokens": 1}, {"max_tokens": 1}),
    ({"max_output_tokens": 3, "max_tokens": None, "max_completion_tokens": None}, {"max_tokens": 3}),
    ({"user": "a", "user_id": "b"}, {"user": "b"}),
    ({"user": "a", "user_id": None}, {"user": "a"}),
    ({"response_modalities": ["text"]}, {"modalities": ["text"]}),
    ({"responseModalities": ["text"]}, {"modalities": ["text"]}),
    ({"responseModalities": ["text"], "response_modalities": ["image"]}, {"modalities": ["image"]}),
    (
        {"responseModalities": ["text"], "response_modalities": ["image"], "modalities": ["audio"]},
        {"modalities": ["audio"]},
    ),
    ({"imageConfig": SNAKE_IMAGE}, {"image_config": SNAKE_IMAGE}),
    ({"imageConfig": CAMEL_IMAGE}, {"image_config": SNAKE_IMAGE}),
    ({"image_config": CAMEL_IMAGE}, {"image_config": SNAKE_IMAGE}),
    (
        {"imageConfig": {"imageSize": "4K"}, "image_config": {"image_size": "1K"}},
        {"image_config": {"image_size": "1K"}},
    ),
    *(
        ({"image_config": {camel: a, snake: b}}, {"image_config": {snake: b}})
        for camel, snake, a, b in (
            ("aspectRatio", "aspect_ratio", "1:1", "16:9"),
            ("imageSize", "image_size", "1K", "2K"),
            ("includeRaiReason", "include_rai_reason", True, False),
            ("fontInputs", "font_inputs", [], FONTS),
            ("superResolutionReferences", "super_resolution_references", ["a"], ["b"]),
            ("referenceImages", "reference_images", [{"a": 1}], [{"b": 1}]),
        )
    ),
    (
        {"image_config": {"font_inputs": [{"fontUrl": "a", "font_url": "b"}]}},
        {"image_config": {"font_inputs": [{"font_url": "b"}]}},
    ),
    ({"reasoning": {"includeThoughts": True}}, {"reasoning": {"include_thoughts": True}}),
    (
        {"reasoning": {"includeThoughts": True, "include_thoughts": False}},
        {"reasoning": {"include_thoughts": False}},
    ),
    ({"thinking": {"includeThoughts": True}}, {"reasoning": {"include_thoughts": True}}),
    (
        {"thinking": {"includeThoughts": True, "include_thoughts": False}},
        {"reasoning": {"include_thoughts": False}},
    ),
    *(({"thinking": {name: 5}}, {"reasoning": {"max_tokens": 5}}) for name in ("max_tokens", "maxTokens")),
    *(({"thinking": {name: 5}}, {"reasoning": {"max_tokens": 5}}) for name in ("budget_tokens", "budgetTokens")),
    ({"thinking": {"budgetTokens": 4, "budget_tokens": 3}}, {"reasoning": {"max_tokens": 3}}),
    ({"thinking": {"budget_tokens": 3, "maxTokens": 2, "max_tokens": 1}}, {"reasoning": {"max_tokens": 1}}),
    ({"thinking": {"maxTokens": 2, "max_tokens": 1}}, {"reasoning": {"max_tokens": 1}}),
    (
        {"reasoning": {"effort": "low"}, "thinking": {"effort": "high", "budget_tokens": 5}},
        {"reasoning": {"effort": "low", "max_tokens": 5}},
    ),
    (
        {
            "reasoning": {"effort": "low", "enabled": True, "max_tokens": 1, "include_thoughts": True},
            "thinking": {"effort": "high", "enabled": False, "max_tokens": 2, "include_thoughts": False},
        },
        {"reasoning": {"effort": "low", "enabled": True, "max_tokens": 1, "include_thoughts": True}},
    ),
    ({"reasoning": {"enabled": True}, "thinking": {"type": "disabled"}}, {"reasoning": {"enabled": True}}),
    ({"thinking": {"type": "disabled", "enabled": True}}, {"reasoning": {"enabled": True}}),
    ({"reasoning_effort": "high", "thinking": {"effort": "low"}}, {"reasoning": {"effort": "low"}}),
    (
        {"reasoning_effort": "high", "reasoning": {"summary": "auto"}},
        {"reasoning": {"effort": "high", "summary": "auto"}},
    ),
    ({"service_tier": "flex", "speed": "fast"}, {"service_tier": "priority"}),
)


@pytest.mark.parametrize("backwards", [False, True], ids=["", "backwards"])
@pytest.mark.parametrize(("given", "sent"), ROWS, ids=lambda value: str(value)[:60])
def test_names(
    given: Mapping[str, Any], sent: Mapping[str, Any], backwards: bool, client: Client, provider: Provider
) -> None:
    """The order in which names stand makes no difference."""
    client.ask(request("everything", **(_backwards(given) if backwards else given)))
    (body,) = provider.bodies
    assert body == {"model": "up", "messages": body["messages"], **sent}


def _backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _backwards(value[name]) for name in reversed(value)}
    return value


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"max_tokens": 1, "max_output_tokens": 0}, "max_output_tokens"),
        ({"image_config": {"imageSize": "8K", "image_size": "1K"}}, "image_config.imageSize"),
        ({"imageConfig": {"imageSize": "8K"}, "image_config": {}}, "imageConfig.imageSize"),
        ({"thinking": {"budgetTokens": -1, "max_tokens": 1}}, "thinking.budgetTokens"),
        ({"user": 5, "user_id": "u"}, "user"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_name_that_loses_is_checked_too(given: Mapping[str, Any], param: str, client: Client) -> None:
    response = client.post(request("everything", **given))
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param


# JSON that reaches the provider byte for byte: order of keys, kind and size of numbers, escapes.
VERBATIM = (
    b'{"type":"object","properties":{"z":{"type":"integer","default":1},"a":{"type":"number","default":1.0},'
    b'"m":{"const":9223372036854775808,"minimum":-1e-7,"maximum":1E400,"multipleOf":0.10000000000000000001},'
    b'"b":{"enum":["\xc3\xa9",null,true,123456789012345678901234567890]}},"required":["z","a"]}'
)


@pytest.mark.parametrize("stream", [False, True])
def test_schemas_reach_the_provider_byte_for_byte(stream: bool, client: Client, provider: Provider) -> None:
    body = (
        b'{"model":"everything","messages":[{"role":"user","content":"Hi"}],"stream":%b,'
        b'"tools":[{"type":"function","function":{"name":"f","parameters":%b}},'
        b'{"type":"custom","custom":{"name":"c","format":%b}}],'
        b'"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":%b}},'
        b'"image_config":{"reference_images":[%b]},"x_unknown":%b,"seed":9223372036854775807}'
    ) % (json.dumps(stream).encode(), *[VERBATIM] * 5)
    response = client.post(body)
    assert response.status_code == 200, response.text
    (sent,) = provider.requests
    assert sent.body.count(VERBATIM) == 5
    assert b'"seed":9223372036854775807' in sent.body


@pytest.mark.parametrize("number", [b"1", b"1.0", b"0.1", b"1e-05", b"-0.0", b"1.7976931348623157e308"])
def test_numbers_of_settings_keep_their_value(number: bytes, client: Client, provider: Provider) -> None:
    body = b'{"model":"plain","messages":[{"role":"user","content":"Hi"}],"logit_bias":{"1":%b}}' % number
    assert client.post(body).status_code == 200
    (sent,) = provider.bodies
    assert repr(float(sent["logit_bias"]["1"])) == repr(float(number))


def test_messages_keep_their_order_and_white_space(client: Client, provider: Provider) -> None:
    roles = ["user", "assistant", "user", "system", "assistant", "user"]
    messages = [{"role": role, "content": f"  {number}\n"} for number, role in enumerate(roles)]
    client.ask(request(messages=messages))
    assert provider.bodies[0]["messages"] == messages
