"""The contract table: every setting of a request, with what an OpenAI-compatible provider receives of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.contract.client import HI
from tests.contract.rows import Good

SAMPLING: Sequence[Good] = (
    Good({}),
    Good({"temperature": 0}),
    Good({"temperature": 2}),
    Good({"temperature": 0.7}),
    Good({"top_p": 0}),
    Good({"top_p": 1}),
    Good({"frequency_penalty": -2}),
    Good({"frequency_penalty": 2}),
    Good({"presence_penalty": -2}),
    Good({"presence_penalty": 2}),
    Good({"logit_bias": {}}, {}),
    Good({"logit_bias": {"50256": -100, "15": 0.5}}),
    Good({"seed": 0}),
    Good({"seed": -(2**63)}),
    Good({"seed": 2**63 - 1}),
    Good({"stop": "END"}),
    Good({"stop": ["a", "b"]}),
    Good({"stop": []}, {}),
    Good({"logprobs": False}),
    Good({"logprobs": True, "top_logprobs": 0}),
    Good({"logprobs": True, "top_logprobs": 20}),
    Good({"n": 1}),
    Good({"n": 128}),
    Good({"top_k": 1}, {}, ["top_k"]),
    Good({"top_k": 40}, model="everything"),
    Good({"temperature": 1, "top_p": 1}, {"temperature": 1}, ["top_p"], "little"),
)
LIMITS: Sequence[Good] = (
    Good({"max_completion_tokens": 1}),
    Good({"max_tokens": 1}, {"max_completion_tokens": 1}),
    Good({"max_output_tokens": 1}, {"max_completion_tokens": 1}),
    Good({"max_completion_tokens": 2**31 - 1}),
    Good({"max_completion_tokens": 7}, {"max_tokens": 7}, model="everything"),
    Good({"max_output_tokens": 7}, {"max_tokens": 7}, model="everything"),
    Good({"max_completion_tokens": 7}, model="little"),
)
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "number"}}}
FORMATS: Sequence[Good] = (
    Good({"response_format": "text"}, {"response_format": {"type": "text"}}),
    Good({"response_format": "json"}, {"response_format": {"type": "json_object"}}),
    Good({"response_format": "json_object"}, {"response_format": {"type": "json_object"}}),
    Good({"response_format": {"type": "text"}}),
    Good({"response_format": {"type": "json"}}, {"response_format": {"type": "json_object"}}),
    Good({"response_format": {"type": "json_object"}}),
    Good(
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "description": "d", "schema": SCHEMA, "strict": True},
            }
        }
    ),
    Good(
        {"response_format": {"type": "json_schema", "schema": SCHEMA}},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA}}},
    ),
    Good({"verbosity": "low"}),
    Good({"verbosity": "medium"}),
    Good({"verbosity": "high"}),
    Good({"prediction": {"type": "content", "content": "abc"}}),
    Good({"prediction": {"type": "content", "content": [{"type": "text", "text": "abc"}]}}),
)
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
REASONING: Sequence[Good] = (
    *(Good({"reasoning": {"effort": effort}}, {"reasoning_effort": effort}) for effort in EFFORTS),
    *(Good({"thinking": {"effort": effort}}, {"reasoning_effort": effort}) for effort in EFFORTS),
    *(Good({"reasoning_effort": effort}) for effort in EFFORTS),
    *(
        Good({"reasoning": {"summary": summary}}, {}, ["reasoning.summary"])
        for summary in ("auto", "concise", "detailed")
    ),
    Good({"reasoning": {}}, {}),
    Good({"reasoning": {"enabled": True}}, {"reasoning_effort": "medium"}),
    Good({"reasoning": {"enabled": False}}, {"reasoning_effort": "none"}),
    Good({"reasoning": {"max_tokens": 0}}, {"reasoning_effort": "none"}),
    Good({"reasoning": {"max_tokens": 1}}, {"reasoning_effort": "low"}),
    Good({"reasoning": {"max_tokens": 10_000}}, {"reasoning_effort": "medium"}),
    Good({"reasoning": {"max_tokens": 2**31 - 1}}, {"reasoning_effort": "high"}),
    Good(
        {"reasoning": {"effort": "low", "max_tokens": 9}},
        {"reasoning_effort": "low"},
        ["reasoning.max_tokens"],
    ),
    Good({"reasoning": {"include_thoughts": True}}, {}, ["reasoning.include_thoughts"]),
    Good({"reasoning": {"effort": "high"}}, {}, ["reasoning"], "unreasoning"),
    Good({"reasoning": {"effort": "high"}}, {}, ["reasoning"], "little"),
    Good(
        {
            "reasoning": {
                "effort": "high",
                "summary": "auto",
                "enabled": True,
                "max_tokens": 9,
                "include_thoughts": False,
            }
        },
        model="everything",
    ),
    Good({"thinking": {"type": "enabled"}}, {"reasoning_effort": "medium"}),
    Good({"thinking": {"type": "adaptive"}}, {"reasoning_effort": "medium"}),
    Good({"thinking": {"type": "disabled"}}, {"reasoning_effort": "none"}),
    Good({"thinking": {"enabled": True}}, {"reasoning_effort": "medium"}),
    Good({"thinking": {"enabled": False}}, {"reasoning_effort": "none"}),
    Good({"thinking": {"max_tokens": 0}}, {"reasoning_effort": "none"}),
    Good({"thinking": {"budget_tokens": 20_000}}, {"reasoning_effort": "high"}),
    Good({"thinking": {"include_thoughts": True}}, {}, ["reasoning.include_thoughts"]),
    Good(
        {"thinking": {"effort": "low", "budget_tokens": 5}},
        {"reasoning": {"effort": "low", "max_tokens": 5}},
        model="everything",
    ),
)
FONT = {"font_url": "https://fonts.example/a.ttf", "text": "Hello"}
IMAGE_CONFIG = {
    "aspect_ratio": "16:9",
    "image_size": "2K",
    "include_rai_reason": True,
    "font_inputs": [FONT],
    "super_resolution_references": ["https://images.example/a.png"],
    "reference_images": [{}, {"z": 1, "a": {"url": "https://images.example/b.png"}}],
}
MEDIA: Sequence[Good] = (
    Good({"modalities": ["text"]}),
    Good({"modalities": ["text", "image", "audio"]}),
    Good({"modalities": []}, {}),
    Good({"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "wav"}}),
    Good({"audio": {"voice": {"id": "voice_1"}, "format": "mp3"}}),
    Good({"image_config": IMAGE_CONFIG}, model="everything"),
    Good({"image_config": IMAGE_CONFIG}, {}, ["image_config"]),
    *(Good({"image_config": {"image_size": size}}, model="everything") for size in ("0.5K", "1K", "2K", "4K")),
    Good({"image_config": {"quality": "best"}}, model="everything"),
)
CACHE_CONTROL = {"type": "ephemeral", "ttl": "1h", "scope": "session"}
PROVIDERS: Sequence[Good] = (
    *(Good({"service_tier": tier}) for tier in ("auto", "default", "flex", "priority", "scale", "fast")),
    Good({"service_tier": "standard"}, {"service_tier": "default"}),
    Good({"speed": "fast"}, {"service_tier": "priority"}),
    Good({"speed": "fast", "service_tier": "flex"}, {"service_tier": "priority"}),
    Good({"speed": "slow", "service_tier": "flex"}, {"service_tier": "flex"}, ["speed"]),
    Good({"prompt_cache_key": "k"}),
    Good({"prompt_cache_key": None}, {}),
    Good({"prompt_cache_options": {"ttl": "30m", "mode": "explicit"}}),
    Good({"prompt_cache_retention": "24h"}),
    Good({"safety_identifier": "s"}),
    Good({"safety_identifier": None}, {}),
    Good({"user": "u"}),
    Good({"user_id": "u"}, {"user": "u"}),
    Good({"metadata": {"b": "1", "a": "2"}}),
    Good({"metadata": {}}, {}),
    Good({"store": True}),
    Good({"store": False}),
    Good({"moderation": {"model": "omni", "policy": {"input": {"mode": "block"}, "output": {"mode": "score"}}}}),
    Good({"web_search_options": {"search_context_size": "low", "user_location": {"type": "approximate"}}}),
    Good({"provider": {"order": ["openai"]}}, {}),
    Good({"provider": {"only": ["openai"]}}, {}),
    Good({"provider": {"only": [" OpenAI "]}}, {}),
    Good({"provider": {"ignore": ["other"]}}, {}),
    Good({"provider": {"include_alpha": True}}, {}, model="alpha"),
    Good({"provider": {"allow_fallbacks": False, "require_parameters": True}}, {}),
    Good({"provider": {"max_price": {"prompt": 0.05, "completion": 0.4}}}, {}, model="priced"),
    *(Good({"provider": {"sort": sort}}, {}) for sort in ("price", "latency", "throughput")),
    Good({"provider": {"data_collection": "deny"}}, {}, ["provider.data_collection"]),
    Good({"provider_options": {"openai": {"prompt_cache_retention": "24h"}}}, {"prompt_cache_retention": "24h"}),
    Good(
        {"provider_options": {"openai": {"context_management": {"type": "compaction", "compact_threshold": 0.5}}}},
        {"context_management": {"type": "compaction", "compact_threshold": 0.5}},
    ),
    Good(
        {
            "provider_options": {
                "anthropic": {"cache_control": CACHE_CONTROL},
                "google": {"cache_control": CACHE_CONTROL, "cached_content": "cachedContents/a", "cache_ttl": "60s"},
                "mistral": {"safe": True},
            }
        },
        {},
        [
            "provider_options.anthropic.cache_control",
            "provider_options.google.cache_control",
            "provider_options.google.cache_ttl",
            "provider_options.google.cached_content",
            "provider_options.mistral",
        ],
    ),
    Good({"temperature": None, "stop": None, "tools": None, "reasoning": None, "provider": None}, {}),
)
OWN: Sequence[Good] = (
    Good({"stream": False}, {}),
    Good({"stream_options": {}}, {}),
    Good({"meta": False}, {}),
    Good({"usage": True}, {}),
    Good({"usage": False}, {}),
    Good({"session_id": ""}, {}),
    Good({"session_id": "s" * 256}, {}),
    Good({"echo_upstream_request": False}, {}),
    Good({"echo_upstream_request": True}, {}),
    Good({"debug": {}}, {}),
    Good(
        {
            "debug": {
                "enabled": True,
                "return_upstream_request": True,
                "return_upstream_response": True,
                "trace": True,
                "trace_level": "full",
            }
        },
        {},
    ),
    Good({"debug": {"trace": True, "trace_level": "summary"}}, {}),
    Good({"debug": {"verbose": True}}, {}, ["debug.verbose"]),
    Good({"max_tool_calls": 1}, {}, ["max_tool_calls"]),
    Good({"max_tools_calls": 1}, {}, ["max_tool_calls"]),
)
SYSTEM: Sequence[Good] = (
    Good({"system": "Be brief."}, {"messages": [{"role": "system", "content": "Be brief."}, *HI]}),
    Good(
        {"system": "Be brief.", "messages": [{"role": "system", "content": "Be kind."}, *HI]},
        {
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "system", "content": "Be kind."},
                *HI,
            ]
        },
    ),
)
UNKNOWN: Sequence[Good] = (
    Good({"guided_choice": ["b", "a"], "x": {"z": None, "a": [1, {}]}}),
    Good({"top_q": 3}),
    Good({"nothing": None}),
)
SETTINGS = (*SAMPLING, *LIMITS, *FORMATS, *REASONING, *MEDIA, *PROVIDERS, *OWN, *SYSTEM, *UNKNOWN)
