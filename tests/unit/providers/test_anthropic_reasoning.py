"""What the Anthropic dialect makes of reasoning settings."""

from __future__ import annotations

from typing import Any

import pytest

from service.config import Endpoint
from tests.unit.providers.anthropic_requests import ADAPTIVE, CLAUDE, CLOCK, HI, adjusted, call, encode


@pytest.mark.parametrize(
    ("reasoning", "limit", "thinking", "max_tokens", "dropped", "changes"),
    [
        ({"effort": "low"}, None, 4096, 8192, (), []),
        ({"effort": "medium"}, None, 8192, 12288, (), []),
        ({"effort": "high"}, 64000, 16384, 64000, (), []),
        ({"effort": "high"}, 10000, 8000, 10000, (), []),
        ({"effort": "high"}, 1100, 1024, 1100, (), []),
        ({"effort": "high"}, 1024, None, 1024, ("reasoning",), []),
        ({"enabled": True}, None, 8192, 12288, (), []),
        ({"max_tokens": 2000}, None, 2000, 6096, (), []),
        ({"max_tokens": 2000, "effort": "high"}, None, 2000, 6096, (), []),
        ({"max_tokens": 100}, None, 1024, 5120, (), [("reasoning.max_tokens", 100, 1024)]),
        ({"max_tokens": 5000}, 3000, 2999, 3000, (), [("reasoning.max_tokens", 5000, 2999)]),
    ],
)
def test_reasoning_as_a_budget(
    reasoning: dict[str, Any],
    limit: int | None,
    thinking: int | None,
    max_tokens: int,
    dropped: tuple[str, ...],
    changes: list[tuple[str, Any, Any]],
) -> None:
    fields: dict[str, Any] = {} if limit is None else {"max_completion_tokens": limit}
    body, sent = encode(reasoning=reasoning, **fields)
    assert body.get("thinking") == (None if thinking is None else {"type": "enabled", "budget_tokens": thinking})
    assert body["max_tokens"] == max_tokens
    assert sent.dropped == dropped
    assert adjusted(sent) == changes


@pytest.mark.parametrize("reasoning", [{"effort": "none"}, {"enabled": False}, {"max_tokens": 0}])
@pytest.mark.parametrize("endpoint", [CLAUDE, ADAPTIVE])
def test_reasoning_switched_off(endpoint: Endpoint, reasoning: dict[str, Any]) -> None:
    body, sent = encode(endpoint, reasoning=reasoning, temperature=0.5)
    assert body["thinking"] == {"type": "disabled"}
    assert body["temperature"] == 0.5
    assert sent.dropped == ()


@pytest.mark.parametrize(
    ("reasoning", "style", "thinking", "effort", "dropped", "changes"),
    [
        ({"effort": "high"}, "adaptive", {"type": "adaptive", "display": "summarized"}, "high", (), []),
        (
            {"effort": "minimal"},
            "adaptive",
            {"type": "adaptive", "display": "summarized"},
            "low",
            (),
            [("reasoning.effort", "minimal", "low")],
        ),
        (
            {"enabled": True, "include_thoughts": False},
            "adaptive",
            {"type": "adaptive", "display": "omitted"},
            None,
            (),
            [],
        ),
        (
            {"max_tokens": 9000},
            "adaptive",
            {"type": "adaptive", "display": "summarized"},
            "medium",
            (),
            [("reasoning.max_tokens", 9000, "medium")],
        ),
        (
            {"max_tokens": 9000, "effort": "max"},
            "effort",
            None,
            "max",
            ("reasoning.max_tokens",),
            [],
        ),
        (
            {"include_thoughts": True},
            "adaptive",
            {"type": "adaptive", "display": "summarized"},
            None,
            (),
            [],
        ),
        ({"include_thoughts": True}, "budget", None, None, ("reasoning",), []),
        ({"effort": "high"}, "none", None, None, ("reasoning",), []),
        ({"effort": "none"}, "none", None, None, (), []),
    ],
)
def test_reasoning_as_an_effort(
    reasoning: dict[str, Any],
    style: str,
    thinking: dict[str, Any] | None,
    effort: str | None,
    dropped: tuple[str, ...],
    changes: list[tuple[str, Any, Any]],
) -> None:
    endpoint = CLAUDE.model_copy(update={"reasoning": style})
    body, sent = encode(endpoint, reasoning=reasoning)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == effort
    assert sent.dropped == dropped
    assert adjusted(sent) == changes


@pytest.mark.parametrize("endpoint", [CLAUDE, ADAPTIVE])
def test_thinking_forbids_sampling(endpoint: Endpoint) -> None:
    fields: dict[str, Any] = {"temperature": 0.3, "top_p": 0.5, "top_k": 5}
    _, sent = encode(endpoint, reasoning={"effort": "low"}, **fields)
    assert sent.dropped == ("temperature", "top_p", "top_k")
    body, sent = encode(endpoint, reasoning={"effort": "low"}, temperature=1.5, top_p=0.97)
    assert (body["temperature"], body["top_p"], sent.dropped) == (1.0, 0.97, ())


@pytest.mark.parametrize("endpoint", [CLAUDE, ADAPTIVE])
def test_a_forced_call_beats_reasoning(endpoint: Endpoint) -> None:
    body, sent = encode(endpoint, tools=[CLOCK], tool_choice="required", reasoning={"effort": "low"})
    assert "thinking" not in body
    assert sent.dropped == ("reasoning",)


@pytest.mark.parametrize("blocks", [None, [{"type": "thinking", "thinking": "Hm.", "signature": "sig"}]])
@pytest.mark.parametrize("endpoint", [CLAUDE, ADAPTIVE])
def test_a_budget_needs_the_thinking_of_the_turn_that_goes_on(
    endpoint: Endpoint, blocks: list[dict[str, Any]] | None
) -> None:
    asking = {"role": "assistant", "content": None, "tool_calls": [call("c1", "clock", "{}")]}
    if blocks is not None:
        asking["thinking_blocks"] = blocks
    messages = [*HI, asking, {"role": "tool", "tool_call_id": "c1", "content": "noon"}]
    body, sent = encode(endpoint, tools=[CLOCK], messages=messages, reasoning={"effort": "low"})
    thinks = blocks is not None or endpoint is ADAPTIVE
    assert ("thinking" in body) is thinks
    assert sent.dropped == (() if thinks else ("reasoning",))


def test_a_model_that_refuses_budgets_is_asked_adaptively() -> None:
    body, sent = encode(refused=frozenset({"thinking.type.enabled"}), reasoning={"effort": "high"})
    assert body["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert body["output_config"] == {"effort": "high"}
    assert sent.dropped == ()
