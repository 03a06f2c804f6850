"""What usage costs: integer nano-dollars from the catalogue's prices, whole and streamed, summed over turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest

from tests.contract.client import Client, request, typed
from tests.contract.provider import HELLO, Provider, Turn, Whole

CLOCK = {"type": "gateway:datetime"}


def used(prompt: int, completion: int, *, cached: int = 0, written: int = 0, reasoning: int = 0) -> dict[str, Any]:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


PLAIN = used(19, 10)
DETAILED = used(19, 10, cached=4, written=2, reasoning=3)
Line = tuple[str, int, float, int]

ROWS: Sequence[tuple[str, Mapping[str, Any], Sequence[Line]]] = (
    ("simple-price", PLAIN, [("input", 19, 1, 19_000), ("output", 10, 2, 20_000)]),
    # Without prices of their own, cached and reasoning tokens cost as input and output.
    ("simple-price", DETAILED, [("input", 19, 1, 19_000), ("output", 10, 2, 20_000)]),
    (
        "priced",
        DETAILED,
        [("input", 15, 0.05, 750), ("cached_input", 4, 0.005, 20), ("output", 10, 0.4, 4_000)],
    ),
    (
        "dear",
        DETAILED,
        [
            ("input", 13, 3, 39_000),
            ("cached_input", 4, 0.3, 1_200),
            ("cache_write", 2, 3.75, 7_500),
            ("output", 7, 15, 105_000),
            ("reasoning", 3, 12.5, 37_500),
        ],
    ),
    # Half a nano-dollar is rounded up, kind by kind.
    ("priced", used(1, 0, cached=1), [("cached_input", 1, 0.005, 5)]),
    ("dear", used(10, 5, cached=10, reasoning=5), [("cached_input", 10, 0.3, 3_000), ("reasoning", 5, 12.5, 62_500)]),
    # A provider that counts more than there is does not make input negative.
    (
        "dear",
        used(5, 2, cached=9, written=9, reasoning=9),
        [("cached_input", 5, 0.3, 1_500), ("reasoning", 2, 12.5, 25_000)],
    ),
    ("dear", used(2**31 - 1, 0), [("input", 2**31 - 1, 3, (2**31 - 1) * 3_000)]),
    ("simple-price", used(0, 0), []),
)


def check(cost: Mapping[str, Any], lines: Sequence[Line]) -> None:
    names = ("kind", "quantity", "price_usd_per_million", "nanos")
    total = sum(line[3] for line in lines)
    assert cost["lines"] == [dict(zip(names, line, strict=True)) for line in lines]
    assert (cost["currency"], cost["total_nanos"]) == ("USD", total)
    assert Decimal(cost["total_usd"]) == Decimal(total) / 10**9
    assert "E" not in cost["total_usd"]


@pytest.mark.parametrize(("model", "usage", "lines"), ROWS, ids=str)
def test_costs(model: str, usage: Mapping[str, Any], lines: Sequence[Line], client: Client, provider: Provider) -> None:
    provider.says(*[Turn(text="Hi", usage=usage)] * 3)
    check(client.ask(request(model, usage=True))["usage"]["cost"], lines)
    check(client.stream(request(model, usage=True)).events[-1]["usage"]["cost"], lines)
    message = typed(request(model, usage=True))
    assert message is not None
    cost = client.call(message).usage.cost
    assert cost.total_nanos == sum(line[3] for line in lines)


def test_cost_is_said_only_when_asked_for(client: Client) -> None:
    assert "cost" not in client.ask(request("priced"))["usage"]
    streamed = client.stream(request("priced", stream_options={"include_usage": True}))
    assert "cost" not in streamed.events[-1]["usage"]


def test_what_has_no_price_has_no_cost(client: Client) -> None:
    assert "cost" not in client.ask(request("plain", usage=True))["usage"]
    assert "cost" not in client.stream(request("plain", usage=True)).events[-1]["usage"]


def test_a_provider_that_says_no_usage_costs_nothing_that_could_be_told(client: Client, provider: Provider) -> None:
    provider.says(Turn(text="Hi", usage=None), Turn(text="Hi", usage=None))
    assert "usage" not in client.ask(request("priced", usage=True))
    streamed = client.stream(request("priced", usage=True))
    assert streamed.done
    assert not any("usage" in event for event in streamed.events)


@pytest.mark.parametrize("stream", [False, True])
def test_cost_is_summed_over_tool_turns(stream: bool, client: Client, provider: Provider) -> None:
    call = ("call_1", "gateway_datetime", "{}")
    provider.says(
        Turn(calls=[call], usage=used(100, 20, cached=50)),
        Turn(calls=[call], usage=used(150, 20, cached=100, reasoning=5)),
        Turn(text="Noon.", usage=used(200, 30)),
    )
    body = request("priced", usage=True, tools=[CLOCK])
    usage = client.stream(body).events[-1]["usage"] if stream else client.ask(body)["usage"]
    check(
        usage["cost"],
        [("input", 300, 0.05, 15_000), ("cached_input", 150, 0.005, 750), ("output", 70, 0.4, 28_000)],
    )
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (450, 70, 520)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 150
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 5
    assert usage["server_tool_use"] == {"datetime_requests": 2}


@pytest.mark.parametrize("stream", [False, True])
def test_turns_of_different_endpoints_cost_what_each_costs(stream: bool, client: Client, provider: Provider) -> None:
    provider.says(
        Turn(calls=[("call_1", "gateway_datetime", "{}")], usage=used(100, 20)),
        Whole(429, {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}),
        Turn(text="Noon.", usage=used(200, 30)),
    )
    model = "switching-streamed" if stream else "switching-whole"
    body = request(model, usage=True, meta=True, tools=[CLOCK], provider={"order": ["openai", "other"]})
    answer = client.stream(body).events[-1] if stream else client.ask(body)
    assert [attempt["provider"] for attempt in answer["meta"]["attempts"]] == ["openai", "openai", "other"]
    check(
        answer["usage"]["cost"],
        [
            ("input", 100, 1, 100_000),
            ("output", 20, 2, 40_000),
            ("input", 200, 10, 2_000_000),
            ("output", 30, 20, 600_000),
        ],
    )


def test_a_failed_attempt_costs_nothing(client: Client, provider: Provider) -> None:
    provider.says(Whole(500, {"error": {"message": "oops"}, "usage": used(1000, 1000)}), HELLO)
    cost = client.ask(request("simple-price", usage=True))["usage"]["cost"]
    check(cost, [("input", 10, 1, 10_000), ("output", 5, 2, 10_000)])
