"""One measurement: a load on a target, with the CPU time and memory that its parts took for it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import grpc_load, stream_load, unary_load, wire
from bench.processes import NotRun, cpu_seconds, peak_rss_mb, reset_peak, rss_mb
from bench.target import Route, Target


@dataclass(frozen=True, slots=True)
class Measured:
    """What a load showed.

    `rate`: answers, or events of streams, a second. `p50_ms`, `p99_ms`: until the whole answer, or the first event.
    `cpu_us`: CPU time for each of them, by part; `shares`: each service process's part of the service's CPU time;
    `rss_mb`: memory right after, by part; `grown_mb`: by how much the service's peak was above its memory before.
    """

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_us: Mapping[str, float]
    shares: tuple[float, ...] = ()
    rss_mb: Mapping[str, float] | None = None
    grown_mb: float = 0.0


def whole(
    target: Target, folder: Path, *, size: wire.Size, concurrency: int, seconds: float, vendor: str = ""
) -> Measured:
    """Ask for whole answers. `vendor` replaces the prefix of the model's name. Raises NotRun."""
    route = target.unary
    body = wire.request(_model(route, vendor, wire.UNARY_MODEL), size, max_tokens=vendor == "anthropic")
    meter = _Meter(target)
    outcome = unary_load.run(route.url, route.headers, body, concurrency, seconds, folder)
    if not outcome.requests:
        raise NotRun(f"no answer came within {seconds:g} s")
    if outcome.failed > outcome.requests / 100:
        raise NotRun(f"{outcome.failed} of {outcome.requests} requests failed")
    return meter.measured(outcome.requests, outcome.requests / outcome.seconds, outcome.p50_ms, outcome.p99_ms)


def streamed(target: Target, *, model: str, streams: int, seconds: float, vendor: str = "") -> Measured:
    """Ask for streams. Raises NotRun."""
    route = target.stream
    body = wire.request(_model(route, vendor, model), stream=True, max_tokens=vendor == "anthropic")
    load = stream_load.Load(route.url, route.headers, body.decode(), streams, seconds)
    meter = _Meter(target)
    outcome = stream_load.Outcome(**_run("bench.stream_load", asdict(load), seconds))
    if not outcome.events and not outcome.failed:
        raise NotRun(f"no event came within {seconds:g} s")
    if outcome.failed > max(outcome.ended, streams) / 20:
        raise NotRun(f"{outcome.failed} of {outcome.ended} streams failed: {outcome.error}")
    rate = outcome.events / outcome.seconds
    return meter.measured(outcome.all_events, rate, outcome.first_p50_ms, outcome.first_p99_ms)


def native(target: Target, *, stream: bool, calls: int, seconds: float) -> Measured:
    """Call the typed face with a gRPC client. Raises NotRun."""
    route = target.stream if stream else target.unary
    address = route.url.removeprefix("http://").partition("/")[0]
    model = route.model + (wire.STREAM_MODEL if stream else wire.UNARY_MODEL)
    load = grpc_load.Load(address, route.headers["Authorization"], model, stream, calls, seconds)
    meter = _Meter(target)
    outcome = grpc_load.Outcome(**_run("bench.grpc_load", asdict(load), seconds))
    return meter.measured(outcome.items, outcome.items / outcome.seconds, outcome.p50_ms, 0.0)


class _Meter:
    """The state of a target's processes before a load."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._service = target.parts.get("service", ())
        reset_peak(self._service)
        self._rss = rss_mb(self._service)
        self._cpu = {part: cpu_seconds(pids) for part, pids in target.parts.items()}
        self._each = [cpu_seconds((pid,)) for pid in self._service]

    def measured(self, count: int, rate: float, p50_ms: float, p99_ms: float) -> Measured:
        """Return what the load took, for so many answers or events."""
        time.sleep(0.1)
        parts = self._target.parts
        cpu = {part: (cpu_seconds(pids) - self._cpu[part]) * 1e6 / count for part, pids in parts.items()}
        each = [cpu_seconds((pid,)) - before for pid, before in zip(self._service, self._each, strict=True)]
        total = sum(each) or 1.0
        rss = {part: rss_mb(pids) for part, pids in parts.items()}
        grown = peak_rss_mb(self._service) - self._rss
        return Measured(rate, p50_ms, p99_ms, cpu, tuple(one / total for one in each), rss, grown)


def _model(route: Route, vendor: str, model: str) -> str:
    return f"{vendor}/{model}" if vendor else route.model + model


def _run(module: str, load: Mapping[str, Any], seconds: float) -> Mapping[str, Any]:
    command = (sys.executable, "-m", module, json.dumps(load))
    result = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 3 + 60, check=False)
    if result.returncode:
        raise NotRun(f"the load failed: {result.stderr.strip()[-200:]}")
    outcome: Mapping[str, Any] = json.loads(result.stdout)
    return outcome
