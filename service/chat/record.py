"""What happened while a request was served: attempts, drops, bodies and steps, for `meta`, `debug` and the log."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson
from gateway.v1.chat_response_pb2 import AdjustedParameter, Attempt, Candidate, CostLine, Debug, Meta, TraceStep, Usage

from service.chat import cost
from service.chat.accumulate import add_usage, total_tokens
from service.chat.normalise import Options
from service.config import Endpoint
from service.providers.dialect import UpstreamRequest
from service.telemetry import Masker

# A debug answer holds at most so many bytes of a stream's events.
_MAX_RESPONSE_BYTES = 4 * 1024 * 1024


@dataclass(slots=True)
class Attempted:
    """An attempt, as gateway.v1.Attempt tells of it."""

    provider: str
    upstream_model: str
    outcome: str = "ok"
    status: int | None = None
    ms: float = 0.0


class Record:
    """The record of one request, over all its attempts and turns. Times are milliseconds since it came."""

    def __init__(self, options: Options, started: float, masker: Masker) -> None:
        self._options = options
        self._started = started
        self._masker = masker
        self.attempts: list[Attempted] = []
        self.usage = Usage()
        self._has_usage = False
        self._cost_lines: list[CostLine] = []
        self._priced = options.cost
        self._dropped = dict.fromkeys(options.dropped)
        self._adjusted: dict[str, AdjustedParameter] = {}
        self._first_content_ms: float | None = None
        self._sent: UpstreamRequest | None = None
        self._events: list[bytes] = []
        self._event_bytes = 0
        self._trace: list[TraceStep] = []
        self.traces = bool(options.trace)
        """Whether steps are wanted; saying what one was costs something."""

    def ms(self) -> float:
        """Milliseconds since the request came."""
        return (time.monotonic() - self._started) * 1000

    def step(self, name: str, summary: dict[str, Any], values: dict[str, Any] | None = None) -> None:
        """Trace a step; `values` are told at level full only."""
        if self.traces:
            full = {**summary, **(values or {})} if self._options.trace == "full" else summary
            text = self._masker.mask(orjson.dumps(full).decode())
            self._trace.append(TraceStep(at_ms=round(self.ms(), 3), step=name, detail=text))

    def begin_attempt(self, endpoint: Endpoint) -> Attempted:
        """Note an attempt; what is not said of it later went well."""
        attempt = Attempted(endpoint.provider, endpoint.model)
        self.attempts.append(attempt)
        return attempt

    def sent(self, request: UpstreamRequest) -> None:
        """Keep what went upstream."""
        self._sent = request
        self._events.clear()
        self._event_bytes = 0

    def received(self, bodies: Sequence[bytes]) -> Sequence[bytes]:
        """Keep what came back, a whole body or events of a stream, and return it without the gateway's secrets."""
        bodies = self._masker.hide(bodies)
        if self._options.upstream_response:
            for body in bodies:
                if self._event_bytes < _MAX_RESPONSE_BYTES:
                    self._events.append(body)
                    self._event_bytes += len(body)
        return bodies

    def first_content(self) -> None:
        """Note the time of the first content."""
        if self._first_content_ms is None:
            self._first_content_ms = self.ms()

    def served(self, endpoint: Endpoint, usage: Usage | None) -> None:
        """Add a turn: what was not sent as asked, and its usage at its endpoint's prices, where the provider said."""
        if self._sent is not None:
            self._dropped.update(dict.fromkeys(self._sent.dropped))
            self._adjusted.update({parameter.name: parameter for parameter in self._sent.adjusted})
        if usage is None:
            return
        if self._has_usage:
            add_usage(self.usage, usage)
        else:
            self._has_usage = True
            self.usage.CopyFrom(usage)
            self.usage.total_tokens = total_tokens(usage)
        if endpoint.prices is None:
            # A sum without this turn would be wrong, and one with it is not known.
            self._priced = False
        elif self._priced:
            self._cost_lines += cost.lines(usage, endpoint.prices)

    def final_usage(self) -> Usage | None:
        """Return the usage of all turns, with cost when asked for and known; None when no provider said."""
        if not self._has_usage and not self.usage.HasField("server_tool_use"):
            return None
        if self._priced:
            self.usage.cost.CopyFrom(cost.total(self._cost_lines))
        return self.usage

    def meta(self, endpoint: Endpoint, candidates: Sequence[Candidate], *, streamed: bool) -> Meta:
        """Return `meta`, given who served and what became of the others.

        A stream's speed is that after its first content; of a whole answer, all that is known is the time it took.
        """
        total_ms = self.ms()
        meta = Meta(
            provider=endpoint.provider,
            upstream_model=endpoint.model,
            total_ms=round(total_ms, 3),
            dropped_parameters=list(self._dropped),
            adjusted_parameters=list(self._adjusted.values()),
            attempts=[Attempt(**asdict(attempt)) for attempt in self.attempts],
            candidates=candidates,
        )
        first = self._first_content_ms
        if first is not None:
            meta.time_to_first_token_ms = round(first, 3)
            generating_ms = total_ms - first if streamed else total_ms
            if self.usage.completion_tokens and generating_ms > 0:
                meta.tokens_per_second = round(self.usage.completion_tokens / generating_ms * 1000, 2)
        return meta

    def debug(self, *, streamed: bool) -> Debug | None:
        """Return `debug`, when asked for; secrets are masked."""
        options = self._options
        if not (options.upstream_request or options.upstream_response or options.trace):
            return None
        debug = Debug(trace=self._trace)
        if options.upstream_request and self._sent is not None:
            debug.upstream_request = self._masker.mask(self._sent.body.decode("utf-8", "replace"))
        if options.upstream_response:
            debug.upstream_response = self._masker.mask(_as_json(self._events, streamed))
        return debug


def _as_json(bodies: list[bytes], streamed: bool) -> str:
    """Return bodies as JSON text: a stream's events as a list, what is no JSON as a string."""
    texts = []
    for body in bodies:
        try:
            orjson.loads(body)
            texts.append(body)
        except orjson.JSONDecodeError:
            texts.append(orjson.dumps(body.decode("utf-8", "replace")))
    if streamed:
        return (b"[" + b",".join(texts) + b"]").decode()
    return texts[-1].decode() if texts else "null"
