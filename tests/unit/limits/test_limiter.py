"""The door of the limits, without Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.config import Config, Key
from service.errors import GatewayError
from service.limits import Limiter

CONFIG = Config.model_validate(
    {
        "providers": {"local": {"dialect": "simulator"}},
        "models": {"m": {"endpoints": [{"provider": "local", "model": "m"}]}},
    }
)
TOKENS = 100
"""What a request is thought to use."""


def key(**limits: Any) -> Key:
    return Key(name="k", sha256="0" * 64, **limits)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limiter(clock: Clock, path: Path | None = None) -> Limiter:
    return Limiter(CONFIG, 0, None if path is None else str(path), clock)


async def test_a_key_without_limits_is_let_through() -> None:
    subject = limiter(Clock())
    grant = await subject.acquire(key(), TOKENS)
    assert grant.headers == {}
    await grant.release(100)
    assert subject.notes() == ()
    await subject.close()


async def test_requests_per_minute() -> None:
    clock = Clock()
    subject = limiter(clock)
    limited = key(requests_per_minute=2)
    grants = [await subject.acquire(limited, TOKENS) for _ in range(2)]
    assert grants[1].headers == {
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "1m0s",
    }
    with pytest.raises(GatewayError) as raised:
        await subject.acquire(limited, TOKENS)
    error = raised.value
    assert (error.code, error.http_status, error.retry_after) == ("rate_limit_exceeded", 429, 30)
    assert error.message == "The API key's limit of 2 requests per minute is reached. Try again in 30 s."
    assert error.headers["x-ratelimit-remaining-requests"] == "0"
    clock.now += 30
    await subject.acquire(limited, TOKENS)
    await subject.close()


async def test_tokens_per_minute() -> None:
    clock = Clock()
    subject = limiter(clock)
    limited = key(tokens_per_minute=150)
    grant = await subject.acquire(limited, TOKENS)
    assert grant.headers["x-ratelimit-remaining-tokens"] == "50"
    with pytest.raises(GatewayError) as raised:
        await subject.acquire(limited, TOKENS)
    assert raised.value.retry_after == pytest.approx(20)
    await grant.release(20)
    await grant.release(0)
    grant = await subject.acquire(limited, TOKENS)
    assert grant.headers["x-ratelimit-remaining-tokens"] == "30"
    await grant.release(0, at_least_estimate=True)
    with pytest.raises(GatewayError):
        await subject.acquire(limited, TOKENS)
    await subject.close()


async def test_more_than_the_estimate_is_taken_on_top_of_it() -> None:
    subject = limiter(Clock())
    limited = key(tokens_per_minute=350)
    for at_least_estimate in (False, True):
        grant = await subject.acquire(limited, TOKENS)
        await grant.release(120, at_least_estimate=at_least_estimate)
    grant = await subject.acquire(limited, TOKENS)
    assert grant.headers["x-ratelimit-remaining-tokens"] == "10"
    await subject.close()


async def test_requests_at_once() -> None:
    subject = limiter(Clock())
    limited = key(concurrency=1)
    grant = await subject.acquire(limited, TOKENS)
    with pytest.raises(GatewayError, match="1 requests at once"):
        await subject.acquire(limited, TOKENS)
    await grant.release(0, at_least_estimate=True)
    await subject.acquire(limited, TOKENS)
    await subject.close()


async def test_workers_of_one_file_share_limits(tmp_path: Path) -> None:
    clock = Clock()
    path = str(tmp_path / "limits")
    first, second = (Limiter(CONFIG, index, path, clock) for index in range(2))
    await first.acquire(key(requests_per_minute=1), TOKENS)
    with pytest.raises(GatewayError):
        await second.acquire(key(requests_per_minute=1), TOKENS)
    await first.close()
    await second.close()
