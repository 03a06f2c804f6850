"""Schemas that are none: the simulator says what is wrong with them, as a provider would, and never fails."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.providers.dialect import UpstreamRequest
from service.providers.simulator import play

KEYWORDS = (
    "type",
    "properties",
    "required",
    "items",
    "prefixItems",
    "enum",
    "const",
    "allOf",
    "anyOf",
    "oneOf",
    "$ref",
    "$defs",
    "format",
    "minItems",
    "maxItems",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "multipleOf",
)
numbers = st.one_of(
    st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False), st.integers(-5, 5)
)
likely = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null", "#", "#/$defs/x", "x"])
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, likely, st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4),
        st.dictionaries(st.sampled_from(["x", "city"]), inner, max_size=2),
    ),
    max_leaves=12,
)
schemas = st.dictionaries(st.sampled_from(KEYWORDS), values, max_size=5)


def asked(schema: Any, *, tool: bool) -> tuple[int, Any]:
    body: dict[str, Any] = {"model": "simulator", "messages": [{"role": "user", "content": "x 3 in Paris"}]}
    if tool:
        body["tools"] = [{"type": "function", "function": {"name": "x", "parameters": schema}}]
    else:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    script = play(UpstreamRequest("", {}, json.dumps(body).encode()))
    return script.status, json.loads(b"".join(step.data for step in script.steps))


@given(schemas, st.booleans())
def test_whatever_the_schema_there_is_an_answer_or_a_word_on_what_is_wrong(schema: Any, tool: bool) -> None:
    status, answer = asked(schema, tool=tool)
    if status == 200:
        message = answer["choices"][0]["message"]
        if calls := message.get("tool_calls"):
            assert isinstance(json.loads(calls[0]["function"]["arguments"]), dict)
        elif not tool:
            json.loads(message["content"])
    else:
        assert status == 400
        assert "In a JSON Schema of the request '" in answer["error"]["message"]


@pytest.mark.parametrize("tool", [False, True])
@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"type": "object", "properties": []}, "'properties' is not an object"),
        ({"type": "object", "properties": {"x": {}}, "required": [{}]}, "'required' is not a list of names"),
        ({"type": {}, "properties": {}}, "'type' is not a name, or a list of names"),
        ({"anyOf": 3}, "'anyOf' is not a list"),
    ],
)
def test_what_is_wrong_is_said(schema: Any, text: str, tool: bool) -> None:
    if tool and "anyOf" in schema:
        schema = {"type": "object", "properties": {"x": schema}, "required": ["x"]}
    status, answer = asked(schema, tool=tool)
    assert status == 400
    assert text in answer["error"]["message"]


@pytest.mark.parametrize(
    ("schema", "followed"),
    [
        ({"type": "integer", "minimum": 2**63, "maximum": 2**64 - 1}, None),
        ({"type": "integer", "minimum": 1.7e308}, None),
        ({"type": "number", "minimum": 3, "multipleOf": 5e-324}, {"type": "number"}),
        ({"type": "number", "exclusiveMinimum": 1.7e308}, {"type": "number"}),
        ({"type": ["string", "null"], "minLength": None}, {"type": "string"}),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2.0}, None),
        (
            {"type": "integer", "minimum": 5, "maximum": 10, "exclusiveMinimum": True, "exclusiveMaximum": False},
            {"type": "integer", "exclusiveMinimum": 5, "maximum": 10},
        ),
    ],
)
def test_odd_schemas_are_followed(schema: Any, followed: Any) -> None:
    """`followed`: what of the schema can be met, or is meant by it."""
    status, answer = asked(schema, tool=False)
    assert status == 200
    jsonschema.validate(json.loads(answer["choices"][0]["message"]["content"]), followed or schema)
