"""The soak: mixed traffic for a long time, and what the processes hold meanwhile.

    SOAK_MINUTES=20 SOAK_RATE=80 python -m bench.soak

The rate is in calls a second; without one it is half of what the machine can do.

Ends with 1 when memory or open files have grown, or an answer was not as it had to be.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.soak_traffic import Traffic, provide
from tests.e2e.calling import configuration
from tests.e2e.running import Gateway, start_gateway
from tests.e2e.seen import Seen, look
from tests.fakes.wire import Server, refusing_port, serve

EVERY_S = 5.0
"""Between two looks at the processes."""
SETTLED_S = 180.0
"""What is held from then on is what the rest is compared with; of short runs a seventh of the time."""
JUDGED_S = 600.0
"""Shorter runs only show their figures: memory has not settled in so short a time."""
GROWTH = 1.05
CALIBRATION_S = 8.0
MEBIBYTE = 1024 * 1024

Samples = list[tuple[float, Mapping[str, Seen]]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One process, from when it had settled to the end. Memory in MiB, files as numbers."""

    name: str
    rss: tuple[float, float, float]
    files: tuple[int, int, int]

    @property
    def grew(self) -> bool:
        """Whether the end is more than 5 % above the beginning, or files have become more."""
        return self.rss[2] > self.rss[0] * GROWTH or self.files[2] > self.files[0] * GROWTH + 4


def judge(samples: Samples, settled_s: float) -> Sequence[Verdict]:
    """Return a verdict for each process: of the first 30 s after it had settled, at most, and of the last 30 s."""
    ends_at = samples[-1][0]
    first = [seen for at, seen in samples if settled_s <= at <= settled_s + 30] or [samples[-1][1]]
    last = [seen for at, seen in samples if at >= ends_at - 30]
    verdicts = []
    for name in last[-1]:
        rss = [[seen[name].rss / MEBIBYTE for seen in part] for part in (first, [s for _, s in samples], last)]
        files = [[seen[name].files for seen in part] for part in (first, [s for _, s in samples], last)]
        verdicts.append(
            Verdict(
                name,
                (statistics.median(rss[0]), max(rss[1]), statistics.median(rss[2])),
                (round(statistics.median(files[0])), max(files[1]), round(statistics.median(files[2]))),
            )
        )
    return verdicts


async def soak(seconds: float, rate: float | None) -> int:
    """Run it, print tables, and return the exit code."""
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(serve(provide))
        urls = {
            "good": provider.url,
            "failing": f"{provider.url}/failing",
            "down": f"http://127.0.0.1:{refusing_port()}",
        }
        models = {"good": ["good"], "rescued": ["failing", "good"], "hopeless": ["failing", "down"]}
        config = configuration({name: {"base_url": url} for name, url in urls.items()}, models, {"workers": 2})
        # A short name, as Unix sockets need it.
        run_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="gw-", dir="/tmp"))
        gateway = await asyncio.to_thread(start_gateway, Path(run_dir), config)
        try:
            traffic = Traffic(gateway.url)
            await stack.enter_async_context(traffic)
            if rate is None:
                rate = await traffic.capacity(CALIBRATION_S) / 2
            print(f"{rate:.0f} requests a second for {seconds / 60:g} min", flush=True)
            traffic.tally.clear()
            samples = await _watched(gateway, traffic, provider, seconds, rate)
        finally:
            await asyncio.to_thread(gateway.stop)
    settled_s = SETTLED_S if seconds >= JUDGED_S else seconds / 7
    return _report(judge(samples, settled_s), traffic.tally, judged=seconds >= JUDGED_S)


async def _watched(gateway: Gateway, traffic: Traffic, provider: Server, seconds: float, rate: float) -> Samples:
    """Run the traffic and look at the gateway's processes meanwhile."""
    pids = {f"worker {place}": pid for place, pid in enumerate(gateway.workers.values())} | {"envoy": gateway.envoy}
    names = "".join(f"{name:>22}" for name in pids)
    print(f"{'min':>5}{names}     MiB, open files", flush=True)
    samples: Samples = []
    started = time.monotonic()
    running = asyncio.ensure_future(traffic.run(seconds, rate))
    while not running.done():
        at = time.monotonic() - started
        seen = {name: look(pid) for name, pid in pids.items()}
        if not samples or at // 60 > samples[-1][0] // 60:
            figures = "".join(f"{each.rss / MEBIBYTE:>14.1f}{each.files:>8}" for each in seen.values())
            print(f"{at / 60:>5.1f}{figures}", flush=True)
        samples.append((at, seen))
        # The provider's own memory, which would grow with what it remembers.
        provider.requests.clear()
        provider.connections.clear()
        await asyncio.wait((running,), timeout=EVERY_S)
    await running
    return samples


def _report(verdicts: Sequence[Verdict], tally: Mapping[str, int], *, judged: bool) -> int:
    """Print the verdicts and return the exit code."""
    print(f"\n{'':12}{'RSS settled':>12}{'most':>8}{'end':>8}{'':>8}{'files':>8}{'most':>6}{'end':>6}")
    for each in verdicts:
        settled, most, end = each.rss
        growth = f"{(end / settled - 1) * 100:+.1f} %"
        print(f"{each.name:12}{settled:>12.1f}{most:>8.1f}{end:>8.1f}{growth:>8}{'':4}", end="")
        print("{:>4}{:>6}{:>6}".format(*each.files), end="  GREW\n" if each.grew else "\n")
    print(f"\n{sum(tally.values())} calls")
    for name, count in sorted(tally.items(), key=lambda pair: -pair[1]):
        print(f"{count:>8}  {name}")
    bad = any(name.startswith("BAD") for name in tally)
    return int(bad or (judged and any(each.grew for each in verdicts)))


def main() -> int:
    """Run the soak that the environment asks for."""
    rate = os.environ.get("SOAK_RATE")
    return asyncio.run(soak(float(os.environ.get("SOAK_MINUTES", "20")) * 60, float(rate) if rate else None))


if __name__ == "__main__":
    sys.exit(main())
