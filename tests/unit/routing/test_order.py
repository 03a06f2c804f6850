"""The order in which endpoints are tried."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from gateway.v1.chat_request_pb2 import (
    ROUTING_SORT_LATENCY,
    ROUTING_SORT_PRICE,
    ROUTING_SORT_THROUGHPUT,
    ProviderRouting,
    RoutingSort,
)

from service.errors import FailureKind
from tests.unit.routing.builders import Routing, ask, catalogue, left, order

A, B, C = {"provider": "a"}, {"provider": "b"}, {"provider": "c"}
SPARE = {"weight": 0}


def priced(price: float) -> Mapping[str, Any]:
    return {"prices": {"input": price, "output": price}}


def routing_for(*endpoints: Mapping[str, Any], **server: Any) -> Routing:
    return Routing(catalogue(*endpoints, **server))


def down(routing: Routing, provider: str) -> None:
    routing.fail(provider, FailureKind.SERVER, times=5)


def limited(routing: Routing, provider: str) -> None:
    routing.fail(provider, FailureKind.RATE_LIMITED, retry_after=30)


def without_credentials(routing: Routing, provider: str) -> None:
    routing.fail(provider, FailureKind.CREDENTIALS)


def as_it_is(routing: Routing) -> None:
    pass


def measured(routing: Routing) -> None:
    routing.serve("a", seconds=0.9, speed=10)
    routing.serve("b", seconds=0.2, speed=90)
    routing.serve("c", seconds=0.5, speed=50)


def half_measured(routing: Routing) -> None:
    routing.serve("a", seconds=0.1, speed=10)
    routing.serve("c", seconds=0.5, speed=50)


# Endpoints, what happened to them, the caller's preferences, the order.
ORDERS: Mapping[str, tuple[Sequence[Mapping[str, Any]], Callable[[Routing], None], ProviderRouting, Sequence[str]]] = {
    "order": ([A, B, C], as_it_is, ProviderRouting(order=["c", "a", "b"]), "cab"),
    "order, trimmed and folded": ([A, B, C], as_it_is, ProviderRouting(order=[" C", "A ", "b"]), "cab"),
    "order with somebody unknown": ([A, B], as_it_is, ProviderRouting(order=["x", "b"]), "ba"),
    "order names the same twice": ([A, B], as_it_is, ProviderRouting(order=["b", "a", "b"]), "ba"),
    "the listed first, the rest by price": (
        [{**A, **priced(3)}, {**B, **priced(2)}, {**C, **priced(9)}],
        as_it_is,
        ProviderRouting(order=["c"], sort=ROUTING_SORT_PRICE),
        "cba",
    ),
    "price, the unknown last": (
        [A, {**B, **priced(2)}, {**C, **priced(1)}],
        as_it_is,
        ProviderRouting(sort=ROUTING_SORT_PRICE),
        "cba",
    ),
    "latency": ([A, B, C], measured, ProviderRouting(sort=ROUTING_SORT_LATENCY), "bca"),
    "throughput": ([A, B, C], measured, ProviderRouting(sort=ROUTING_SORT_THROUGHPUT), "bca"),
    "latency, the unmeasured first": ([A, B, C], half_measured, ProviderRouting(sort=ROUTING_SORT_LATENCY), "bac"),
    "throughput, the unmeasured first": (
        [A, B, C],
        half_measured,
        ProviderRouting(sort=ROUTING_SORT_THROUGHPUT),
        "bca",
    ),
    "weight 0 is the last resort": (
        [{**A, **SPARE, **priced(1)}, {**B, **priced(2)}],
        as_it_is,
        ProviderRouting(sort=ROUTING_SORT_PRICE),
        "ba",
    ),
    "weight 0, but asked for": ([{**A, **SPARE}, B], as_it_is, ProviderRouting(order=["a"]), "ab"),
    "down comes last": ([A, B], lambda routing: down(routing, "a"), ProviderRouting(), "ba"),
    "down comes last, also within order": (
        [A, B],
        lambda routing: down(routing, "a"),
        ProviderRouting(order=["a", "b"]),
        "ba",
    ),
    "down comes after weight 0": ([A, {**B, **SPARE}], lambda routing: down(routing, "a"), ProviderRouting(), "ba"),
    "rate limited comes last": ([A, B], lambda routing: limited(routing, "a"), ProviderRouting(order=["a"]), "ba"),
    "refused credentials are left out": (
        [A, B],
        lambda routing: without_credentials(routing, "a"),
        ProviderRouting(order=["a"]),
        "b",
    ),
    "a lone endpoint is tried whatever it is": (
        [A],
        lambda routing: without_credentials(routing, "a"),
        ProviderRouting(),
        "a",
    ),
    "without fallbacks": ([A, B], as_it_is, ProviderRouting(order=["b"], allow_fallbacks=False), "b"),
    "without fallbacks, somebody well": (
        [{**A, **priced(1)}, {**B, **priced(2)}],
        lambda routing: down(routing, "a"),
        ProviderRouting(sort=ROUTING_SORT_PRICE, allow_fallbacks=False),
        "b",
    ),
    "without fallbacks, the one named": (
        [A, B],
        lambda routing: down(routing, "a"),
        ProviderRouting(order=["a"], allow_fallbacks=False),
        "a",
    ),
}


@pytest.mark.parametrize("case", ORDERS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_order(case: str, seed: int) -> None:
    endpoints, happened, preferences, expected = ORDERS[case]
    routing = routing_for(*endpoints)
    routing.rng = random.Random(seed)
    happened(routing)
    assert order(routing.plan(ask(provider=preferences))) == list(expected)


@pytest.mark.parametrize(
    ("sort", "streamed", "expected"),
    [
        (ROUTING_SORT_LATENCY, False, "ba"),
        (ROUTING_SORT_LATENCY, True, "ab"),
        (ROUTING_SORT_THROUGHPUT, False, "ba"),
        (ROUTING_SORT_THROUGHPUT, True, "ab"),
    ],
)
def test_streams_are_compared_with_streams_and_whole_answers_with_whole_ones(
    sort: RoutingSort.ValueType, streamed: bool, expected: str
) -> None:
    routing = routing_for(A, B)
    routing.serve("a", seconds=0.1, speed=90, streamed=True)
    routing.serve("b", seconds=0.2, speed=80, streamed=True)
    routing.serve("a", seconds=3.0, speed=40)
    routing.serve("b", seconds=2.0, speed=60)
    found = routing.plan(ask(provider=ProviderRouting(sort=sort), stream=streamed))
    assert order(found) == list(expected)


def test_all_endpoints_that_refused_credentials_are_tried_when_nobody_else_is_there() -> None:
    routing = routing_for(A, B)
    without_credentials(routing, "a")
    without_credentials(routing, "b")
    assert sorted(order(routing.plan())) == ["a", "b"]


def test_reasons_tell_of_health() -> None:
    routing = routing_for(A, B, C)
    down(routing, "a")
    without_credentials(routing, "b")
    found = routing.plan()
    assert found.reasons == ["drawn by weight", "last: breaker open, rests for 10 s"]
    assert left(found) == {"b": "last: refused the gateway's credentials, rests for 60 s"}


def test_the_same_seed_gives_the_same_order() -> None:
    def orders() -> list[Sequence[str]]:
        routing = routing_for(A, B, C)
        return [order(routing.plan()) for _ in range(20)]

    assert orders() == orders()
    assert len({tuple(each) for each in orders()}) > 1


def shares(routing: Routing, draws: int = 4000) -> Mapping[str, float]:
    first = Counter(order(routing.plan())[0] for _ in range(draws))
    return {name: count / draws for name, count in first.items()}


def test_first_places_are_drawn_by_weight() -> None:
    found = shares(routing_for({**A, "weight": 6}, {**B, "weight": 3}, {**C, "weight": 1}))
    assert found == pytest.approx({"a": 0.6, "b": 0.3, "c": 0.1}, abs=0.03)


def test_second_places_are_drawn_by_weight_among_the_rest() -> None:
    routing = routing_for({**A, "weight": 8}, {**B, "weight": 3}, {**C, "weight": 1})
    plans = [order(routing.plan()) for _ in range(4000)]
    seconds = Counter(found[1] for found in plans if found[0] == "a")
    assert seconds["b"] / seconds.total() == pytest.approx(0.75, abs=0.03)


def test_weights_are_scaled_by_health() -> None:
    routing = routing_for(A, B, breaker={"failure_rate": 1.0})
    routing.serve("a", times=4)
    routing.fail("a", FailureKind.SERVER, times=12)
    routing.serve("b", times=16)
    assert shares(routing)["a"] == pytest.approx(0.2, abs=0.03)


def test_a_conversation_stays_on_its_endpoint_while_it_is_well() -> None:
    routing = routing_for(A, B, C)
    homes = {key: order(routing.plan(sticky_key=key)) for key in map(str, range(50))}
    assert all(order(routing.plan(sticky_key=key)) == home for key, home in homes.items())
    down(routing, "b")
    for key, home in homes.items():
        well = [name for name in home if name != "b"]
        assert order(routing.plan(sticky_key=key)) == [*well, "b"]
    routing.now += 10
    routing.serve("b")
    assert all(order(routing.plan(sticky_key=key)) == home for key, home in homes.items())


def test_conversations_are_spread_by_weight() -> None:
    routing = routing_for({**A, "weight": 3}, B)
    homes = Counter(order(routing.plan(sticky_key=f"conversation-{number}"))[0] for number in range(4000))
    assert homes["a"] / homes.total() == pytest.approx(0.75, abs=0.03)


def test_endpoints_that_take_every_parameter_come_first() -> None:
    some = {"supported_parameters": ["temperature"], "weight": 100}
    routing = routing_for({**A, **some}, B)
    found = [routing.plan(ask(seed=1, temperature=0.5)) for _ in range(20)]
    assert {tuple(order(each)) for each in found} == {("b", "a")}
    assert found[0].reasons[1] == "drawn by weight; would drop seed"
    assert order(routing.plan(ask(temperature=0.5)))[0] == "a"


def test_a_half_open_endpoint_gets_one_probe_and_the_others_wait() -> None:
    routing = routing_for(A, B, C)
    down(routing, "a")
    routing.now += 10
    found = routing.plan()
    assert order(found)[0] == "a"
    probe = found.targets[0].health.begin(routing.now, streamed=True)
    assert [order(routing.plan())[-1] for _ in range(10)] == ["a"] * 10
    probe.first_event(routing.now)
    assert {order(routing.plan())[0] for _ in range(50)} == {"a", "b", "c"}
