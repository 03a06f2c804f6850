"""The order in which endpoints are tried: the caller's, sorted, sticky, or by chance and weight; the ailing last."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from gateway.v1.chat_request_pb2 import ProviderRouting, RoutingSort

from service.config import Endpoint, Provider
from service.providers.dialect import Dialect
from service.routing.health import BreakerState, Health


class Target(NamedTuple):
    """An endpoint with all that an attempt at it needs. `drops` are the given parameters that it does not take."""

    endpoint: Endpoint
    provider: Provider
    dialect: Dialect
    health: Health
    drops: Sequence[str] = ()


class Ordering(NamedTuple):
    """What decides the order, apart from the targets."""

    routing: ProviderRouting
    streamed: bool
    sticky_key: str
    now: float
    rng: random.Random


def arrange(targets: Sequence[Target], ordering: Ordering) -> list[tuple[Target, str]]:
    """Return the targets in the order in which they are tried, each with the reason for its place.

    Targets named in `order` come first, as listed. The others follow by `sort`, or by a draw in which each has a chance
    by its weight: by chance with weights scaled by health, or, with a sticky key, by that key's hash, so that a
    conversation stays where it was. Of these, those that take every parameter come first, those with weight 0 last. A
    half-open endpoint is drawn first, since only a request can show that it is back.
    """
    places = {name: place for place, name in reversed(list(enumerate(map(fold, ordering.routing.order))))}
    listed = [t for t in targets if fold(t.endpoint.provider) in places]
    rest = [t for t in targets if fold(t.endpoint.provider) not in places]
    draw, drawn = _draw(ordering)
    listed.sort(key=lambda t: (places[fold(t.endpoint.provider)], t.endpoint.weight == 0, draw(t)))
    arranged = [(t, "listed in provider.order") for t in listed]
    if ordering.routing.sort:
        measure, reason = _measure(ordering)
        rest.sort(key=lambda t: (t.endpoint.weight == 0, measure(t), draw(t)))
        arranged += [(t, reason) for t in rest]
    else:
        rest.sort(key=lambda t: (t.endpoint.weight == 0, len(t.drops) > 0, draw(t)))
        arranged += [(t, _describe(t, drawn)) for t in rest]
    return arranged


def ailing_last(arranged: Sequence[tuple[Target, str]], now: float) -> list[tuple[Target, str]]:
    """Return the same order with endpoints that rest behind the others."""
    well = [pair for pair in arranged if pair[0].health.allow(now)]
    if len(well) == len(arranged):
        return well
    return well + [(t, _ailment(t.health, now)) for t, _ in arranged if not t.health.allow(now)]


def fold(name: str) -> str:
    """Return a provider's name as it is compared: trimmed, in lower case."""
    return name.strip().lower()


def _draw(ordering: Ordering) -> tuple[Callable[[Target], float], str]:
    """Return a function that draws a target's place, the smallest first, and the reason in words.

    With u uniform in (0, 1), -log(u) / weight comes out smallest with a chance proportional to the weight. When u is a
    hash of the sticky key and the endpoint, that is rendezvous hashing: when an endpoint goes, only its own keys move.
    """
    now = ordering.now
    if ordering.sticky_key:
        return lambda t: _exponential(_hash(ordering.sticky_key, t.endpoint), t.endpoint.weight), "sticky by key"

    def by_chance(t: Target) -> float:
        u = 1.0 - ordering.rng.random()
        if t.health.state(now) is BreakerState.HALF_OPEN and t.health.allow(now):
            return -1.0
        return _exponential(u, t.endpoint.weight * t.health.success_share(now))

    return by_chance, "drawn by weight"


def _exponential(u: float, weight: float) -> float:
    return -math.log(u) / (weight or 1.0)


def _hash(sticky_key: str, endpoint: Endpoint) -> float:
    text = f"{sticky_key}\0{endpoint.provider}\0{endpoint.model}".encode()
    return (int.from_bytes(hashlib.blake2b(text, digest_size=6).digest()) + 1) / (1 << 48)


def _measure(ordering: Ordering) -> tuple[Callable[[Target], float], str]:
    """Return what targets are sorted by, and the reason in words. The unmeasured come first, so as to be measured."""
    now, streamed = ordering.now, ordering.streamed
    match ordering.routing.sort:
        case RoutingSort.ROUTING_SORT_LATENCY:
            return lambda t: t.health.latency(now, streamed=streamed) or 0.0, "sorted by latency"
        case RoutingSort.ROUTING_SORT_THROUGHPUT:
            return lambda t: -(t.health.speed(now, streamed=streamed) or math.inf), "sorted by throughput"
        case _:
            return _price, "sorted by price"


def _price(target: Target) -> float:
    """Return a token's price, input and output alike; an unknown price comes last."""
    prices = target.endpoint.prices
    return math.inf if prices is None else prices.input + prices.output


def _describe(target: Target, drawn: str) -> str:
    if target.endpoint.weight == 0:
        return "weight 0: only when nobody else is left"
    return f"{drawn}; would drop {', '.join(target.drops)}" if target.drops else drawn


def _ailment(health: Health, now: float) -> str:
    if health.refuses_credentials(now):
        return f"last: refused the gateway's credentials, rests for {health.rests(now):.0f} s"
    if health.state(now) is BreakerState.HALF_OPEN:
        return "last: half open, being probed"
    kind = "breaker open" if health.state(now) is BreakerState.OPEN else "asked for a pause"
    return f"last: {kind}, rests for {health.rests(now):.0f} s"
