"""The reference editions, what of them the gateway refuses, and requests that are valid by the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hypothesis import strategies as st

Schema = Mapping[str, Any]

_FOLDER = Path(__file__).parents[2] / "contract" / "reference"
EDITIONS = ("edition-2025-12", "edition-openapi")

_USER = {"role": "user", "content": "Hello"}
_LARGEST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """Values that an edition documents and the gateway refuses. `value`, `code` and `why` are a row of docs/api.md.

    `narrowed` are schemas by their path in an edition, which leave the values out; `bodies` have one.
    """

    value: str
    code: str
    why: str
    narrowed: Mapping[str, Any]
    bodies: Sequence[Mapping[str, Any]]


def _body(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [_USER], **fields}


def _part(**fields: Any) -> dict[str, Any]:
    return _body(messages=[{"role": "user", "content": [fields]}])


REFUSALS = (
    Refusal(
        "an empty `model`, an empty name of a function",
        "out_of_range",
        "It names nothing.",
        {
            "ChatCompletionsRequest.properties.model.minLength": 1,
            "FunctionToolDefinition.properties.function.properties.name.minLength": 1,
        },
        (_body(model=""), _body(tools=[{"type": "function", "function": {"name": "", "parameters": {}}}])),
    ),
    Refusal(
        "an integer over 2147483647, but for `seed`",
        "out_of_range",
        "Counts are int32. No provider has such a limit.",
        {
            **{
                f"ChatCompletionsRequest.properties.{name}.maximum": _LARGEST
                for name in ("max_completion_tokens", "max_tokens", "max_output_tokens", "max_tool_calls", "top_k")
            },
            **{
                f"ThinkingConfig.properties.{name}.maximum": _LARGEST
                for name in ("max_tokens", "maxTokens", "budget_tokens", "budgetTokens")
            },
            "ReasoningConfig.properties.max_tokens.maximum": _LARGEST,
        },
        (_body(max_tokens=2**31), _body(reasoning={"max_tokens": 2**31})),
    ),
    Refusal(
        "a `seed` beyond int64",
        "out_of_range",
        "The reference's limits are those of int64, rounded.",
        {
            "ChatCompletionsRequest.properties.seed.minimum": -(2**63),
            "ChatCompletionsRequest.properties.seed.maximum": 2**63 - 1,
        },
        (_body(seed=2**63), _body(seed=-(2**63) - 1)),
    ),
    Refusal(
        "an image part without `url`, an audio part without `data`",
        "missing_required_parameter",
        "There is nothing to look at or to listen to.",
        {
            "ImageContentPart.properties.image_url.required": ["url"],
            "AudioContentPart.properties.input_audio.required": ["data"],
        },
        (_part(type="image_url", image_url={}), _part(type="input_audio", input_audio={"format": "wav"})),
    ),
    Refusal(
        "a `response_format` other than `text`, `json`, `json_object` or (as an object) `json_schema`",
        "invalid_value",
        "No provider has another.",
        {
            "ChatCompletionsRequest.properties.response_format": {
                "oneOf": [
                    {"type": "string", "enum": ["text", "json", "json_object"]},
                    {
                        "type": "object",
                        "required": ["type"],
                        "properties": {
                            "type": {"type": "string", "enum": ["text", "json_object", "json_schema"]},
                            "schema": {"type": "object"},
                        },
                    },
                ]
            }
        },
        (_body(response_format="xml"), _body(response_format={"type": "xml"})),
    ),
    Refusal(
        "a `tool_choice` string other than `auto`, `none`, `required`, `gateway:datetime`",
        "invalid_value",
        "It would choose nothing.",
        {
            "TextToolChoice": {
                "oneOf": [
                    {"type": "string", "enum": ["auto", "none", "required", "gateway:datetime"]},
                    {"type": "object", "required": ["type"], "properties": {"type": {"enum": ["gateway:datetime"]}}},
                    {
                        "type": "object",
                        "required": ["type", "function"],
                        "properties": {
                            "type": {"enum": ["function"]},
                            "function": {
                                "type": "object",
                                "required": ["name"],
                                "properties": {"name": {"type": "string", "minLength": 1}},
                            },
                        },
                    },
                ]
            }
        },
        (_body(tool_choice="sometimes"),),
    ),
    Refusal(
        "a `tool_choice` object of a type other than `function`, `custom`, `allowed_tools`, `gateway:datetime`",
        "invalid_value",
        "Chat completions have no other.",
        {},
        (_body(tool_choice={"type": "auto"}), _body(tool_choice={"type": "any"})),
    ),
    Refusal(
        "a `tool_choice` object with the function's name beside its `type`, not in `function`",
        "missing_required_parameter",
        "The same; in `allowed_tools` both forms are read.",
        {},
        (_body(tool_choice={"type": "function", "name": "f"}),),
    ),
    Refusal(
        "an object without its `type`, where `type` says what it is (`tool_choice`, `tools[]`, `response_format`)",
        "missing_required_parameter",
        "It says nothing.",
        {"Tool.required": ["type"]},
        (_body(tool_choice={}), _body(tools=[{}]), _body(response_format={})),
    ),
    Refusal(
        "a tool of type `function` without `function`",
        "missing_required_parameter",
        "There is nothing to call.",
        {"Tool.properties.function": {"$ref": "#/components/schemas/Function"}, "Tool.required": ["type", "function"]},
        (_body(tools=[{"type": "function"}]),),
    ),
    Refusal(
        "tools of a type that begins with `web_search` or `gateway:web_search`",
        "tool_disabled",
        "Web search is disabled, as the reference says.",
        {"Tool.properties.type.enum": ["function"]},
        (_body(tools=[{"type": "web_search_preview"}]), _body(tools=[{"type": "gateway:web_search"}])),
    ),
    Refusal(
        "other tools of a type that begins with `gateway:`",
        "unknown_tool",
        "The gateway has one tool, `gateway:datetime`.",
        {},
        (_body(tools=[{"type": "gateway:weather"}]),),
    ),
    Refusal(
        "a modality other than `text`, `image`, `audio`",
        "invalid_value",
        "The other edition lists these three.",
        {
            f"ChatCompletionsRequest.properties.{name}.items.enum": ["text", "image", "audio"]
            for name in ("modalities", "response_modalities", "responseModalities")
        },
        (_body(modalities=["smell"]),),
    ),
    Refusal(
        "in an object that the reference leaves open, a known field of another type than OpenAI's",
        "invalid_type",
        "No provider would take it.",
        {
            "ChatCompletionsRequest.properties.stream_options": {
                "type": "object",
                "properties": {"include_usage": {"type": "boolean"}},
            },
            "ChatCompletionsRequest.properties.logit_bias.additionalProperties": {"type": "number"},
        },
        (_body(stream_options={"include_usage": "yes"}), _body(logit_bias={"5": "more"}), _body(n="two")),
    ),
    Refusal(
        "an unknown top-level field that is one edit away from a known one",
        "unknown_parameter",
        "It is a typo.",
        {},
        (_body(temprature=1),),
    ),
)


def load(edition: str, refusals: Sequence[Refusal] = ()) -> dict[str, Any]:
    """Return the schemas of an edition by name, without what the refusals leave out."""
    document = yaml.safe_load((_FOLDER / f"{edition}.yaml").read_text(encoding="utf-8"))
    schemas: dict[str, Any] = document["components"]["schemas"]
    schemas["Function"] = {
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"type": "string", "minLength": 1}, "parameters": {"type": "object"}},
    }
    for refusal in refusals:
        for path, value in refusal.narrowed.items():
            _put(schemas, path.split("."), deepcopy(value))
    return schemas


def _put(schemas: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set what a path leads to, if the edition has what it is in."""
    place: Any = schemas
    for step in path[:-1]:
        if step not in place:
            return
        place = place[step]
    if path[:-1] or path[-1] in place:
        place[path[-1]] = value


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | _TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXT, inner, max_size=2),
    max_leaves=4,
)
# No known field begins like this, so that none is one edit away.
_UNKNOWN = st.dictionaries(_TEXT.map(lambda text: f"zz{text}"), _JSON, min_size=1, max_size=2)


def json_values() -> st.SearchStrategy[Any]:
    """Return a strategy of any JSON value."""
    return _JSON


def values(schemas: Mapping[str, Schema], schema: Schema) -> st.SearchStrategy[Any]:
    """Return a strategy of values that are valid by a schema of an edition, or of our own document."""
    if "$ref" in schema:
        return values(schemas, schemas[schema["$ref"].rpartition("/")[2]])
    if schema.get("nullable"):
        return st.none() | values(schemas, {**schema, "nullable": False})
    choices = schema.get("oneOf") or schema.get("anyOf")
    if choices:
        return st.one_of(*(values(schemas, choice) for choice in choices))
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if isinstance(schema["type"], list):
        return st.one_of(*(values(schemas, {**schema, "type": kind}) for kind in schema["type"]))
    match schema["type"]:
        case "null":
            return st.none()
        case "string":
            return _strings(schema)
        case "integer":
            return _integers(schema)
        case "number":
            low, high = schema.get("minimum"), schema.get("maximum")
            return st.floats(low, high, allow_nan=False, allow_infinity=False) | st.integers(
                -(2**53) if low is None else low, 2**53 if high is None else high
            )
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(values(schemas, schema["items"]), min_size=schema.get("minItems", 0), max_size=2)
    return _objects(schemas, schema)


def _strings(schema: Schema) -> st.SearchStrategy[str]:
    texts = _TEXT.filter(lambda text: len(text) >= schema.get("minLength", 0))
    return texts | st.just("x" * schema["maxLength"]) if "maxLength" in schema else texts


def _integers(schema: Schema) -> st.SearchStrategy[Any]:
    low, high = schema.get("minimum"), schema.get("maximum")
    edges = st.sampled_from([edge for edge in (low, high) if edge is not None] or [0])
    whole_floats = st.integers(max(low or 0, -(2**53)), min(high or 2**53, 2**53)).map(float)
    return edges | st.integers(low, high) | whole_floats


@st.composite
def _objects(draw: st.DrawFn, schemas: Mapping[str, Schema], schema: Schema) -> dict[str, Any]:
    properties: Mapping[str, Schema] = schema.get("properties", {})
    required = schema.get("required", ())
    others = [name for name in properties if name not in required]
    chosen = draw(st.lists(st.sampled_from(others), unique=True, max_size=4)) if others else []
    made = {name: draw(values(schemas, properties[name])) for name in (*required, *chosen)}
    more = schema.get("additionalProperties", True)
    if isinstance(more, Mapping):
        return made | draw(st.dictionaries(_TEXT, values(schemas, more), max_size=2))
    if more and draw(st.integers(0, 3)) == 0:
        made |= draw(_UNKNOWN)
    return made
