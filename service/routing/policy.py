"""What follows a failed attempt: another endpoint, the same one again, or an error; and how long an attempt may take.

One table, `RULES`, says it for each kind of failure; the rest bounds it by attempts, time and what was tried already.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any

from service.config import Timeouts
from service.errors import FailureKind, GatewayError, ProviderFailure
from service.routing.candidates import larger_context
from service.routing.order import Target
from service.upstream import CallTimeouts

LONGEST_JITTER = 0.25
"""Seconds, at most, before the last endpoint is asked once more."""
LONGEST_WAIT = 3.0
"""Seconds of a `Retry-After` that are waited for at the last endpoint."""

_REJECTIONS = (400, 413, 422)


class Rule(Enum):
    """What a kind of failure calls for."""

    REPEAT = "the next endpoint; the last one is asked once more"
    WAIT = "the next endpoint; the last one is asked once more if it says when, and that is soon"
    MOVE_ON = "the next endpoint"
    LARGER = "an endpoint that takes a longer context, else the provider's refusal is the caller's"
    WITHOUT = "the same endpoint without the parameter, else the provider's refusal is the caller's"
    RETURN = "the provider's refusal is the caller's"


RULES: Mapping[FailureKind, Rule] = MappingProxyType(
    {
        FailureKind.CONNECTION: Rule.REPEAT,
        FailureKind.SERVER: Rule.REPEAT,
        FailureKind.OVERLOADED: Rule.REPEAT,
        FailureKind.EMPTY: Rule.REPEAT,
        FailureKind.CUT: Rule.REPEAT,
        FailureKind.RATE_LIMITED: Rule.WAIT,
        FailureKind.TIMEOUT: Rule.MOVE_ON,
        FailureKind.CREDENTIALS: Rule.MOVE_ON,
        FailureKind.MODEL_NOT_FOUND: Rule.MOVE_ON,
        FailureKind.NOT_FOUND: Rule.MOVE_ON,
        FailureKind.MALFORMED: Rule.MOVE_ON,
        FailureKind.CONTEXT_LENGTH: Rule.LARGER,
        FailureKind.UNSUPPORTED_PARAMETER: Rule.WITHOUT,
        FailureKind.REJECTED: Rule.RETURN,
        FailureKind.CONTENT_POLICY: Rule.RETURN,
    }
)


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt that failed."""

    target: Target
    failure: ProviderFailure


@dataclass(frozen=True, slots=True)
class Position:
    """Where a request stands after a failed attempt.

    `rest`: targets not tried yet. `refused`: parameters without which this target was asked already. `repeated`:
    whether this target was asked again already. `remaining`: seconds until the caller must have an answer.
    """

    rest: Sequence[Target]
    refused: frozenset[str]
    repeated: bool
    max_attempts: int
    remaining: float


@dataclass(frozen=True, slots=True)
class Next:
    """Ask the first of these; the others are what remains then."""

    targets: Sequence[Target]


@dataclass(frozen=True, slots=True)
class Again:
    """Ask the same target once more, after so many seconds."""

    delay: float


@dataclass(frozen=True, slots=True)
class Without:
    """Ask the same target without a parameter, in the provider's own words."""

    parameter: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Tell the caller."""

    error: GatewayError


Decision = Next | Again | Without | GiveUp


def decide(failed: Sequence[Failed], position: Position, rng: random.Random) -> Decision:
    """Return what follows the last of the failed attempts. `failed` is every one of the request, at least one."""
    last = failed[-1]
    failure = last.failure
    rule = RULES[failure.kind]
    if rule is Rule.RETURN:
        return GiveUp(_rejection(last))
    spent = len(failed) >= position.max_attempts or position.remaining <= 0 or failure.timeout == "total"
    if rule is Rule.WITHOUT:
        if spent or failure.param is None or failure.param in position.refused:
            return GiveUp(_rejection(last))
        return Without(failure.param)
    if rule is Rule.LARGER:
        larger = larger_context(last.target.endpoint, position.rest)
        return GiveUp(_rejection(last)) if spent or not larger else Next(larger)
    if spent:
        return GiveUp(_failure_of_all(failed))
    if position.rest:
        return Next(position.rest)
    delay = None if position.repeated else _delay(rule, failure.retry_after, rng)
    if delay is None or delay >= position.remaining:
        return GiveUp(_failure_of_all(failed))
    return Again(delay)


def attempt_timeouts(timeouts: Timeouts, *, streamed: bool, attempts_left: int, remaining: float) -> CallTimeouts:
    """Return the limits of one attempt.

    `attempts_left` counts this attempt; the last one may take all that is left. `remaining`: seconds until the request
    must be answered: the caller's deadline, or the provider's `total` less what has passed, if that is less. It is
    divided evenly over the attempts left, so that a short deadline still leaves the next provider its share.
    """
    remaining = max(remaining, 0.001)
    share = remaining / max(attempts_left, 1)
    last = attempts_left <= 1
    connect = min(timeouts.connect, share)
    if not streamed:
        response = remaining if last else min(timeouts.response, share)
        return CallTimeouts(connect, response=response, total=remaining)
    first_event = min(timeouts.first_event_last, remaining) if last else min(timeouts.first_event, share)
    return CallTimeouts(connect, first_event, timeouts.idle, total=remaining)


def _delay(rule: Rule, retry_after: float | None, rng: random.Random) -> float | None:
    """Return the seconds to wait before the last endpoint is asked again, or None when it is not."""
    if rule is Rule.MOVE_ON:
        return None
    if retry_after is not None:
        return max(retry_after, 0.0) if retry_after <= LONGEST_WAIT else None
    return rng.uniform(0.0, LONGEST_JITTER) if rule is Rule.REPEAT else None


def _rejection(failed: Failed) -> GatewayError:
    """Return a provider's refusal of the request as the caller reads it: its own words, its own code."""
    failure = failed.failure
    context = failure.kind is FailureKind.CONTEXT_LENGTH
    return GatewayError(
        "upstream_rejected",
        failure.message,
        param=failure.param,
        details=[_detail(failed)],
        upstream_code="context_length_exceeded" if context else failure.code,
        upstream_status=failure.status if failure.status in _REJECTIONS else None,
    )


def _failure_of_all(failed: Sequence[Failed]) -> GatewayError:
    details = [_detail(each) for each in failed]
    last = failed[-1]
    # Asking without a parameter is no failure of its own: the attempt after it says how it went.
    kinds = {each.failure.kind for each in failed} - {FailureKind.UNSUPPORTED_PARAMETER}
    if kinds == {FailureKind.RATE_LIMITED}:
        waits = [each.failure.retry_after for each in failed if each.failure.retry_after is not None]
        names = ", ".join(dict.fromkeys(each.target.endpoint.provider for each in failed))
        return GatewayError(
            "upstream_rate_limited",
            f"Every provider that was asked is limiting its rate: {names}.",
            details=details,
            retry_after=min(waits, default=None),
        )
    if last.failure.kind is FailureKind.TIMEOUT:
        return GatewayError(
            "upstream_timeout",
            f"The provider {last.target.endpoint.provider} took too long"
            f" (timeout: {last.failure.timeout or 'response'}): {last.failure.message}",
            details=details,
        )
    outcomes = "; ".join(f"{each['provider']}: {each['outcome']}" for each in details)
    return GatewayError("all_providers_failed", f"Every provider that was asked failed. {outcomes}.", details=details)


def _detail(failed: Failed) -> dict[str, Any]:
    failure, endpoint = failed.failure, failed.target.endpoint
    detail: dict[str, Any] = {
        "provider": endpoint.provider,
        "upstream_model": endpoint.model,
        "outcome": failure.kind.value,
        "message": failure.message,
    }
    optional = {"status": failure.status, "code": failure.code, "timeout": failure.timeout}
    return detail | {name: value for name, value in optional.items() if value is not None}
