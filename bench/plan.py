"""What is measured on which target, and in what order: they take turns, so that a slow minute hits them all."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import measure, ours, peers, wire
from bench.fake_provider import FakeProvider, start_fake_provider
from bench.measure import Measured
from bench.processes import NotRun, cpu_seconds, free_port, rss_mb, start, wait_for_port
from bench.target import Target

Measure = Callable[[Target], Measured]
VENDORS = ("openai", "anthropic", "google")

_SETTLE_S = 15.0
_LOOK_S = 0.1

GATEWAY = "Chat Gateway, 1 worker"
GATEWAY_2 = "Chat Gateway, 2 workers"
DIRECT = "direct call"
FLOOR = "empty grpc.aio service"
PASSING = "passing on"
SLOW = "150 streams, 40 ms between events"


@dataclass(slots=True)
class Results:
    """What was measured: `by_target[name][measurement]` has one entry a round."""

    by_target: dict[str, dict[str, list[Measured]]] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    rest_mb: dict[str, float] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)
    start_s: list[float] = field(default_factory=list)

    def add(self, target: str, name: str, measured: Measured) -> None:
        """Add one round's measurement."""
        self.by_target.setdefault(target, {}).setdefault(name, []).append(measured)


def run(home: Path, *, quick: bool) -> Results:
    """Measure everything, in so many rounds. Raises NotRun when the gateway itself or its surroundings do not start."""
    folder = home / "work"
    fake = start_fake_provider(folder)
    results = Results()
    targets: list[Target] = []
    try:
        for make in _starts(fake, folder, home, quick=quick):
            _start(make, targets, results)
        results.start_s = [_seconds_to_ready(folder) for _ in range(3)]
        for number in range(2 if quick else 3):
            for target in targets:
                _tell(f"round {number + 1}: {target.name}")
                _measure(target, results, _measurements(target.name, folder, quick=quick))
    finally:
        for target in targets:
            target.stop()
        fake.stop()
    return results


def _starts(fake: FakeProvider, folder: Path, home: Path, *, quick: bool) -> Sequence[tuple[str, Callable[[], Target]]]:
    own: list[tuple[str, Callable[[], Target]]] = [
        (DIRECT, lambda: ours.direct(fake)),
        ("Envoy alone", lambda: ours.start_envoy_alone(fake, folder)),
        (FLOOR, lambda: ours.start_floor(folder)),
        (PASSING, lambda: ours.start_passing(fake, folder)),
        (GATEWAY, lambda: ours.start_gateway(fake, folder, 1)),
    ]
    if quick:
        return own
    own.append((GATEWAY_2, lambda: ours.start_gateway(fake, folder, 2)))
    return [
        *own,
        *[(peer.name, lambda peer=peer: peers.start_peer(peer, fake, home)) for peer in peers.PEERS.values()],
    ]


def _start(make: tuple[str, Callable[[], Target]], targets: list[Target], results: Results) -> None:
    name, start_target = make
    _tell(f"starting {name}")
    try:
        target = start_target()
    except NotRun as error:
        results.not_run[name] = str(error)
        return
    targets.append(target)
    results.versions[name] = target.version
    results.rest_mb[name] = sum(rss_mb(pids) for pids in target.parts.values())


def _measure(target: Target, results: Results, measurements: Mapping[str, Measure]) -> None:
    for name, take in measurements.items():
        try:
            results.add(target.name, name, take(target))
        except NotRun as error:
            results.not_run[f"{target.name}: {name}"] = str(error)
        _settle(target)


def _settle(target: Target) -> None:
    """Wait until a target rests: some go on with streams given up long ago, at the cost of whoever is next."""
    pids = [pid for every in target.parts.values() for pid in every]
    until = time.monotonic() + _SETTLE_S
    while pids and time.monotonic() < until:
        before = cpu_seconds(pids)
        time.sleep(_LOOK_S)
        if cpu_seconds(pids) - before < _LOOK_S / 10:
            return


def _measurements(target: str, folder: Path, *, quick: bool) -> Mapping[str, Measure]:
    """Return a target's measurements by name; the first event comes first, before a load leaves anything behind."""
    found: dict[str, Measure] = {}
    long = 1.0 if quick else 2.0

    def whole(size: wire.Size, at_once: int, vendor: str = "") -> Measure:
        seconds = long if at_once in (1, 64) else 1.0
        return lambda target: measure.whole(
            target, folder, size=size, concurrency=at_once, seconds=seconds, vendor=vendor
        )

    def streamed(model: str, streams: int, vendor: str = "") -> Measure:
        seconds = 1.0 if vendor in VENDORS else long
        return lambda target: measure.streamed(target, model=model, streams=streams, seconds=seconds, vendor=vendor)

    if target not in (FLOOR, PASSING):
        found["first event"] = streamed(wire.FIRST_MODEL, 1)
    for concurrency in (1, 64) if quick else (1, 16, 64, 256):
        found[f"small, {concurrency} at once"] = whole("small", concurrency)
    if target != FLOOR:
        for size in ("medium", "large"):
            found[f"{size}, 16 at once"] = whole(size, 16)
    if target != PASSING:
        for streams in (20, 100) if quick else (20, 100, 400):
            found[f"{streams} streams"] = streamed(wire.STREAM_MODEL, streams)
    if target == GATEWAY:
        found |= {
            "image, 8 at once": whole("image", 8),
            "gRPC unary, 16 at once": lambda target: measure.native(target, stream=False, calls=16, seconds=1.0),
            "gRPC 20 streams": lambda target: measure.native(target, stream=True, calls=20, seconds=1.0),
            "TLS, small, 64 at once": whole("small", 64, ours.TLS),
            "TLS, 100 streams": streamed(wire.STREAM_MODEL, 100, ours.TLS),
            SLOW: streamed(wire.SLOW_MODEL, 150),
        }
        for vendor in VENDORS[:1] if quick else VENDORS:
            found[f"{vendor}, 20 messages"] = whole("medium", 8, vendor)
            found[f"{vendor}, 200 messages"] = whole("large", 8, vendor)
            found[f"{vendor}, 500 events"] = streamed(wire.BURST_MODEL, 4, vendor)
    return found


def _seconds_to_ready(folder: Path) -> float:
    """Return how long one worker takes from its start until it listens."""
    port = free_port()
    begun = time.perf_counter()
    command = (sys.executable, "-m", "service", "worker", "--grpc", f"127.0.0.1:{port}")
    process = start("start", command, folder, cwd=ours.ROOT)
    try:
        wait_for_port(process, port)
        return time.perf_counter() - begun
    finally:
        process.stop()


def machine() -> Mapping[str, str]:
    """Return what the machine is."""
    cpu = next((line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")), "")
    cores = Path("/proc/cpuinfo").read_text().count("processor\t")
    memory = Path("/proc/meminfo").read_text().split()[1]
    commit = subprocess.run(
        ("git", "rev-parse", "--short", "HEAD"), capture_output=True, text=True, cwd=ours.ROOT, check=False
    )
    return {
        "machine": f"{cores} cores ({cpu.partition(': ')[2]}), {int(memory) // 1_000_000} GB, shared with the load",
        "Python": sys.version.split()[0],
        "commit": commit.stdout.strip() or "unknown",
    }


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
