"""The tables of docs/providers.md, read off the dialects themselves. Run as a module, it writes them into the page."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.v1.chat_request_pb2 import CreateChatCompletionRequest

from service import codec
from service.chat.normalise import normalise
from service.config import Endpoint, Provider
from service.providers import DIALECTS
from service.tools import REGISTRY
from tests.contract.dialects.client import MODELS, providers
from tests.contract.dialects.scenes import CITY, PHOTO, PIXEL, WEATHER_TOOL, user

PAGE = Path(__file__).parents[3] / "docs" / "providers.md"

_TOOLS = {"tools": [WEATHER_TOOL]}
_DATA = "data:application/pdf;base64,JVBERi0xLjQ="
_CACHED = {"cache_control": {"type": "ephemeral"}}


def _part(part: Mapping[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look."}, part]}]}


_PLAIN_PART = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look."}]}]}
_CALLED = [
    user("The weather?"),
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {
                "id": "call_1",
                "type": "function",
                "function": {"name": "get_weather", "arguments": '{"location":"Oslo"}'},
            }
        ],
    },
    {"role": "tool", "tool_call_id": "call_1", "content": "rain"},
]


@dataclass(frozen=True, slots=True)
class Feature:
    """A row: request fields, and the request that they are compared with."""

    name: str
    fields: Mapping[str, Any]
    base: Mapping[str, Any] = field(default_factory=dict)
    beyond_openai: bool = False
    """Not OpenAI's own: some other provider of its dialect has it."""


FEATURES: Mapping[str, Sequence[Feature]] = {
    "Conversation": (
        Feature("`system`", {"system": "Be kind."}),
        Feature("system, developer messages", {"messages": [{"role": "developer", "content": "Be kind."}, user("Hi")]}),
        Feature("image, data URI", _part({"type": "image_url", "image_url": {"url": PIXEL}}), _PLAIN_PART),
        Feature("image, URL", _part({"type": "image_url", "image_url": {"url": PHOTO}}), _PLAIN_PART),
        Feature(
            "`input_audio`",
            _part({"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}),
            _PLAIN_PART,
        ),
        Feature(
            "`input_video`", _part({"type": "input_video", "video_url": "https://v.example/a.mp4"}), _PLAIN_PART, True
        ),
        Feature(
            "`file`: PDF, data URI",
            _part({"type": "file", "file": {"filename": "a.pdf", "file_data": _DATA}}),
            _PLAIN_PART,
        ),
        Feature("`file`: uploaded, by id", _part({"type": "file", "file": {"file_id": "file_abc"}}), _PLAIN_PART),
        Feature(
            "`cache_control` of a part",
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Look.", **_CACHED}]}]},
            _PLAIN_PART,
        ),
        Feature("`name` of a message", {"messages": [{**user("Hi"), "name": "Ann"}]}),
    ),
    "Tools": (
        Feature("functions", _TOOLS),
        Feature("`gateway:datetime`", {"tools": [{"type": "gateway:datetime"}]}),
        Feature("custom tools", {"tools": [{"type": "custom", "custom": {"name": "sql"}}]}),
        Feature("calls and results in messages", {"messages": _CALLED, **_TOOLS}, {"messages": _CALLED[:1], **_TOOLS}),
        Feature("`tool_choice`: `auto`", {"tool_choice": "auto", **_TOOLS}, _TOOLS),
        Feature("`tool_choice`: `none`", {"tool_choice": "none", **_TOOLS}, _TOOLS),
        Feature("`tool_choice`: `required`", {"tool_choice": "required", **_TOOLS}, _TOOLS),
        Feature(
            "`tool_choice`: a function",
            {"tool_choice": {"type": "function", "function": {"name": "get_weather"}}, **_TOOLS},
            _TOOLS,
        ),
        Feature(
            "`tool_choice`: `allowed_tools`",
            {
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {
                        "mode": "required",
                        "tools": [{"type": "function", "function": {"name": "get_weather"}}],
                    },
                },
                **_TOOLS,
            },
            _TOOLS,
        ),
        Feature("`parallel_tool_calls`: false", {"parallel_tool_calls": False, **_TOOLS}, _TOOLS),
        Feature(
            "`strict` of a function",
            {"tools": [{"type": "function", "function": {**WEATHER_TOOL["function"], "strict": True}}]},
            _TOOLS,
        ),
        Feature("`functions` (deprecated)", {"functions": [{"name": "f", "parameters": {"type": "object"}}]}),
    ),
    "Output": (
        Feature("`max_completion_tokens`, `max_tokens`", {"max_tokens": 64}),
        Feature("`stop`", {"stop": ["END"]}),
        Feature("`n`: 2", {"n": 2}),
        Feature("`response_format`: `json_object`", {"response_format": {"type": "json_object"}}),
        Feature(
            "`response_format`: `json_schema`",
            {"response_format": {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}},
        ),
        Feature("`modalities`: image", {"modalities": ["text", "image"]}, beyond_openai=True),
        Feature("`image_config`", {"image_config": {"aspect_ratio": "16:9", "image_size": "2K"}}),
        Feature("`modalities`: audio", {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
        Feature("`logprobs`, `top_logprobs`", {"logprobs": True, "top_logprobs": 3}),
        Feature("`verbosity`", {"verbosity": "low"}),
        Feature("`prediction`", {"prediction": {"type": "content", "content": "Hello"}}),
        Feature("`web_search_options`", {"web_search_options": {"search_context_size": "low"}}),
    ),
    "Sampling": (
        Feature("`temperature`", {"temperature": 0.5}),
        Feature("`temperature` above 1", {"temperature": 1.5}),
        Feature("`top_p`", {"top_p": 0.9}),
        Feature("`top_k`", {"top_k": 40}),
        Feature("`frequency_penalty`, `presence_penalty`", {"frequency_penalty": 0.5, "presence_penalty": 0.5}),
        Feature("`seed`", {"seed": 7}),
        Feature("`logit_bias`", {"logit_bias": {"50256": -100}}),
    ),
    "Reasoning": (
        Feature("`reasoning.effort`, `reasoning_effort`", {"reasoning": {"effort": "medium"}}),
        Feature("`reasoning.max_tokens`, `thinking.budget_tokens`", {"reasoning": {"max_tokens": 4000}}),
        Feature("`reasoning.enabled`: false", {"reasoning": {"enabled": False}}),
        Feature(
            "`reasoning.include_thoughts`: false",
            {"reasoning": {"effort": "medium", "include_thoughts": False}},
            {"reasoning": {"effort": "medium"}},
        ),
    ),
    "Provider and account": (
        Feature("`service_tier`: `priority`", {"service_tier": "priority"}),
        Feature("`service_tier`: `flex`", {"service_tier": "flex"}),
        Feature("`service_tier`: `standard`, `default`", {"service_tier": "standard"}),
        Feature("`user_id`, `user`", {"user": "u-1"}),
        Feature("`safety_identifier`", {"safety_identifier": "s-1"}),
        Feature("`metadata`", {"metadata": {"team": "blue"}}),
        Feature("`store`", {"store": True}),
        Feature("`prompt_cache_key`", {"prompt_cache_key": "k"}),
        Feature("`prompt_cache_retention`", {"prompt_cache_retention": "24h"}),
        Feature(
            "`provider_options.openai.prompt_cache_retention`",
            {"provider_options": {"openai": {"prompt_cache_retention": "24h"}}},
        ),
        Feature(
            "`provider_options.openai.context_management`",
            {"provider_options": {"openai": {"context_management": {"type": "compaction", "compact_threshold": 9000}}}},
            beyond_openai=True,
        ),
        Feature("`provider_options.anthropic.cache_control`", {"provider_options": {"anthropic": _CACHED}}),
        Feature(
            "`provider_options.google.cached_content`",
            {"provider_options": {"google": {"cached_content": "cachedContents/abc"}}},
        ),
        Feature("`provider_options.google.cache_ttl`", {"provider_options": {"google": {"cache_ttl": "300s"}}}),
        Feature("`provider_options.google.cache_control`", {"provider_options": {"google": _CACHED}}),
        Feature("fields that the schema does not know", {"min_p": 0.1}, beyond_openai=True),
    ),
}


@dataclass(frozen=True, slots=True)
class Sent:
    """What a dialect makes of a request. Without a body it cannot carry it."""

    body: Mapping[str, Any] | None
    raw: bytes = b""
    dropped: Sequence[str] = ()
    adjusted: Sequence[str] = ()


def send(dialect: str, fields: Mapping[str, Any], model: str = "", style: str | None = None) -> Sent:
    """Encode a request."""
    text = json.dumps({"model": "m", "messages": [user("Hi")], **fields}).encode()
    request = normalise(codec.decode_request(CreateChatCompletionRequest, text, max_depth=64), REGISTRY).request
    request.ClearField("provider")
    provider = Provider.model_validate(providers({dialect: "http://vendor.test"})[dialect])
    endpoint = Endpoint.model_validate(
        {"provider": dialect, "model": model or MODELS[dialect], "reasoning": style, "max_output_tokens": 64000}
    )
    if DIALECTS[dialect].unsupported(request, endpoint) is not None:
        return Sent(None)
    encoded = DIALECTS[dialect].encode(request, provider, endpoint, frozenset())
    names = [parameter.name for parameter in encoded.adjusted]
    return Sent(json.loads(encoded.body), encoded.body, encoded.dropped, names)


def cell(dialect: str, feature: Feature) -> str:
    """Return what becomes of a feature: the fields that carry it, or what happens to it."""
    sent, base = send(dialect, feature.fields), send(dialect, feature.base)
    if sent.body is None or base.body is None:
        return "another endpoint"
    paths = ", ".join(f"`{path}`" for path in _new_paths(base.body, sent.body))
    dropped = set(sent.dropped) - set(base.dropped)
    if not paths:
        return "dropped" if dropped else "as without"
    return paths + (", rest dropped" if dropped else "") + (" (adjusted)" if sent.adjusted else "")


def _new_paths(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the paths that are new, at their tops, and those of values that changed."""
    old, new = _nodes(before), _nodes(after)
    found = []
    for path, values in new.items():
        parent = path.rpartition(".")[0]
        is_top = not parent or parent in old or parent in _CONTAINERS
        if (
            path not in _CONTAINERS
            and not path.endswith(_TAGS)
            and (values != old.get(path) if path in old else is_top)
        ):
            found.append(path)
    return found


_CONTAINERS = ("generationConfig", "toolConfig", "output_config", "messages[]", "messages[].content[]")
_TAGS = (".type", ".role")


def _nodes(value: Any) -> Mapping[str, list[str]]:
    """Return the values at each path, as text; of what has an inside "" once, however often it occurs."""
    found: dict[str, list[str]] = {}
    for path, text in _walk(value, ""):
        if text or path not in found:
            found.setdefault(path, []).append(text)
    return found


def _walk(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        yield path, ""
        for name, item in value.items():
            yield from _walk(item, f"{path}.{name}" if path else name)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for item in value:
            yield from _walk(item, f"{path}[]")
    else:
        yield path, json.dumps(value)


def feature_table() -> str:
    """Return the table of features."""
    lines = ["| Request | OpenAI | Anthropic | Gemini |", "|---|---|---|---|"]
    for group, features in FEATURES.items():
        lines.append(f"| **{group}** | | | |")
        for feature in features:
            cells = [cell(dialect, feature) for dialect in ("openai", "anthropic", "google")]
            lines.append(f"| {feature.name} | {' | '.join(cells)} |")
    return "\n".join(lines)


_STYLES = (
    ("OpenAI", "openai", "gpt-5-nano", None),
    ("Anthropic, `budget`", "anthropic", "claude-sonnet-4-5", "budget"),
    ("Anthropic, `adaptive`", "anthropic", "claude-opus-4-6", "adaptive"),
    ("Gemini 2.5, `budget`", "google", "gemini-2.5-flash", "budget"),
    ("Gemini 3, `level`", "google", "gemini-3-pro-preview", "level"),
)
_SETTINGS: Sequence[tuple[str, Mapping[str, Any]]] = (
    *((f"`effort: {name}`", {"effort": name}) for name in ("none", "minimal", "low", "medium", "high", "xhigh", "max")),
    *((f"`max_tokens: {count}`", {"max_tokens": count}) for count in (500, 4000, 20000)),
    ("`enabled: true`", {"enabled": True}),
)


def reasoning_table() -> str:
    """Return the table of reasoning settings."""
    lines = ["| `reasoning` | " + " | ".join(name for name, *_ in _STYLES) + " |", "|---" * (len(_STYLES) + 1) + "|"]
    for name, setting in _SETTINGS:
        cells = [
            _reasoning_cell(send(dialect, {"reasoning": setting}, model, style)) for _, dialect, model, style in _STYLES
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _reasoning_cell(sent: Sent) -> str:
    body = sent.body or {}
    told = [body.get("reasoning_effort"), body.get("output_config", {}).get("effort")]
    thinking = body.get("thinking") or {}
    told.append(thinking.get("budget_tokens") or thinking.get("type"))
    config = body.get("generationConfig", {}).get("thinkingConfig", {})
    told += [config.get("thinkingLevel"), config.get("thinkingBudget")]
    text = ", ".join(f"`{each}`" for each in reversed(told) if each is not None)
    if not text:
        return "dropped" if sent.dropped else "as without"
    return text + (" (adjusted)" if sent.adjusted else "")


TABLES = {"features": feature_table, "reasoning": reasoning_table}


def filled(page: str) -> str:
    """Return the page with its tables made anew: each stands between `<!-- NAME -->` and `<!-- /NAME -->`."""
    for name, table in TABLES.items():
        before, _, rest = page.partition(f"<!-- {name} -->\n")
        _, _, after = rest.partition(f"<!-- /{name} -->")
        page = f"{before}<!-- {name} -->\n{table()}\n<!-- /{name} -->{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))
    sys.stdout.write(f"{PAGE} is up to date\n")
