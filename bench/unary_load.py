"""Whole answers asked for as fast as they come, by wrk."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.processes import NotRun

_DONE = """
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('\\nRESULT {"requests":%d,"seconds":%.6f,"p50_ms":%.4f,"p99_ms":%.4f,"failed":%d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What wrk measured. `failed` counts answers of 400 and above, and broken connections."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    failed: int


def run(url: str, headers: Mapping[str, str], body: bytes, concurrency: int, seconds: float, folder: Path) -> Outcome:
    """Load a server over so many connections, with one request at a time on each."""
    script = folder / "wrk.lua"
    (folder / "wrk.body").write_bytes(body)
    lines = [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()]
    script.write_text(
        "\n".join(
            (
                'wrk.method = "POST"',
                'wrk.headers["Content-Type"] = "application/json"',
                *lines,
                f'wrk.body = io.open({json.dumps(str(folder / "wrk.body"))}, "rb"):read("*a")',
                _DONE,
            )
        )
    )
    command = ["wrk", "-t1", f"-c{concurrency}", f"-d{seconds:.0f}s", "--timeout", "20s", "-s", str(script), url]
    result = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    _, found, rest = result.stdout.partition("RESULT ")
    if not found:
        raise NotRun(f"wrk failed: {(result.stderr or result.stdout)[-200:]}")
    return Outcome(**json.loads(rest.splitlines()[0]))
