"""The client's reasoning settings as OpenAI's `reasoning_effort`.

https://platform.openai.com/docs/guides/reasoning
"""

from __future__ import annotations

from gateway.v1.chat_request_pb2 import Reasoning, ReasoningEffort

from service.providers.report import Report

_NAMES = {
    ReasoningEffort.REASONING_EFFORT_MINIMAL: "minimal",
    ReasoningEffort.REASONING_EFFORT_LOW: "low",
    ReasoningEffort.REASONING_EFFORT_MEDIUM: "medium",
    ReasoningEffort.REASONING_EFFORT_HIGH: "high",
    ReasoningEffort.REASONING_EFFORT_XHIGH: "xhigh",
    ReasoningEffort.REASONING_EFFORT_MAX: "max",
}

BUDGETS = ((4096, "low"), (16384, "medium"))
"""Efforts that stand for a budget of up to so many tokens; a larger one is `high`. Reasoning models have all three."""


def reasoning_effort(reasoning: Reasoning, report: Report) -> str | None:
    """Return the effort to ask for, or None where the client leaves it to the model.

    An effort beats a budget. Reasoning that is only switched on is `medium`: some models do not reason unless told.
    What has no form in chat completions (summaries, thoughts in the answer) is reported as dropped.
    """
    if reasoning.summary:
        report.drop("reasoning.summary")
    if reasoning.HasField("include_thoughts"):
        report.drop("reasoning.include_thoughts")
    for name in reasoning.extra:
        report.drop(f"reasoning.{name}")
    if _is_off(reasoning):
        return "none"
    if reasoning.effort in _NAMES:
        if reasoning.max_tokens:
            report.drop("reasoning.max_tokens")
        return _NAMES[reasoning.effort]
    if reasoning.max_tokens:
        effort = next((name for most, name in BUDGETS if reasoning.max_tokens <= most), "high")
        report.adjust("reasoning.max_tokens", reasoning.max_tokens, effort)
        return effort
    return "medium" if reasoning.enabled else None


def _is_off(reasoning: Reasoning) -> bool:
    if reasoning.HasField("enabled"):
        return not reasoning.enabled
    if reasoning.HasField("max_tokens"):
        return reasoning.max_tokens == 0
    return reasoning.effort == ReasoningEffort.REASONING_EFFORT_NONE
