"""What tokens cost: integer nano-dollars from the catalogue's prices."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

from gateway.v1.chat_response_pb2 import Cost, CostLine, Usage

from service.config import Prices

_NANOS = 1_000_000_000


def lines(usage: Usage, prices: Prices) -> list[CostLine]:
    """Return a line for each kind of tokens used; some kinds stand on their own only where they have a price."""
    prompt, completion = usage.prompt_tokens, usage.completion_tokens
    cached = min(usage.prompt_tokens_details.cached_tokens, prompt) if prices.cached_input is not None else 0
    written = min(usage.prompt_tokens_details.cache_write_tokens, prompt - cached)
    if prices.cache_write is None:
        written = 0
    reasoning = min(usage.completion_tokens_details.reasoning_tokens, completion) if prices.reasoning is not None else 0
    kinds = (
        ("input", prompt - cached - written, prices.input),
        ("cached_input", cached, prices.cached_input or 0.0),
        ("cache_write", written, prices.cache_write or 0.0),
        ("output", completion - reasoning, prices.output),
        ("reasoning", reasoning, prices.reasoning or 0.0),
    )
    return [
        CostLine(kind=kind, quantity=quantity, price_usd_per_million=price, nanos=_nanos(quantity, price))
        for kind, quantity, price in kinds
        if quantity
    ]


def total(cost_lines: Iterable[CostLine]) -> Cost:
    """Return the cost that lines, of one turn or of several, add up to; lines of the same kind and price are merged."""
    merged: dict[tuple[str, float], int] = {}
    for line in cost_lines:
        place = (line.kind, line.price_usd_per_million)
        merged[place] = merged.get(place, 0) + line.quantity
    result = [
        CostLine(kind=kind, quantity=quantity, price_usd_per_million=price, nanos=_nanos(quantity, price))
        for (kind, price), quantity in merged.items()
    ]
    nanos = sum(line.nanos for line in result)
    return Cost(currency="USD", total_nanos=nanos, total_usd=_decimal(nanos), lines=result)


def _nanos(quantity: int, usd_per_million: float) -> int:
    """A price of p dollars per million tokens is 1000 p nano-dollars a token."""
    exact = Decimal(quantity) * Decimal(str(usd_per_million)) * 1000
    return int(exact.to_integral_value(ROUND_HALF_UP))


def _decimal(nanos: int) -> str:
    whole, fraction = divmod(nanos, _NANOS)
    return f"{whole}.{fraction:09d}".rstrip("0").rstrip(".") if fraction else str(whole)
