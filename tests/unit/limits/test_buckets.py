"""What a key's limits mean, in numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from service.limits.buckets import Levels, Limits, duration, filled, headers, refusal

# Level, when, limit, now; the level then.
FILLING = [
    (0, 100, 60, 100, 0),
    (0, 100, 60, 101, 1),
    (59, 100, 60, 130, 60),
    (-60, 100, 60, 130, -30),
    (float("inf"), 100, 60, 100, 60),
    (60, 100, 30, 100, 30),
    (5, 100, 60, 99.9, 5),
    (5, 1000, 60, 100, 60),
    (5, 100, None, 200, 0),
]


@pytest.mark.parametrize(("level", "at", "limit", "now", "expected"), FILLING)
def test_a_bucket_fills_evenly(level: float, at: float, limit: int | None, now: float, expected: float) -> None:
    assert filled(level, at, limit, now) == pytest.approx(expected)


# Limits (requests, tokens, concurrency), levels, the request's tokens; the limit that is reached, and the wait.
REFUSALS = [
    (Limits(60, None, None), Levels(1, 0, 9), 0, None),
    (Limits(60, None, None), Levels(0.25, 0, 9), 0, ("60 requests per minute", 0.75)),
    (Limits(None, 600, None), Levels(0, 100, 0), 100, None),
    (Limits(None, 600, None), Levels(0, 90, 0), 100, ("600 tokens per minute", 1.0)),
    (Limits(None, 600, None), Levels(0, 600, 0), 10_000, None),
    (Limits(None, 600, None), Levels(0, 590, 0), 10_000, ("600 tokens per minute", 1.0)),
    (Limits(None, 600, None), Levels(0, -10, 0), 0, ("600 tokens per minute", 1.0)),
    (Limits(None, None, 2), Levels(0, 0, 1), 0, None),
    (Limits(None, None, 2), Levels(0, 0, 2), 0, ("2 requests at once", 1.0)),
    (Limits(60, 600, 2), Levels(0.5, -110, 2), 10, ("600 tokens per minute", 12.0)),
]


@pytest.mark.parametrize(("limits", "levels", "tokens", "expected"), REFUSALS)
def test_what_keeps_a_request_from_beginning(
    limits: Limits, levels: Levels, tokens: int, expected: tuple[str, float] | None
) -> None:
    assert refusal(limits, levels, tokens) == expected


# The form of OpenAI's headers: https://platform.openai.com/docs/guides/rate-limits
DURATIONS: Mapping[float, str] = {
    -1: "0s",
    0: "0s",
    0.0004: "0s",
    0.0121: "12ms",
    0.9996: "1s",
    1: "1s",
    8.64: "8.64s",
    59.999: "59.999s",
    60: "1m0s",
    360: "6m0s",
    90.4: "1m30s",
    3605: "1h0m5s",
}


@pytest.mark.parametrize("seconds", DURATIONS)
def test_durations_are_written_as_openai_writes_them(seconds: float) -> None:
    assert duration(seconds) == DURATIONS[seconds]


def test_headers_tell_of_the_limits_that_there_are() -> None:
    assert headers(Limits(60, 6000, 5), Levels(58.9, -5, 1)) == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "58",
        "x-ratelimit-reset-requests": "1.1s",
        "x-ratelimit-limit-tokens": "6000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "1m0s",
    }
    assert headers(Limits(None, None, 5), Levels(0, 0, 5)) == {}
