"""How each endpoint has been doing: a breaker, rests and speeds. Outcomes and the clock come in by argument.

What an attempt's end says of its endpoint is one table, `EFFECTS`:
- failures of the endpoint (connection, timeout, 5xx, garbage, no such model) count against it, and enough of them open
  its breaker;
- 429 says that it works and wants a pause: it rests, and its breaker does not care;
- refused credentials rest it for longer;
- a timeout counts unless the caller's own deadline made it shorter than the endpoint's, for that says nothing of it;
- a refusal of the request (400, content policy, 404 for something that it names) is an answer, so the endpoint is well.
Instants are readings of one monotonic clock, in seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum, StrEnum
from types import MappingProxyType

from service.config import Breaker, Config, Endpoint, Provider, Timeouts
from service.errors import FailureKind, ProviderFailure
from service.routing.recent import Pace, Window

RATE_LIMITED_REST = 5.0
"""Seconds that an endpoint rests after a 429 that names no wait."""
LONGEST_REST = 60.0
"""Seconds of a `Retry-After` that are believed."""
CREDENTIALS_REST = 60.0
"""Seconds that an endpoint rests after it refused our credentials."""

_LEAST_SHARE = 0.05
_LEAST_PATIENCE = 1.0
_PATIENCE = 4.0
"""A first event that takes so many times the usual, and a second at least, is late whatever the timeout was."""
_TIMER_SLACK = 0.95


class BreakerState(StrEnum):
    """Whether an endpoint is asked (closed), rests (open), or is being tried out (half open)."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Effect(Enum):
    """What the end of an attempt says of its endpoint."""

    WELL = "well"
    FAILED = "failed"
    LIMITED = "limited"
    CREDENTIALS = "credentials"


EFFECTS: Mapping[FailureKind, Effect] = MappingProxyType(
    {
        FailureKind.CONNECTION: Effect.FAILED,
        FailureKind.TIMEOUT: Effect.FAILED,
        FailureKind.SERVER: Effect.FAILED,
        FailureKind.OVERLOADED: Effect.FAILED,
        FailureKind.MODEL_NOT_FOUND: Effect.FAILED,
        FailureKind.MALFORMED: Effect.FAILED,
        FailureKind.EMPTY: Effect.FAILED,
        FailureKind.CUT: Effect.FAILED,
        FailureKind.RATE_LIMITED: Effect.LIMITED,
        FailureKind.CREDENTIALS: Effect.CREDENTIALS,
        FailureKind.NOT_FOUND: Effect.WELL,
        FailureKind.REJECTED: Effect.WELL,
        FailureKind.CONTEXT_LENGTH: Effect.WELL,
        FailureKind.CONTENT_POLICY: Effect.WELL,
        FailureKind.UNSUPPORTED_PARAMETER: Effect.WELL,
    }
)


class Health:
    """The health of one endpoint, as one worker sees it."""

    __slots__ = (
        "_breaker",
        "_open_until",
        "_opened",
        "_paces",
        "_probing",
        "_rest_for_credentials",
        "_rest_until",
        "_window",
        "timeouts",
    )

    def __init__(self, breaker: Breaker, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self._breaker = breaker
        self._window = Window(breaker.window)
        self._open_until: float | None = None
        self._opened = 0
        self._probing = 0
        self._rest_until = 0.0
        self._rest_for_credentials = False
        self._paces = (Pace(), Pace())

    def state(self, now: float) -> BreakerState:
        """Return the breaker's state."""
        if self._open_until is None:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self._open_until else BreakerState.HALF_OPEN

    def allow(self, now: float) -> bool:
        """Say whether the endpoint is asked while others are there: it is not resting, nor open, nor fully probed."""
        if now < self._rest_until:
            return False
        if self._open_until is None:
            return True
        return now >= self._open_until and self._probing < self._breaker.probes

    def refuses_credentials(self, now: float) -> bool:
        """Say whether the endpoint rests because it refused our credentials."""
        return self._rest_for_credentials and now < self._rest_until

    def rests(self, now: float) -> float:
        """Return the seconds until the endpoint is asked again; 0 when it does not rest."""
        return max(0.0, self._rest_until - now, (self._open_until or 0.0) - now)

    def success_share(self, now: float) -> float:
        """Return how much of its weight the endpoint deserves: the share of successes in the window, 0.05 at least."""
        if not self._window.attempts:
            return 1.0
        self._window.advance(now)
        attempts = self._window.attempts
        return max(_LEAST_SHARE, 1.0 - self._window.failures / attempts) if attempts else 1.0

    def counts(self, now: float) -> tuple[int, int]:
        """Return the attempts in the window, and how many of them failed."""
        self._window.advance(now)
        return self._window.attempts, self._window.failures

    def latency(self, now: float, *, streamed: bool) -> float | None:
        """Return the median of the seconds to a stream's first event, or to a whole answer.

        None when not measured in the last five minutes.
        """
        return self._paces[streamed].waits.median(now)

    def speed(self, now: float, *, streamed: bool) -> float | None:
        """Return the median of completion tokens a second, a stream's counted from its first event on.

        None when not measured in the last five minutes.
        """
        return self._paces[streamed].speeds.median(now)

    def begin(self, now: float, *, streamed: bool) -> Ticket:
        """Begin an attempt. While half open this takes a probe, which the ticket gives back."""
        probe = self.state(now) is BreakerState.HALF_OPEN and self._probing < self._breaker.probes
        self._probing += probe
        return Ticket(self, self._paces[streamed], self._opened, probe, now)

    def forgive_credentials(self) -> None:
        """End a rest for refused credentials."""
        if self._rest_for_credentials:
            self._rest_until = 0.0

    def _answered(self, ticket: Ticket) -> None:
        """Close the breaker, unless the attempt is older than its opening and so proves nothing."""
        if self._open_until is not None and ticket.opened == self._opened:
            self._open_until = None
            self._window.clear()

    def _succeeded(self, ticket: Ticket, now: float) -> None:
        self._answered(ticket)
        self._window.add(False, now)
        self.forgive_credentials()

    def _blames(self, failure: ProviderFailure, took: float, now: float) -> bool:
        """Say whether a failure that came after `took` seconds is the endpoint's and not the caller's impatience."""
        if failure.kind is not FailureKind.TIMEOUT:
            return True
        match failure.timeout:
            case "connect":
                patience = self.timeouts.connect
            case "first_event":
                usual = self.latency(now, streamed=True)
                unusual = math.inf if usual is None else max(_LEAST_PATIENCE, _PATIENCE * usual)
                patience = min(self.timeouts.first_event, unusual)
            case "response":
                patience = self.timeouts.response
            case "total":
                return False
            case _:
                return True
        return took >= _TIMER_SLACK * patience

    def _failed(self, ticket: Ticket, failure: ProviderFailure, now: float) -> None:
        self._window.add(True, now)
        if failure.retry_after is not None:
            self._rest(failure.retry_after, now)
        if self._open_until is None:
            attempts, failures = self._window.attempts, self._window.failures
            if attempts >= self._breaker.min_attempts and failures >= self._breaker.failure_rate * attempts:
                self._open(now)
        elif ticket.probe and ticket.opened == self._opened:
            self._open(now)

    def _open(self, now: float) -> None:
        self._open_until = now + self._breaker.rest
        self._opened += 1

    def _rest(self, seconds: float, now: float, *, for_credentials: bool = False) -> None:
        until = now + min(max(seconds, 0.0), LONGEST_REST)
        if until > self._rest_until:
            self._rest_until, self._rest_for_credentials = until, for_credentials


class Ticket:
    """One attempt's say in its endpoint's health.

    Ends once, by `succeeded`, `failed` or `release`; what comes later does nothing. `opened` counts how often the
    breaker had opened when the attempt began; `probe` says whether it took one of the half-open breaker's places.
    """

    __slots__ = ("_health", "_holds", "_pace", "_started", "ended", "opened", "probe")

    def __init__(self, health: Health, pace: Pace, opened: int, probe: bool, started: float) -> None:
        self.opened = opened
        self.probe = probe
        self._health = health
        self._pace = pace
        self._started = started
        self._holds = probe
        self.ended = False

    def first_event(self, now: float) -> None:
        """Tell that the first content is there, of a whole answer all of it.

        A probe ends here, so that a long stream keeps nobody waiting.
        """
        self._pace.waits.add(now - self._started, now)
        self._give_back()
        self._health._answered(self)

    def succeeded(self, now: float, tokens_per_second: float | None = None) -> None:
        """Tell that the answer is complete. The speed is that after the first content, where known."""
        if self.ended:
            return
        self.release()
        self._health._succeeded(self, now)
        if tokens_per_second is not None:
            self._pace.speeds.add(tokens_per_second, now)

    def failed(self, failure: ProviderFailure, now: float) -> None:
        """Tell that the attempt failed."""
        if self.ended:
            return
        self.release()
        health = self._health
        match EFFECTS[failure.kind]:
            case Effect.WELL:
                health._succeeded(self, now)
            case Effect.FAILED:
                if health._blames(failure, now - self._started, now):
                    health._failed(self, failure, now)
            case Effect.LIMITED:
                health._rest(RATE_LIMITED_REST if failure.retry_after is None else failure.retry_after, now)
            case Effect.CREDENTIALS:
                health._rest(CREDENTIALS_REST, now, for_credentials=True)

    def release(self) -> None:
        """End the attempt without a verdict, as when the caller hung up. Harmless after another end: for `finally`."""
        self.ended = True
        self._give_back()

    def _give_back(self) -> None:
        if self._holds:
            self._health._probing -= 1
            self._holds = False


class HealthBoard:
    """The health of every endpoint, by model, provider and upstream model. Survives a reload of the configuration."""

    __slots__ = ("_breaker", "_health")

    def __init__(self, config: Config) -> None:
        self._breaker = config.server.breaker
        self._health: dict[tuple[str, str, str], Health] = {}

    def of(self, model_id: str, endpoint: Endpoint, provider: Provider) -> Health:
        """Return the health of a provider's endpoint of a model."""
        place = (model_id, endpoint.provider, endpoint.model)
        health = self._health.get(place)
        if health is None:
            health = self._health[place] = Health(self._breaker, provider.timeouts)
        return health

    def reload(self, config: Config) -> None:
        """Forget endpoints that are gone, and all if the breaker's settings changed; try refused credentials anew."""
        if config.server.breaker != self._breaker:
            self._breaker = config.server.breaker
            self._health.clear()
        kept = {(model_id, e.provider, e.model) for model_id, model in config.models.items() for e in model.endpoints}
        self._health = {place: health for place, health in self._health.items() if place in kept}
        for (_, provider, _), health in self._health.items():
            health.timeouts = config.providers[provider].timeouts
            health.forgive_credentials()
