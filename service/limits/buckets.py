"""What a key's limits mean: buckets that hold a minute's worth and fill evenly, and a count of requests at once.

A full bucket allows a burst of a whole minute's worth. Tokens are charged by an estimate when a request begins and
settled by what it used when it ends, so a bucket may go below zero; a request estimated at more than a minute's worth
needs a full bucket. Instants are seconds on one clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from service.config import Key

MINUTE = 60.0
CONCURRENCY_WAIT = 1.0
"""Seconds to tell a caller who has too many requests at once: nobody knows when one will end."""


@dataclass(frozen=True, slots=True)
class Limits:
    """A key's limits; None is no limit."""

    requests: int | None
    tokens: int | None
    concurrency: int | None


class Levels(NamedTuple):
    """What a key has left, in requests and in tokens, and how many of its requests are running."""

    requests: float
    tokens: float
    running: int


class Refusal(NamedTuple):
    """Which limit is reached, in words, and the seconds after which it may not be."""

    limit: str
    wait: float


def limits_of(key: Key) -> Limits | None:
    """Return a key's limits, or None when it has none."""
    if key.requests_per_minute is None and key.tokens_per_minute is None and key.concurrency is None:
        return None
    return Limits(key.requests_per_minute, key.tokens_per_minute, key.concurrency)


def filled(level: float, at: float, limit: int | None, now: float) -> float:
    """Return a bucket's level at `now`, when it was `level` at `at`. Without a limit it is 0 and means nothing."""
    if limit is None:
        return 0.0
    if at > now + MINUTE:
        return float(limit)  # written before the machine, and its clock, started again
    # Processes read the clock before they wait for each other, so it may seem to run backwards a little.
    return min(float(limit), level + max(0.0, now - at) * limit / MINUTE)


def refusal(limits: Limits, levels: Levels, tokens: int) -> Refusal | None:
    """Return what keeps a request of so many tokens from beginning, the longest wait first, or None."""
    refusals = []
    if limits.requests is not None and levels.requests < 1:
        wait = (1 - levels.requests) * MINUTE / limits.requests
        refusals.append(Refusal(f"{limits.requests} requests per minute", wait))
    if limits.tokens is not None:
        wait = (min(tokens, limits.tokens) - levels.tokens) * MINUTE / limits.tokens
        if wait > 0:
            refusals.append(Refusal(f"{limits.tokens} tokens per minute", wait))
    if limits.concurrency is not None and levels.running >= limits.concurrency:
        refusals.append(Refusal(f"{limits.concurrency} requests at once", CONCURRENCY_WAIT))
    return max(refusals, key=lambda each: each.wait, default=None)


def headers(limits: Limits, levels: Levels) -> Mapping[str, str]:
    """Return the `x-ratelimit-*` headers, in OpenAI's form."""
    result: dict[str, str] = {}
    for kind, limit, level in (
        ("requests", limits.requests, levels.requests),
        ("tokens", limits.tokens, levels.tokens),
    ):
        if limit is not None:
            result[f"x-ratelimit-limit-{kind}"] = str(limit)
            result[f"x-ratelimit-remaining-{kind}"] = str(max(0, int(level)))
            result[f"x-ratelimit-reset-{kind}"] = duration((limit - level) * MINUTE / limit)
    return result


def duration(seconds: float) -> str:
    """Return a duration as OpenAI writes it: `0s`, `12ms`, `1s`, `8.64s`, `6m0s`, `1h0m5s`."""
    milliseconds = round(max(seconds, 0.0) * 1000)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    if milliseconds < 60_000:
        return f"{milliseconds / 1000:g}s"
    minutes, rest = divmod(round(milliseconds / 1000), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{rest}s" if hours else f"{minutes}m{rest}s"
