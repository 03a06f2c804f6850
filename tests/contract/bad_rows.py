"""The contract table's bad side: each mistake, made in a request that has every field, and what the client is told."""

from __future__ import annotations

from collections.abc import Sequence

from tests.contract.rows import ABSENT, Bad, allowed

RANGES: Sequence[Bad] = (
    *(
        Bad(path, value, "out_of_range")
        for path, values in (
            ("temperature", (-0.01, 2.01, -1, 1e308)),
            ("top_p", (-0.01, 1.01)),
            ("frequency_penalty", (-2.01, 2.01)),
            ("presence_penalty", (-2.01, 2.01)),
            ("top_k", (0, -1, 2**31)),
            ("top_logprobs", (-1, 21)),
            ("n", (0, 129)),
            ("max_completion_tokens", (0, -1, 2**31)),
            ("max_tokens", (0, 2**31)),
            ("max_output_tokens", (0, 2**31)),
            ("max_tool_calls", (0, -1, 2**31)),
            ("max_tools_calls", (0,)),
            ("seed", (2**63, -(2**63) - 1, 1e300)),
            ("reasoning.max_tokens", (-1, 2**31)),
            ("thinking.max_tokens", (-1, 2**31)),
            ("thinking.maxTokens", (-1,)),
            ("thinking.budget_tokens", (-1,)),
            ("thinking.budgetTokens", (-1,)),
            ("provider.max_price.prompt", (-0.01,)),
            ("provider.max_price.completion", (-0.01,)),
            ("session_id", ("s" * 257, "é" * 257)),
        )
        for value in values
    ),
    Bad("messages", [], "out_of_range", typed="missing_required_parameter"),
    Bad("messages", [{"role": "user", "content": "Hi"}] * 51, "out_of_range"),
    Bad("model", "", "out_of_range"),
    Bad("tools[0].function.name", "", "out_of_range"),
    Bad("tools[1].custom.name", "", "out_of_range"),
    Bad("tool_choice.function.name", "", "out_of_range"),
    Bad("functions[0].name", "", "out_of_range"),
    Bad("function_call.name", "", "out_of_range"),
)

ENUMS: Sequence[Bad] = (
    *(
        Bad(path, value, "invalid_value")
        for path, values in (
            ("messages[0].role", ("robot", "User", "")),
            ("messages[1].content[0].type", ("image", "", "TEXT")),
            ("messages[1].content[2].input_audio.format", ("wma", "WAV")),
            ("messages[2].tool_calls[0].type", ("retrieval",)),
            ("messages[2].images[0].type", ("audio_url",)),
            ("messages[2].audios[0].type", ("image_url",)),
            ("messages[2].audios[0].format", ("wma", "WAV", "")),
            ("response_format", ("xml", "json_schema", "")),
            ("response_format.type", ("xml",)),
            ("verbosity", ("max",)),
            ("prediction.type", ("text",)),
            ("tools[0].type", ("code_interpreter", "", "datetime")),
            ("tool_choice", ("any", "", "AUTO", "gateway:web_search", "f")),
            ("tool_choice.type", ("tool",)),
            ("function_call", ("f", "required")),
            ("reasoning.effort", ("ultra", "")),
            ("reasoning.summary", ("none",)),
            ("thinking.type", ("on",)),
            ("thinking.effort", ("ultra",)),
            ("reasoning_effort", ("ultra",)),
            ("image_config.image_size", ("8K", "1k")),
            ("provider.sort", ("random",)),
            ("provider_options.openai.context_management.type", ("truncation",)),
            ("service_tier", ("gold", "Auto")),
            ("debug.trace_level", ("verbose",)),
        )
        for value in values
    ),
    Bad("messages[2].images[0].type", "", "invalid_value", typed="missing_required_parameter"),
    Bad("messages[2].audios[0].type", "", "invalid_value", typed="missing_required_parameter"),
    Bad("modalities[0]", "", "invalid_value", typed="-"),
    Bad("modalities[1]", "video", "invalid_value", typed="-"),
    Bad("response_modalities", ["video"], "invalid_value", "response_modalities[0]", typed="-"),
    Bad("imageConfig", {"imageSize": "8K"}, "invalid_value", "imageConfig.imageSize"),
    Bad(
        "tool_choice",
        {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}},
        "out_of_range",
        "tool_choice.allowed_tools.tools",
    ),
    Bad(
        "tool_choice",
        {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": []}},
        "invalid_value",
        "tool_choice.allowed_tools.mode",
    ),
)

_REQUIRED = (
    "model",
    "messages",
    "messages[0].role",
    "messages[1].content[0].type",
    "messages[1].content[0].text",
    "messages[1].content[0].prompt_cache_breakpoint.mode",
    "messages[1].content[1].image_url",
    "messages[1].content[1].image_url.url",
    "messages[1].content[2].input_audio",
    "messages[1].content[2].input_audio.data",
    "messages[1].content[3].video_url",
    "messages[1].content[3].video_url.url",
    "messages[1].content[4].file",
    "messages[2].tool_calls[0].id",
    "messages[2].tool_calls[0].type",
    "messages[2].tool_calls[0].function",
    "messages[2].tool_calls[1].custom",
    "messages[2].images[0].type",
    "messages[2].images[0].image_url",
    "messages[2].images[0].image_url.url",
    "messages[2].audios[0].type",
    "messages[2].audios[0].audio_url",
    "messages[2].audios[0].audio_url.url",
    "messages[2].audio.id",
    "messages[4].content[0].refusal",
    "messages[4].content[1].id",
    "messages[4].content[1].function",
    "response_format.type",
    "response_format.json_schema.name",
    "response_format.json_schema.schema",
    "prediction.type",
    "prediction.content",
    "tools[0].type",
    "tools[0].function",
    "tools[0].function.name",
    "tools[1].custom",
    "tools[1].custom.name",
    "tools[2].type",
    "tool_choice.type",
    "tool_choice.function",
    "tool_choice.function.name",
    "functions[0].name",
    "function_call.name",
    "audio.voice",
    "audio.voice.id",
    "audio.format",
    "provider_options.openai.context_management.type",
    "moderation.model",
    "moderation.policy.input.mode",
)
MISSING: Sequence[Bad] = (
    *(Bad(path, value, "missing_required_parameter") for path in _REQUIRED for value in (ABSENT, None)),
    Bad("response_format", {"type": "json_schema"}, "missing_required_parameter", "response_format.json_schema"),
    Bad(
        "response_format",
        {"type": "json_schema", "json_schema": {"name": "x"}},
        "missing_required_parameter",
        "response_format.json_schema.schema",
    ),
)
NULLS: Sequence[Bad] = tuple(
    Bad(path, None, "invalid_type")
    for path in (
        "messages[0]",
        "messages[1].content[0]",
        "messages[2].tool_calls[0]",
        "tools[0]",
        "functions[0]",
        "modalities[0]",
        "stop[0]",
        "metadata.a",
        "logit_bias.50256",
        "provider.order[0]",
        "image_config.reference_images[0]",
        "image_config.font_inputs[0]",
    )
)
TYPOS: Sequence[Bad] = tuple(
    Bad(name, 1, "unknown_parameter")
    for name in (
        "temperatur",
        "temprature",
        "temperatrue",
        "temperature_",
        "Temperature",
        "max_token",
        "max_output_token",
        "max_completion_token",
        "tool_choise",
        "message",
        "streams",
        "respons_format",
        "imageConfg",
        "response_modalitie",
        "servicetier",
        "safety_identifer",
    )
)
TOOLS: Sequence[Bad] = (
    *(
        Bad("tools[0].type", name, "tool_disabled")
        for name in ("web_search", "web_search_preview", "web_search_preview_2025_03_11", "gateway:web_search")
    ),
    *(Bad("tools[0].type", name, "unknown_tool") for name in ("gateway:", "gateway:weather", "gateway:datetimes")),
    Bad("tools[2].zone", "UTC", "unknown_parameter"),
    Bad("tools[2].function", {"name": "f"}, "unknown_parameter"),
    Bad("tools[2].parameters.zone", "UTC", "unknown_parameter"),
    *(
        Bad(path, zone, "invalid_timezone")
        for path in ("tools[2].timezone", "tools[2].parameters.timezone")
        for zone in ("Europe/Nowhere", "europe/london", "UTC+1", "", "../../etc/passwd", "localtime", "Z" * 1000)
    ),
    Bad("tools[0].function.name", "gateway_datetime", "invalid_value"),
    Bad("tools[1].custom.name", "gateway_datetime", "invalid_value"),
    *(
        Bad("tool_choice", allowed(reference), code, f"tool_choice.allowed_tools.tools[0]{path}")
        for reference, code, path in (
            ({"type": "function", "function": {"name": "g"}}, "invalid_value", ".function.name"),
            ({"type": "function", "name": "g"}, "invalid_value", ".name"),
            ({"type": "custom", "custom": {"name": "f"}}, "invalid_value", ".custom.name"),
            ({"type": "function"}, "missing_required_parameter", ".name"),
            ({"type": "function", "function": {}}, "missing_required_parameter", ".function.name"),
            ({"type": "function", "function": "f"}, "missing_required_parameter", ".function.name"),
        )
    ),
    Bad("tool_choice.function.name", "g", "invalid_value"),
    Bad("tool_choice", {"type": "custom", "custom": {"name": "f"}}, "invalid_value", "tool_choice.custom.name"),
    Bad("n", 2, "invalid_value"),
)
ROWS = (*RANGES, *ENUMS, *MISSING, *NULLS, *TYPOS, *TOOLS)

NOT_JSON: Sequence[bytes] = (
    b"",
    b" ",
    b"{",
    b"}",
    b"[]",
    b"null",
    b"5",
    b'"text"',
    b"{'model': 1}",
    b'{"model": "plain",}',
    b'{"model": NaN}',
    b'{"temperature": Infinity}',
    b'{"model": "plain"} {"model": "plain"}',
    b'{"model": "\xff\xfe"}',
    b'{"model": "\xed\xa0\x80"}',
    b'{"model": "\\ud800"}',
    b'{"model": "tab\there"}',
    b'\xef\xbb\xbf{"model": "plain"}',
    '{"model": "plain"}'.encode("utf-16"),
    b"model=plain&messages=Hi",
    b'{"model":"plain","messages":' + b"[" * 500 + b"]" * 500 + b"}",
    b'{"model":"plain","x":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
    b"[" * 100_000,
)
"""Bodies that are `invalid_json`."""
