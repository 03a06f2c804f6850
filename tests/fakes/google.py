"""Checks a Gemini request against the vendor's published types, strictly: names, types, base64, nothing unknown."""

from __future__ import annotations

import json
from typing import Any

from google.genai import types
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class RestGenerationConfig(types.GenerationConfig):
    """`generationConfig` as the SDK writes it: its types have the image settings beside it."""

    image_config: types.ImageConfig | None = None
    response_modalities: list[types.Modality] | None = None


class GenerateContentRequest(BaseModel):
    """The body of `generateContent`."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel)

    contents: list[types.Content] = Field(min_length=1)
    system_instruction: types.Content | None = None
    tools: list[types.Tool] | None = None
    tool_config: types.ToolConfig | None = None
    generation_config: RestGenerationConfig | None = None
    cached_content: str | None = None
    service_tier: types.ServiceTier | None = None
    labels: dict[str, str] | None = None
    store: bool | None = None
    safety_settings: list[types.SafetySetting] | None = None


_FREE_FORM = frozenset({"args", "response", "parametersJsonSchema", "responseJsonSchema", "labels"})


def check_request(body: bytes) -> dict[str, Any]:
    """Return a request's body as JSON, if it is one that Gemini's published types allow.

    Raises:
        ValueError: it is not, in a way that Gemini would answer with 400.
    """
    request = GenerateContentRequest.model_validate_json(body)
    value: dict[str, Any] = json.loads(body)
    _check_names(value, "")
    for place, content in enumerate(request.contents):
        if content.role not in ("user", "model"):
            raise ValueError(f"contents[{place}].role is {content.role!r}")
        if not content.parts:
            raise ValueError(f"contents[{place}].parts is empty")
        if place and content.role == request.contents[place - 1].role:
            raise ValueError(f"contents[{place}].role repeats the one before")
        for part in content.parts:
            _check_part(part, place)
    return value


def _check_part(part: types.Part, place: int) -> None:
    data = ("text", "inline_data", "file_data", "function_call", "function_response")
    if sum(getattr(part, name) is not None for name in data) != 1:
        raise ValueError(f"contents[{place}] has a part that is not exactly one thing")
    if part.text == "":
        raise ValueError(f"contents[{place}] has an empty text")
    if part.function_response is not None and (
        not part.function_response.name or part.function_response.response is None
    ):
        raise ValueError(f"contents[{place}] has a function response without a name or a response")


def _check_names(value: Any, path: str) -> None:
    """The types also take snake_case, which is not how REST documents its names."""
    if isinstance(value, list):
        for item in value:
            _check_names(item, path)
    if isinstance(value, dict):
        for name, item in value.items():
            if "_" in name:
                raise ValueError(f"{path}.{name} is not a camelCase name")
            if name not in _FREE_FORM:
                _check_names(item, f"{path}.{name}")
