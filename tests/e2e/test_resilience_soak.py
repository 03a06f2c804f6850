"""A short soak: every kind of traffic at once, every answer as it has to be."""

from __future__ import annotations

import subprocess
import sys

from tests.e2e.running import ROOT, clean_environ

ENVIRON = {"SOAK_MINUTES": "0.2", "SOAK_RATE": "40"}


def test_mixed_traffic_for_a_short_time() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "bench.soak"],
        cwd=ROOT,
        env={**clean_environ(), **ENVIRON},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout + ended.stderr
