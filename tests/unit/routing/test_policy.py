"""What follows a failed attempt, for every kind of failure, and how long attempts may take."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from service.config import Timeouts
from service.errors import FailureKind, GatewayError, ProviderFailure
from service.routing import Again, Failed, GiveUp, Next, Position, Target, Without, attempt_timeouts, decide
from service.upstream import CallTimeouts
from tests.unit.routing.builders import Routing, catalogue

ROUTING = Routing(
    catalogue(
        {"provider": "a", "context_length": 100},
        {"provider": "b", "context_length": 50},
        {"provider": "c", "context_length": 200},
    )
)
A, B, C = (ROUTING.target(name) for name in "abc")


def follow(
    *failures: tuple[Target, ProviderFailure],
    rest: Sequence[Target] = (),
    refused: Sequence[str] = (),
    repeated: bool = False,
    max_attempts: int = 5,
    remaining: float = 100.0,
) -> Next | Again | Without | GiveUp:
    position = Position(rest, frozenset(refused), repeated, max_attempts, remaining)
    return decide([Failed(target, failure) for target, failure in failures], position, random.Random(1))


def failure(kind: FailureKind, **fields: Any) -> ProviderFailure:
    return ProviderFailure(kind, f"{kind.value}, it says", **fields)


def code(decision: object) -> str | None:
    return decision.error.code if isinstance(decision, GiveUp) else None


# What follows while b and c are left, and what follows at the last one: an error's code, or "again".
TABLE: Mapping[FailureKind, tuple[object, str]] = {
    FailureKind.CONNECTION: (Next([B, C]), "again"),
    FailureKind.TIMEOUT: (Next([B, C]), "upstream_timeout"),
    FailureKind.RATE_LIMITED: (Next([B, C]), "upstream_rate_limited"),
    FailureKind.SERVER: (Next([B, C]), "again"),
    FailureKind.OVERLOADED: (Next([B, C]), "again"),
    FailureKind.CREDENTIALS: (Next([B, C]), "all_providers_failed"),
    FailureKind.MODEL_NOT_FOUND: (Next([B, C]), "all_providers_failed"),
    FailureKind.NOT_FOUND: (Next([B, C]), "all_providers_failed"),
    FailureKind.MALFORMED: (Next([B, C]), "all_providers_failed"),
    FailureKind.EMPTY: (Next([B, C]), "again"),
    FailureKind.CUT: (Next([B, C]), "again"),
    FailureKind.REJECTED: ("upstream_rejected", "upstream_rejected"),
    FailureKind.CONTENT_POLICY: ("upstream_rejected", "upstream_rejected"),
    FailureKind.CONTEXT_LENGTH: (Next([C]), "upstream_rejected"),
    FailureKind.UNSUPPORTED_PARAMETER: (Without("top_k"), "without"),
}


@pytest.mark.parametrize("kind", FailureKind)
def test_while_others_are_left(kind: FailureKind) -> None:
    decision = follow((A, failure(kind, param="top_k")), rest=[B, C])
    assert (code(decision) or decision) == TABLE[kind][0]


@pytest.mark.parametrize("kind", FailureKind)
def test_at_the_last_one(kind: FailureKind) -> None:
    decision = follow((A, failure(kind, param="top_k")))
    match TABLE[kind][1]:
        case "again":
            assert isinstance(decision, Again)
            assert 0 <= decision.delay <= 0.25
        case "without":
            assert decision == Without("top_k")
        case expected:
            assert code(decision) == expected


@pytest.mark.parametrize("kind", FailureKind)
def test_the_last_one_is_asked_again_only_once(kind: FailureKind) -> None:
    decision = follow((A, failure(kind)), (A, failure(kind, retry_after=1)), repeated=True)
    assert code(decision) is not None


@pytest.mark.parametrize("kind", FailureKind)
def test_attempts_are_bounded(kind: FailureKind) -> None:
    decision = follow(*[(A, failure(kind, param="top_k"))] * 5, rest=[B, C])
    assert code(decision) is not None


@pytest.mark.parametrize("kind", FailureKind)
def test_a_passed_deadline_ends_it(kind: FailureKind) -> None:
    assert code(follow((A, failure(kind, param="top_k")), rest=[B, C], remaining=0.0)) is not None


@pytest.mark.parametrize(
    ("kind", "retry_after", "delay"),
    [
        (FailureKind.RATE_LIMITED, 0.0, 0.0),
        (FailureKind.RATE_LIMITED, 3.0, 3.0),
        (FailureKind.RATE_LIMITED, 3.1, None),
        (FailureKind.OVERLOADED, 2.0, 2.0),
        (FailureKind.OVERLOADED, 30.0, None),
        (FailureKind.SERVER, 1.0, 1.0),
        (FailureKind.CREDENTIALS, 1.0, None),
    ],
)
def test_a_short_retry_after_is_waited_for_at_the_last_one(
    kind: FailureKind, retry_after: float, delay: float | None
) -> None:
    decision = follow((A, failure(kind, retry_after=retry_after)))
    assert (decision.delay if isinstance(decision, Again) else None) == delay


def test_nobody_waits_beyond_the_deadline() -> None:
    limited = failure(FailureKind.RATE_LIMITED, retry_after=2.0)
    assert code(follow((A, limited), remaining=1.9)) == "upstream_rate_limited"


def test_a_total_timeout_is_the_end_whoever_is_left() -> None:
    late = failure(FailureKind.TIMEOUT, timeout="total")
    assert code(follow((A, late), rest=[B, C])) == "upstream_timeout"


def test_each_refused_parameter_is_left_out_once() -> None:
    again = follow((A, failure(FailureKind.UNSUPPORTED_PARAMETER, param="seed")), refused=["top_k"])
    assert again == Without("seed")
    same = follow((A, failure(FailureKind.UNSUPPORTED_PARAMETER, param="top_k")), refused=["top_k"])
    assert code(same) == "upstream_rejected"
    unnamed = follow((A, failure(FailureKind.UNSUPPORTED_PARAMETER)))
    assert code(unnamed) == "upstream_rejected"


def told(decision: object) -> GatewayError:
    assert isinstance(decision, GiveUp)
    return decision.error


# The failure's kind, status, code; what the caller reads as status and code.
REJECTIONS = [
    (FailureKind.REJECTED, 400, "invalid_image", 400, "invalid_image"),
    (FailureKind.REJECTED, 413, None, 413, "upstream_rejected"),
    (FailureKind.REJECTED, 422, None, 422, "upstream_rejected"),
    (FailureKind.REJECTED, 415, None, 400, "upstream_rejected"),
    (FailureKind.REJECTED, None, None, 400, "upstream_rejected"),
    (FailureKind.CONTENT_POLICY, 400, "content_policy_violation", 400, "content_policy_violation"),
    (FailureKind.CONTEXT_LENGTH, 400, "string_above_max_length", 400, "context_length_exceeded"),
    (FailureKind.CONTEXT_LENGTH, 413, None, 413, "context_length_exceeded"),
]


@pytest.mark.parametrize(("kind", "status", "given", "http", "wire"), REJECTIONS)
def test_a_rejection_is_handed_on(
    kind: FailureKind, status: int | None, given: str | None, http: int, wire: str
) -> None:
    refused = ProviderFailure(kind, "Not this.", status=status, code=given, param="messages[0]")
    error = told(follow((B, failure(FailureKind.SERVER, status=500)), (A, refused)))
    assert (error.http_status, error.wire_code, error.message, error.param) == (http, wire, "Not this.", "messages[0]")
    assert [detail["provider"] for detail in error.details] == ["a"]


def test_all_rate_limited_tells_the_smallest_wait() -> None:
    waits = [(A, 20.0), (B, None), (C, 9.0)]
    failures = [(target, failure(FailureKind.RATE_LIMITED, status=429, retry_after=wait)) for target, wait in waits]
    error = told(follow(*failures))
    assert (error.code, error.http_status, error.retry_after) == ("upstream_rate_limited", 429, 9.0)
    assert [detail["provider"] for detail in error.details] == ["a", "b", "c"]


def test_one_other_failure_makes_it_a_failure_of_all() -> None:
    failures = [(A, failure(FailureKind.CREDENTIALS, status=401)), (B, failure(FailureKind.RATE_LIMITED, status=429))]
    error = told(follow(*failures))
    assert (error.code, error.http_status, error.retry_after) == ("all_providers_failed", 502, None)
    assert error.details == [
        {
            "provider": "a",
            "upstream_model": "a-m",
            "outcome": "credentials_refused",
            "message": "credentials_refused, it says",
            "status": 401,
        },
        {
            "provider": "b",
            "upstream_model": "b-m",
            "outcome": "rate_limited",
            "message": "rate_limited, it says",
            "status": 429,
        },
    ]


def test_a_timeout_names_itself_and_the_provider() -> None:
    failures = [(A, failure(FailureKind.SERVER)), (B, failure(FailureKind.TIMEOUT, timeout="first_event"))]
    error = told(follow(*failures))
    assert (error.code, error.http_status) == ("upstream_timeout", 504)
    assert "b" in error.message
    assert "first_event" in error.message
    assert error.details[1]["timeout"] == "first_event"


OWN = Timeouts(connect=2, first_event=10, first_event_last=120, idle=60, response=60, total=600)

# Streamed, attempts left, seconds remaining; connect, first event, idle, response, total.
BUDGETS = [
    (True, 3, 600, CallTimeouts(2, first_event=10, idle=60, total=600)),
    (True, 1, 600, CallTimeouts(2, first_event=120, idle=60, total=600)),
    (True, 3, 12, CallTimeouts(2, first_event=4, idle=60, total=12)),
    (True, 1, 12, CallTimeouts(2, first_event=12, idle=60, total=12)),
    (True, 3, 3, CallTimeouts(1, first_event=1, idle=60, total=3)),
    (False, 2, 600, CallTimeouts(2, response=60, total=600)),
    (False, 1, 600, CallTimeouts(2, response=600, total=600)),
    (False, 2, 30, CallTimeouts(2, response=15, total=30)),
    (False, 1, 30, CallTimeouts(2, response=30, total=30)),
    (False, 0, -5, CallTimeouts(0.001, response=0.001, total=0.001)),
]


@pytest.mark.parametrize(("streamed", "attempts_left", "remaining", "expected"), BUDGETS)
def test_the_deadline_is_divided_over_the_attempts_left(
    streamed: bool, attempts_left: int, remaining: float, expected: CallTimeouts
) -> None:
    assert attempt_timeouts(OWN, streamed=streamed, attempts_left=attempts_left, remaining=remaining) == expected


def test_a_limited_rate_is_told_though_a_parameter_was_left_out_before() -> None:
    left_out = (A, failure(FailureKind.UNSUPPORTED_PARAMETER, param="seed"))
    decision = follow(left_out, (A, failure(FailureKind.RATE_LIMITED, retry_after=7.0)), refused=["seed"])
    assert isinstance(decision, GiveUp)
    assert (decision.error.code, decision.error.retry_after) == ("upstream_rate_limited", 7.0)
