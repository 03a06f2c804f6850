"""How endpoints' health goes, outcome by outcome, with literal times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from service.config import Breaker, Config, Timeouts
from service.errors import FailureKind, ProviderFailure
from service.routing import BreakerState, Health, HealthBoard, Ticket, report_providers
from tests.unit.routing.builders import MODEL, Routing, caller, catalogue

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
ERROR = ProviderFailure(FailureKind.SERVER, "no")


def health(**breaker: Any) -> Health:
    return Health(Breaker.model_validate({"window": 30, "min_attempts": 4, "rest": 10, **breaker}), Timeouts())


def fail(subject: Health, now: float, times: int = 1) -> None:
    for _ in range(times):
        subject.begin(now, streamed=True).failed(ERROR, now)


def serve(subject: Health, now: float, times: int = 1) -> None:
    for _ in range(times):
        subject.begin(now, streamed=True).succeeded(now)


def test_a_breaker_opens_half_opens_and_closes() -> None:
    subject = health()
    serve(subject, 100, times=2)
    fail(subject, 101)
    assert (subject.state(101), subject.allow(101)) == (CLOSED, True)
    fail(subject, 102)
    assert (subject.state(102), subject.allow(102), subject.rests(102)) == (OPEN, False, 10)
    assert (subject.state(111.9), subject.allow(111.9)) == (OPEN, False)
    assert (subject.state(112), subject.allow(112)) == (HALF_OPEN, True)
    probe = subject.begin(112, streamed=True)
    assert not subject.allow(112)
    probe.failed(ERROR, 113)
    assert (subject.state(113), subject.rests(113)) == (OPEN, 10)
    assert subject.allow(123)
    serve(subject, 123)
    assert (subject.state(123), subject.allow(123), subject.counts(123)) == (CLOSED, True, (1, 0))


def test_too_few_attempts_never_open_it() -> None:
    subject = health()
    fail(subject, 100, times=3)
    assert subject.state(100) is CLOSED


def test_failures_leave_the_window() -> None:
    subject = health()
    fail(subject, 100, times=3)
    assert subject.counts(126) == (3, 3)
    fail(subject, 131)
    assert (subject.counts(131), subject.state(131)) == ((1, 1), CLOSED)


def test_the_window_is_cheap_after_a_long_silence() -> None:
    subject = health()
    fail(subject, 100, times=3)
    assert subject.counts(1e9) == (0, 0)
    serve(subject, 1e9)
    assert subject.counts(1e9) == (1, 0)


@pytest.mark.parametrize("probes", [1, 3])
def test_only_so_many_probes_at_once(probes: int) -> None:
    subject = health(probes=probes)
    fail(subject, 100, times=4)
    tickets = [subject.begin(110, streamed=True) for _ in range(probes)]
    assert not subject.allow(110)
    tickets[0].release()
    assert subject.allow(110)
    tickets[0].release()
    tickets[0].failed(ERROR, 110)
    assert subject.state(110) is HALF_OPEN
    assert [subject.begin(110, streamed=True).probe, subject.begin(110, streamed=True).probe] == [True, False]


def test_a_probe_that_hangs_up_says_nothing() -> None:
    subject = health()
    fail(subject, 100, times=4)
    subject.begin(110, streamed=True).release()
    assert (subject.state(110), subject.allow(110)) == (HALF_OPEN, True)


def test_the_first_content_of_a_probe_closes_it_and_a_later_break_counts() -> None:
    subject = health()
    fail(subject, 100, times=4)
    probe = subject.begin(110, streamed=True)
    probe.first_event(110.5)
    assert (subject.state(110.5), subject.allow(110.5)) == (CLOSED, True)
    probe.failed(ProviderFailure(FailureKind.CUT, "cut"), 111)
    assert (subject.state(111), subject.counts(111)) == (CLOSED, (1, 1))


def test_an_answer_asked_for_before_it_opened_does_not_close_it() -> None:
    subject = health()
    early = subject.begin(99, streamed=True)
    fail(subject, 100, times=4)
    early.succeeded(101)
    assert subject.state(101) is OPEN


def test_an_answer_as_last_resort_closes_it() -> None:
    subject = health()
    fail(subject, 100, times=4)
    serve(subject, 103)
    assert subject.state(103) is CLOSED


def test_a_failure_as_last_resort_does_not_put_the_probe_off() -> None:
    subject = health()
    fail(subject, 100, times=4)
    fail(subject, 109)
    assert subject.state(110) is HALF_OPEN


# The failure, and what follows: the state after four of them, and the seconds until the endpoint is asked again.
KINDS: Mapping[FailureKind, tuple[BreakerState, float]] = {
    FailureKind.CONNECTION: (OPEN, 10),
    FailureKind.TIMEOUT: (OPEN, 10),
    FailureKind.SERVER: (OPEN, 10),
    FailureKind.OVERLOADED: (OPEN, 10),
    FailureKind.MODEL_NOT_FOUND: (OPEN, 10),
    FailureKind.NOT_FOUND: (CLOSED, 0),
    FailureKind.MALFORMED: (OPEN, 10),
    FailureKind.EMPTY: (OPEN, 10),
    FailureKind.CUT: (OPEN, 10),
    FailureKind.RATE_LIMITED: (CLOSED, 5),
    FailureKind.CREDENTIALS: (CLOSED, 60),
    FailureKind.REJECTED: (CLOSED, 0),
    FailureKind.CONTEXT_LENGTH: (CLOSED, 0),
    FailureKind.CONTENT_POLICY: (CLOSED, 0),
    FailureKind.UNSUPPORTED_PARAMETER: (CLOSED, 0),
}


@pytest.mark.parametrize("kind", FailureKind)
def test_what_each_failure_says_of_its_endpoint(kind: FailureKind) -> None:
    subject = health()
    for _ in range(4):
        subject.begin(100, streamed=True).failed(ProviderFailure(kind, "no"), 100)
    assert (subject.state(100), subject.rests(100)) == KINDS[kind]


@pytest.mark.parametrize(
    ("kind", "retry_after", "rests"),
    [
        (FailureKind.RATE_LIMITED, 7.5, 7.5),
        (FailureKind.RATE_LIMITED, 3600, 60),
        (FailureKind.RATE_LIMITED, 0, 0),
        (FailureKind.OVERLOADED, 20, 20),
    ],
)
def test_a_retry_after_is_believed_within_reason(kind: FailureKind, retry_after: float, rests: float) -> None:
    subject = health()
    subject.begin(100, streamed=True).failed(ProviderFailure(kind, "no", retry_after=retry_after), 100)
    assert (subject.rests(100), subject.allow(100), subject.allow(100 + rests)) == (rests, rests == 0, True)


def test_an_answer_ends_the_rest_for_refused_credentials() -> None:
    subject = health()
    subject.begin(100, streamed=True).failed(ProviderFailure(FailureKind.CREDENTIALS, "no"), 100)
    assert (subject.refuses_credentials(100), subject.allow(100)) == (True, False)
    serve(subject, 101)
    assert (subject.refuses_credentials(101), subject.allow(101)) == (False, True)


# Seconds that the attempt took, which timeout passed, whether the endpoint is to blame (its own: 2, 10, 60 s).
TIMEOUTS = [
    (2.0, "connect", True),
    (0.3, "connect", False),
    (10.0, "first_event", True),
    (9.9, "first_event", True),
    (0.5, "first_event", False),
    (60.0, "response", True),
    (5.0, "response", False),
    (1.0, "idle", True),
    (3.0, "total", False),
]


@pytest.mark.parametrize(("took", "timeout", "blamed"), TIMEOUTS)
def test_a_callers_short_deadline_is_not_the_endpoints_fault(took: float, timeout: str, blamed: bool) -> None:
    subject = health()
    subject.begin(100, streamed=True).failed(ProviderFailure(FailureKind.TIMEOUT, "late", timeout=timeout), 100 + took)
    assert subject.counts(100 + took) == ((1, 1) if blamed else (0, 0))


@pytest.mark.parametrize(("took", "blamed"), [(0.9, False), (1.2, True)])
def test_but_a_first_event_much_later_than_usual_is(took: float, blamed: bool) -> None:
    subject = health()
    subject.begin(99, streamed=True).first_event(99.2)
    subject.begin(100, streamed=True).failed(
        ProviderFailure(FailureKind.TIMEOUT, "late", timeout="first_event"), 100 + took
    )
    assert subject.counts(100 + took) == ((1, 1) if blamed else (0, 0))


def test_medians_of_recent_measurements() -> None:
    subject = health()
    assert (subject.latency(100, streamed=True), subject.speed(100, streamed=True)) == (None, None)
    for latency, speed in ((0.1, 10), (0.3, 30), (5.0, 20)):
        ticket = subject.begin(100, streamed=True)
        ticket.first_event(100 + latency)
        ticket.succeeded(106, speed)
    assert subject.latency(106, streamed=True) == pytest.approx(0.3)
    assert subject.speed(106, streamed=True) == 20
    assert subject.latency(500, streamed=True) is None
    assert (subject.latency(106, streamed=False), subject.speed(106, streamed=False)) == (None, None)


def test_only_the_last_measurements_are_kept() -> None:
    subject = health()
    for latency, times in ((5, 100), (1, 64)):
        for _ in range(times):
            subject.begin(100, streamed=True).first_event(100 + latency)
    assert subject.latency(106, streamed=True) == 1


def test_a_ticket_ends_once() -> None:
    subject = health()
    ticket: Ticket = subject.begin(100, streamed=True)
    ticket.succeeded(101)
    ticket.failed(ERROR, 102)
    ticket.succeeded(103)
    ticket.release()
    assert subject.counts(103) == (1, 0)


def config(*providers: str, **server: Any) -> Config:
    return catalogue(*({"provider": name} for name in providers), **server)


def test_health_survives_a_reload_and_goes_with_its_endpoint() -> None:
    routing = Routing(config("a", "b", "c"))
    routing.fail("a", FailureKind.SERVER, times=5)
    routing.fail("b", FailureKind.CREDENTIALS)
    routing.fail("c", FailureKind.SERVER, times=5)
    routing.board.reload(config("a", "b"))
    routing.board.reload(config("a", "b", "c"))
    states = [routing.target(name).health.state(routing.now) for name in "ac"]
    assert states == [OPEN, CLOSED]
    assert routing.target("b").health.allow(routing.now)


def test_a_new_breaker_begins_anew() -> None:
    routing = Routing(config("a"))
    routing.fail("a", FailureKind.SERVER, times=5)
    routing.board.reload(config("a", breaker={"rest": 1}))
    assert routing.target("a").health.state(routing.now) is CLOSED


def test_health_is_reported_for_what_a_key_may_use() -> None:
    routing = Routing(config("a", "b"))
    routing.serve("a", seconds=0.25, speed=42.0, streamed=True)
    routing.serve("a", seconds=3.5, speed=30.0)
    routing.fail("a", FailureKind.SERVER, times=4)
    board = routing.board
    found = report_providers(routing.config, board, caller(providers=("a",)), routing.now)
    assert [(p.id, p.object, p.dialect) for p in found] == [("a", "provider", "simulator")]
    (endpoint,) = found[0].endpoints
    assert (endpoint.model, endpoint.upstream_model, endpoint.status) == (MODEL, "a-m", "active")
    assert (endpoint.breaker, endpoint.attempts, endpoint.failures, endpoint.rests_s) == ("open", 6, 4, 10)
    assert (endpoint.latency_ms, endpoint.tokens_per_second) == (250, 42)
    assert (endpoint.answer_ms, endpoint.answer_tokens_per_second) == (3500, 30)
    nothing = report_providers(routing.config, board, caller(models=("other/*",)), routing.now)
    assert [(p.id, len(p.endpoints)) for p in nothing] == [("a", 0), ("b", 0)]


def test_an_endpoint_that_nobody_asked_is_reported_without_numbers() -> None:
    (provider,) = report_providers(config("a"), HealthBoard(config("a")), caller(), 5.0)
    (endpoint,) = provider.endpoints
    assert endpoint.breaker == "closed"
    assert not any(endpoint.HasField(name) for name in ("latency_ms", "tokens_per_second", "answer_ms", "rests_s"))
