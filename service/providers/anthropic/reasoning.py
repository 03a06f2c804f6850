"""The client's reasoning settings as Anthropic's `thinking` and `output_config.effort`.

https://platform.claude.com/docs/en/build-with-claude/extended-thinking
https://platform.claude.com/docs/en/build-with-claude/adaptive-thinking
https://platform.claude.com/docs/en/build-with-claude/effort
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from gateway.v1.chat_request_pb2 import Reasoning, ReasoningEffort

from service.providers.report import Report

MIN_BUDGET = 1024
"""Anthropic's smallest thinking budget, in tokens."""

BUDGETS: Mapping[int, int] = MappingProxyType(
    {
        ReasoningEffort.REASONING_EFFORT_MINIMAL: MIN_BUDGET,
        ReasoningEffort.REASONING_EFFORT_LOW: 4096,
        ReasoningEffort.REASONING_EFFORT_MEDIUM: 8192,
        ReasoningEffort.REASONING_EFFORT_HIGH: 16384,
        ReasoningEffort.REASONING_EFFORT_XHIGH: 32768,
        ReasoningEffort.REASONING_EFFORT_MAX: 65536,
    }
)
"""Thinking budget of each effort, in tokens, for models that take budgets."""

EFFORTS: Mapping[int, str] = MappingProxyType(
    {
        ReasoningEffort.REASONING_EFFORT_MINIMAL: "low",
        ReasoningEffort.REASONING_EFFORT_LOW: "low",
        ReasoningEffort.REASONING_EFFORT_MEDIUM: "medium",
        ReasoningEffort.REASONING_EFFORT_HIGH: "high",
        ReasoningEffort.REASONING_EFFORT_XHIGH: "xhigh",
        ReasoningEffort.REASONING_EFFORT_MAX: "max",
    }
)
"""Anthropic's effort of each effort, for models that take efforts."""

_ANSWER_TOKENS = 4096
"""Room for the answer after the thinking, where the client and the catalogue set no limit."""
_EFFORT_SHARE = 0.8
"""The largest share of the token limit that an effort's budget takes, so that an answer fits after it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What Anthropic is told about thinking. `max_tokens` holds the thinking and the answer."""

    max_tokens: int
    thinking: Mapping[str, Any] | None = None
    effort: str | None = None

    @property
    def thinks(self) -> bool:
        """Whether thinking is on, which forbids sampling settings."""
        return self.thinking is not None and self.thinking["type"] != "disabled"


@dataclass(frozen=True, slots=True)
class Limits:
    """The token limits around an answer: the client's, the catalogue's, and the one used where both are silent."""

    asked: int | None
    catalogue: int | None
    default: int

    @property
    def max_tokens(self) -> int:
        """The limit without thinking."""
        return self.asked or self.catalogue or self.default


def plan(reasoning: Reasoning, style: str, limits: Limits, obstacle: bool, report: Report) -> Plan:
    """Return what to tell Anthropic.

    `style` is the endpoint's `reasoning`. `obstacle` says that the request contains what thinking cannot go with: a
    forced tool call, or, for budgets, a last turn of the model's that does not begin with its thinking.
    """
    for name in reasoning.extra:
        report.drop(f"reasoning.{name}")
    limit = limits.max_tokens
    off = _is_off(reasoning)
    if style == "none":
        if not off:
            report.drop("reasoning")
        return Plan(limit)
    if off:
        return Plan(limit, {"type": "disabled"})
    # To be shown thoughts is no wish to have the model think, except where it decides on that itself.
    asked = reasoning.effort or reasoning.HasField("enabled") or reasoning.HasField("max_tokens")
    if obstacle or not (asked or style == "adaptive"):
        report.drop("reasoning")
        return Plan(limit)
    if reasoning.summary:
        report.drop("reasoning.summary")
    if style == "budget":
        return _with_budget(reasoning, limits, report)
    effort = _effort(reasoning, report)
    if style != "adaptive":
        return Plan(limit, effort=effort)
    hidden = reasoning.HasField("include_thoughts") and not reasoning.include_thoughts
    return Plan(limit, {"type": "adaptive", "display": "omitted" if hidden else "summarized"}, effort)


def lacks_thinking(turns: Sequence[Mapping[str, Any]]) -> bool:
    """Say whether the model's last turn is to be continued and does not begin with its thinking.

    Models with thinking budgets refuse it, and clients that know only OpenAI's fields do not send thinking back.
    https://platform.claude.com/docs/en/build-with-claude/extended-thinking#preserving-thinking-blocks
    """
    last = turns[-1]
    if last["role"] == "user":
        if len(turns) < 2 or last["content"][0]["type"] != "tool_result":
            return False
        last = turns[-2]
    return last["content"][0]["type"] not in ("thinking", "redacted_thinking")


def _is_off(reasoning: Reasoning) -> bool:
    if reasoning.HasField("enabled"):
        return not reasoning.enabled
    if reasoning.HasField("max_tokens"):
        return reasoning.max_tokens == 0
    return reasoning.effort == ReasoningEffort.REASONING_EFFORT_NONE


def _with_budget(reasoning: Reasoning, limits: Limits, report: Report) -> Plan:
    if reasoning.max_tokens:
        budget = max(reasoning.max_tokens, MIN_BUDGET)
    else:
        budget = BUDGETS.get(reasoning.effort, BUDGETS[ReasoningEffort.REASONING_EFFORT_MEDIUM])
    limit = limits.asked or limits.catalogue or budget + _ANSWER_TOKENS
    if limit <= MIN_BUDGET:
        report.drop("reasoning")
        return Plan(limit)
    if reasoning.max_tokens:
        budget = min(budget, limit - 1)
        if budget != reasoning.max_tokens:
            report.adjust("reasoning.max_tokens", reasoning.max_tokens, budget)
    else:
        budget = max(min(budget, int(limit * _EFFORT_SHARE)), MIN_BUDGET)
    thinking: dict[str, Any] = {"type": "enabled", "budget_tokens": budget}
    if reasoning.HasField("include_thoughts") and not reasoning.include_thoughts:
        thinking["display"] = "omitted"
    return Plan(limit, thinking)


def _effort(reasoning: Reasoning, report: Report) -> str | None:
    """Return the effort: the client's own, else the largest one whose budget its token limit allows."""
    if reasoning.effort in EFFORTS:
        effort = EFFORTS[reasoning.effort]
        if reasoning.effort == ReasoningEffort.REASONING_EFFORT_MINIMAL:
            report.adjust("reasoning.effort", "minimal", effort)
        if reasoning.max_tokens:
            report.drop("reasoning.max_tokens")
        return effort
    if not reasoning.max_tokens:
        return None
    within = [EFFORTS[level] for level, budget in BUDGETS.items() if budget <= reasoning.max_tokens]
    effort = within[-1] if within else "low"
    report.adjust("reasoning.max_tokens", reasoning.max_tokens, effort)
    return effort
