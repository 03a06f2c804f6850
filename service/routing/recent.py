"""What is kept of the recent past, in bounded memory: counts of outcomes, and measurements."""

from __future__ import annotations

import statistics
from collections import deque

_BUCKETS = 10
_SAMPLES = 64
_SAMPLE_AGE = 300.0
"""Seconds after which a measurement says nothing any more."""


class Window:
    """Counts of outcomes over the last `seconds`, to a tenth of it: memory and time do not grow with traffic."""

    __slots__ = ("_buckets", "_epoch", "_width", "attempts", "failures")

    def __init__(self, seconds: float) -> None:
        self._width = seconds / _BUCKETS
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._buckets = [[0, 0] for _ in range(_BUCKETS)]
        self._epoch = 0
        self.attempts = 0
        self.failures = 0

    def advance(self, now: float) -> None:
        """Let go of what is older than the window. `attempts` and `failures` hold then."""
        epoch = int(now / self._width)
        if epoch == self._epoch:
            return
        for passed in range(max(self._epoch + 1, epoch - _BUCKETS + 1), epoch + 1):
            bucket = self._buckets[passed % _BUCKETS]
            self.attempts -= bucket[0]
            self.failures -= bucket[1]
            bucket[0] = bucket[1] = 0
        self._epoch = max(self._epoch, epoch)

    def add(self, failed: bool, now: float) -> None:
        """Count one outcome."""
        self.advance(now)
        bucket = self._buckets[self._epoch % _BUCKETS]
        bucket[0] += 1
        bucket[1] += failed
        self.attempts += 1
        self.failures += failed


class Samples:
    """The last measurements, 64 at most, none older than five minutes."""

    __slots__ = ("_samples",)

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float]] = deque(maxlen=_SAMPLES)

    def add(self, value: float, now: float) -> None:
        """Keep a measurement."""
        self._samples.append((now, value))

    def median(self, now: float) -> float | None:
        """Return the median, or None without measurements."""
        fresh = [value for at, value in self._samples if now - at <= _SAMPLE_AGE]
        return statistics.median(fresh) if fresh else None


class Pace:
    """How quick answers of one kind, streamed or whole, were: `waits` in seconds, `speeds` in tokens a second."""

    __slots__ = ("speeds", "waits")

    def __init__(self) -> None:
        self.waits = Samples()
        self.speeds = Samples()
