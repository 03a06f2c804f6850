"""The command line: `python -m bench [--quick]`. QUICK=1 in the environment is the same as --quick."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from bench import chart, goals, plan, report
from bench.plan import DIRECT, FLOOR, PASSING
from bench.processes import NotRun

_HERE = Path(__file__).resolve().parent
_HOME = _HERE.parent / ".run" / "bench"


def main() -> int:
    """Measure, print the tables, and, after a full run, write RESULTS.md and chart.svg. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measures the gateway beside its peers.")
    parser.add_argument("--quick", action="store_true", help="the gateway and its limits alone, in about two minutes")
    # What was started is ended also when this is told to end.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    quick = parser.parse_args().quick or bool(os.environ.get("QUICK"))
    try:
        results = plan.run(_HOME, quick=quick)
    except NotRun as error:
        print(f"{error}\nThe benchmark needs nginx and wrk: apt install nginx-light wrk", file=sys.stderr)
        return 1
    found = report.tables(results, goals.goals(results))
    print(report.text(found))
    if not quick:
        facts = {"date": f"{datetime.now(UTC):%Y-%m-%d}", **plan.machine()}
        (_HERE / "RESULTS.md").write_text(report.markdown(found, facts))
        names = [name for name in results.by_target if name not in (DIRECT, FLOOR, PASSING)]
        (_HERE / "chart.svg").write_text(chart.svg(chart.panels(results, names)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
