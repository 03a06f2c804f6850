"""The targets that the gateway is held to, each as a ratio of figures of one run."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from bench.measure import Measured
from bench.plan import DIRECT, FLOOR, GATEWAY, GATEWAY_2, Results

SMALL_1, SMALL_64 = "small, 1 at once", "small, 64 at once"
FIRST = "first event"
_IMAGE_MB = 4 * 1024 * 1024 / 1e6
_LITELLM, _PORTKEY, _SMG, _TENSORZERO = "LiteLLM proxy", "Portkey gateway", "smg", "TensorZero"


@dataclass(frozen=True, slots=True)
class Goal:
    """A target in words, the value that was measured, and the limit; None when a part of it was not measured."""

    text: str
    value: float | None
    limit: float
    at_most: bool = True

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None when it was not measured."""
        if self.value is None:
            return None
        return self.value <= self.limit if self.at_most else self.value >= self.limit


class Figures:
    """Medians over the rounds."""

    def __init__(self, results: Results) -> None:
        self._results = results

    def of(self, target: str, name: str, value: Callable[[Measured], float]) -> float | None:
        """Return the median of a value; None when it was not measured."""
        rounds = self._results.by_target.get(target, {}).get(name, [])
        return median(value(one) for one in rounds) if rounds else None

    def rate(self, target: str, name: str) -> float | None:
        """Return answers or events a second."""
        return self.of(target, name, lambda one: one.rate)

    def cpu_us(self, target: str, name: str, part: str = "service") -> float | None:
        """Return CPU time for each answer or event."""
        return self.of(target, name, lambda one: one.cpu_us.get(part, 0.0))

    def added_ms(self, target: str, name: str, *, p99: bool = False) -> float | None:
        """Return the latency above a direct call's."""
        own = self.of(target, name, lambda one: one.p99_ms if p99 else one.p50_ms)
        bare = self.of(DIRECT, name, lambda one: one.p99_ms if p99 else one.p50_ms)
        return None if own is None or bare is None else own - bare

    def rss_mb(self, target: str) -> float | None:
        """Return the most memory seen right after a load, all parts together."""
        rounds = [one for every in self._results.by_target.get(target, {}).values() for one in every]
        return max((sum((one.rss_mb or {}).values()) for one in rounds), default=None)


def goals(results: Results) -> Sequence[Goal]:
    """Return every target with what was measured."""
    figures = Figures(results)
    own_added = figures.added_ms(GATEWAY, SMALL_1)
    own_rate = figures.rate(GATEWAY, SMALL_64)
    own_first = figures.added_ms(GATEWAY, FIRST)
    own_events = figures.rate(GATEWAY, "100 streams")
    found = [
        Goal(
            "service CPU a small request / an empty grpc.aio handler's",
            _ratio(figures.cpu_us(GATEWAY, SMALL_64), figures.cpu_us(FLOOR, SMALL_64)),
            2,
        ),
        Goal(
            "service CPU a streamed event / a grpc.aio stream of constant bytes",
            _ratio(figures.cpu_us(GATEWAY, "100 streams"), figures.cpu_us(FLOOR, "100 streams")),
            1.5,
        ),
        Goal(
            "service CPU a large request / a small one's",
            _ratio(figures.cpu_us(GATEWAY, "large, 16 at once"), figures.cpu_us(GATEWAY, SMALL_64)),
            6,
        ),
        Goal(
            "peak memory growth an image request in flight / its 4 MB",
            _ratio(figures.of(GATEWAY, "image, 8 at once", lambda one: one.grown_mb / 8), _IMAGE_MB),
            3,
        ),
        Goal("start to ready, one worker, s", median(results.start_s) if results.start_s else None, 1.5),
    ]
    for peer, share in ((_LITELLM, 1 / 8), (_PORTKEY, 1 / 2), (_TENSORZERO, 2)):
        text = f"latency added at concurrency 1, p50 / {peer}'s"
        found.append(Goal(text, _ratio(own_added, figures.added_ms(peer, SMALL_1)), share))
    for peer, share in ((_LITELLM, 15), (_PORTKEY, 2), (_SMG, 0.3)):
        text = f"requests/s at concurrency 64 / {peer}'s"
        found.append(Goal(text, _ratio(own_rate, figures.rate(peer, SMALL_64)), share, at_most=False))
    for peer, share in ((_LITELLM, 1 / 8), (_PORTKEY, 1 / 10), (_TENSORZERO, 2)):
        text = f"time to first event added, p50 / {peer}'s"
        found.append(Goal(text, _ratio(own_first, figures.added_ms(peer, FIRST)), share))
    for peer, share in ((_LITELLM, 8), (_PORTKEY, 1)):
        text = f"streamed events/s, 100 streams / {peer}'s"
        found.append(Goal(text, _ratio(own_events, figures.rate(peer, "100 streams")), share, at_most=False))
    return [*found, *_scaling(figures)]


def _spread(shares: Sequence[float]) -> float:
    """Return by how much the largest is above the smallest, which is none where a worker has died."""
    return max(shares) / min(shares) - 1 if min(shares) else math.inf


def _scaling(figures: Figures) -> Sequence[Goal]:
    one, two = figures.cpu_us(GATEWAY, SMALL_64), figures.cpu_us(GATEWAY_2, SMALL_64)
    efficiency = _ratio(one, two)
    spread = figures.of(GATEWAY_2, SMALL_64, lambda measured: _spread(measured.shares))
    return [
        Goal(
            "two workers: requests a CPU-second, off one worker's by",
            None if efficiency is None else abs(efficiency - 1),
            0.10,
        ),
        Goal("two workers: one's load above the other's by", spread, 0.10),
    ]


def _ratio(own: float | None, other: float | None) -> float | None:
    return None if own is None or other is None or other <= 0 else own / other
