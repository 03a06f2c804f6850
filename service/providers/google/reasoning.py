"""Reasoning settings as Gemini's `thinkingConfig`: a budget of tokens (2.5 and before) or a level (3 and later)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from gateway.v1.chat_request_pb2 import Reasoning, ReasoningEffort

from service.config import Endpoint
from service.providers.report import Report

Style = Literal["budget", "level", "adaptive", "none"]

# The first four as Google's own OpenAI endpoint has them: https://ai.google.dev/gemini-api/docs/openai#thinking
_BUDGETS: Mapping[int, int] = MappingProxyType(
    {
        ReasoningEffort.REASONING_EFFORT_MINIMAL: 1024,
        ReasoningEffort.REASONING_EFFORT_LOW: 1024,
        ReasoningEffort.REASONING_EFFORT_MEDIUM: 8192,
        ReasoningEffort.REASONING_EFFORT_HIGH: 24576,
        ReasoningEffort.REASONING_EFFORT_XHIGH: 32768,
        ReasoningEffort.REASONING_EFFORT_MAX: 32768,
    }
)
_LEVELS: Mapping[int, str] = MappingProxyType(
    {
        ReasoningEffort.REASONING_EFFORT_MINIMAL: "MINIMAL",
        ReasoningEffort.REASONING_EFFORT_LOW: "LOW",
        ReasoningEffort.REASONING_EFFORT_MEDIUM: "MEDIUM",
        ReasoningEffort.REASONING_EFFORT_HIGH: "HIGH",
        ReasoningEffort.REASONING_EFFORT_XHIGH: "HIGH",
        ReasoningEffort.REASONING_EFFORT_MAX: "HIGH",
    }
)
_DYNAMIC = -1


class _Range(NamedTuple):
    """Budgets that a model takes; `off` says whether 0 is one of them."""

    lowest: int
    highest: int
    off: bool


# https://ai.google.dev/gemini-api/docs/thinking#set-budget
_RANGES: Mapping[str, _Range] = MappingProxyType(
    {
        "gemini-2.5-pro": _Range(128, 32768, off=False),
        "gemini-2.5-flash-lite": _Range(512, 24576, off=True),
        "gemini-2.5-flash": _Range(1, 24576, off=True),
    }
)
_ANY = _Range(0, 32768, off=True)


def style_of(endpoint: Endpoint) -> Style:
    """Return how a model takes reasoning settings: as the catalogue says, else a level from Gemini 3 on."""
    match endpoint.reasoning:
        case "none" | "budget" | "level" | "adaptive":
            return endpoint.reasoning
        case "effort":
            return "level"
        case None:
            return "budget" if re.search(r"gemini-[12]\b", endpoint.model) else "level"


def thinking_config(reasoning: Reasoning, endpoint: Endpoint, report: Report) -> dict[str, Any] | None:
    """Return the `thinkingConfig` that reasoning settings mean, or None."""
    for name in reasoning.extra:
        report.drop(f"reasoning.{name}")
    style = style_of(endpoint)
    off = (reasoning.HasField("enabled") and not reasoning.enabled) or (
        reasoning.effort == ReasoningEffort.REASONING_EFFORT_NONE and not reasoning.enabled
    )
    if style == "none":
        if not off:
            report.drop("reasoning")
        return None
    if off:
        return _level_off(reasoning, endpoint, report) if style == "level" else _budget_off(reasoning, endpoint, report)
    config = _level(reasoning, endpoint, report) if style == "level" else _budget(reasoning, style, endpoint, report)
    asked = bool(reasoning.effort or reasoning.enabled or reasoning.summary or reasoning.HasField("max_tokens"))
    config["includeThoughts"] = reasoning.include_thoughts if reasoning.HasField("include_thoughts") else asked
    return config


def _budget(reasoning: Reasoning, style: Style, endpoint: Endpoint, report: Report) -> dict[str, Any]:
    if reasoning.HasField("max_tokens"):
        if reasoning.effort:
            report.drop("reasoning.effort")
        lowest, highest, may_be_off = _range(endpoint)
        asked = reasoning.max_tokens
        budget = 0 if asked == 0 and may_be_off else min(max(asked, lowest), highest)
        if budget != asked:
            report.adjust("reasoning.max_tokens", asked, budget)
        return {"thinkingBudget": budget}
    if reasoning.effort in _BUDGETS and style == "budget":
        return {"thinkingBudget": min(_BUDGETS[reasoning.effort], _range(endpoint).highest)}
    if reasoning.effort:
        report.drop("reasoning.effort")
    return {"thinkingBudget": _DYNAMIC} if reasoning.enabled or reasoning.effort else {}


def _budget_off(reasoning: Reasoning, endpoint: Endpoint, report: Report) -> dict[str, Any]:
    lowest, _, may_be_off = _range(endpoint)
    if may_be_off:
        return {"thinkingBudget": 0}
    _report_on(reasoning, report)
    return {"thinkingBudget": lowest}


def _level(reasoning: Reasoning, endpoint: Endpoint, report: Report) -> dict[str, Any]:
    if reasoning.effort in _LEVELS:
        if reasoning.HasField("max_tokens"):  # both at once are refused
            report.drop("reasoning.max_tokens")
        return {
            "thinkingLevel": _LEVELS[reasoning.effort]
            if reasoning.effort != ReasoningEffort.REASONING_EFFORT_MINIMAL
            else _lowest_level(endpoint)
        }
    if reasoning.HasField("max_tokens"):  # still taken, for the sake of 2.5's users
        return {"thinkingBudget": reasoning.max_tokens}
    return {}


def _level_off(reasoning: Reasoning, endpoint: Endpoint, report: Report) -> dict[str, Any]:
    """Gemini 3 always thinks: the least is the nearest to off."""
    _report_on(reasoning, report)
    return {"thinkingLevel": _lowest_level(endpoint)}


def _lowest_level(endpoint: Endpoint) -> str:
    return "LOW" if re.search(r"-pro\b", endpoint.model) else "MINIMAL"  # the pro models know no MINIMAL


def _report_on(reasoning: Reasoning, report: Report) -> None:
    if reasoning.effort == ReasoningEffort.REASONING_EFFORT_NONE:
        report.adjust("reasoning.effort", "none", "minimal")
    else:
        report.adjust("reasoning.enabled", False, True)


def _range(endpoint: Endpoint) -> _Range:
    return next((span for name, span in _RANGES.items() if name in endpoint.model), _ANY)
