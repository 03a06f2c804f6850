"""What holds for every plan, whatever the catalogue, the preferences and the endpoints' health."""

from __future__ import annotations

import random

from gateway.v1.chat_request_pb2 import ProviderRouting
from hypothesis import given
from hypothesis import strategies as st

from service.errors import FailureKind, GatewayError
from tests.unit.routing.builders import Routing, ask, catalogue

NAMES = st.sampled_from(["a", "b", "c", "d", "nosuch"])
LISTS = st.lists(NAMES, max_size=3)
ENDPOINTS = st.lists(
    st.fixed_dictionaries(
        {
            "provider": st.sampled_from("abcd"),
            "weight": st.sampled_from([0, 1, 5]),
            "status": st.sampled_from(["active", "active", "alpha", "disabled"]),
        }
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda endpoint: endpoint["provider"],
)
PREFERENCES = st.builds(
    ProviderRouting,
    order=LISTS,
    only=LISTS,
    ignore=st.lists(NAMES, max_size=1),
    include_alpha=st.booleans(),
    allow_fallbacks=st.sampled_from([None, True, False]),
    sort=st.integers(0, 3),
)
PAST = st.lists(st.tuples(st.integers(0, 4), st.sampled_from([None, *FailureKind])), max_size=20)


@given(ENDPOINTS, PREFERENCES, PAST, st.sampled_from(["", "conversation"]), st.integers(0, 20))
def test_every_endpoint_is_in_a_plan_once_and_somebody_is_asked(
    endpoints: list[dict[str, object]],
    preferences: ProviderRouting,
    past: list[tuple[int, FailureKind | None]],
    sticky_key: str,
    later: int,
) -> None:
    routing = Routing(catalogue(*endpoints), rng=random.Random(1))
    for place, outcome in past:
        provider = str(endpoints[place % len(endpoints)]["provider"])
        if outcome is None:
            routing.serve(provider)
        else:
            routing.fail(provider, outcome)
    routing.now += later
    try:
        found = routing.plan(ask(provider=preferences), sticky_key)
    except GatewayError:
        return
    candidates = found.candidates(found.targets[0].endpoint)
    assert sorted(each.provider for each in candidates) == sorted(str(e["provider"]) for e in endpoints)
    assert [each.decision for each in candidates].count("taken") == 1
    assert all(each.reason for each in candidates)
    if preferences.HasField("allow_fallbacks") and not preferences.allow_fallbacks:
        assert len(found.targets) == 1
    # Nobody who is well stands behind somebody who is not.
    well = [target.health.allow(routing.now) for target in found.targets]
    assert well == sorted(well, reverse=True)
