"""Cost: integer nano-dollars from tokens and prices."""

from __future__ import annotations

import pytest
from gateway.v1.chat_response_pb2 import CompletionTokensDetails, CostLine, PromptTokensDetails, Usage

from service.chat import cost
from service.config import Prices

PRICES = Prices(input=0.05, cached_input=0.005, cache_write=0.06, output=0.4, reasoning=0.8)
USAGE = Usage(
    prompt_tokens=1000,
    completion_tokens=300,
    prompt_tokens_details=PromptTokensDetails(cached_tokens=600, cache_write_tokens=100),
    completion_tokens_details=CompletionTokensDetails(reasoning_tokens=200),
)


def told(lines: list[CostLine]) -> dict[str, tuple[int, int]]:
    return {line.kind: (line.quantity, line.nanos) for line in lines}


def test_every_kind_of_token_is_priced_on_its_own() -> None:
    assert told(cost.lines(USAGE, PRICES)) == {
        "input": (300, 15_000),
        "cached_input": (600, 3_000),
        "cache_write": (100, 6_000),
        "output": (100, 40_000),
        "reasoning": (200, 160_000),
    }


def test_kinds_without_a_price_cost_as_input_and_output() -> None:
    assert told(cost.lines(USAGE, Prices(input=1, output=2))) == {"input": (1000, 1_000_000), "output": (300, 600_000)}


def test_more_cached_tokens_than_prompt_tokens_are_not_believed() -> None:
    usage = Usage(prompt_tokens=5, prompt_tokens_details=PromptTokensDetails(cached_tokens=9, cache_write_tokens=9))
    assert told(cost.lines(usage, PRICES)) == {"cached_input": (5, 25)}


@pytest.mark.parametrize(
    ("tokens", "price", "nanos", "usd"),
    [
        (1080, 0.05, 54_000, "0.000054"),
        (1_000_000, 1.0, 1_000_000_000, "1"),
        (1, 0.0001, 0, "0"),
        (1, 0.0005, 1, "0.000000001"),
        (3, 0.1, 300, "0.0000003"),
        (2_000_000_000, 75.0, 150_000_000_000_000, "150000"),
    ],
)
def test_the_sum_is_exact_and_its_decimal_says_the_same(tokens: int, price: float, nanos: int, usd: str) -> None:
    total = cost.total(cost.lines(Usage(prompt_tokens=tokens), Prices(input=price)))
    assert (total.currency, total.total_nanos, total.total_usd) == ("USD", nanos, usd)


def test_turns_add_up_by_kind_and_price() -> None:
    one, other = Prices(input=1, output=2), Prices(input=3, output=2)
    usage = Usage(prompt_tokens=10, completion_tokens=1)
    total = cost.total([*cost.lines(usage, one), *cost.lines(usage, one), *cost.lines(usage, other)])
    assert [(line.kind, line.quantity, line.nanos) for line in total.lines] == [
        ("input", 20, 20_000),
        ("output", 3, 6_000),
        ("input", 10, 30_000),
    ]
    assert total.total_nanos == 56_000
