"""A child process that is started again when it dies, and never outlives its parent."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_PR_SET_PDEATHSIG = 1
# A child that lived so long may start again at once; one that did not waits, twice as long each time.
_STABLE_S = 5.0
_FIRST_WAIT_S = 0.1
_LONGEST_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Program:
    """What to run. Without a log file the child writes to its parent's stdout and stderr."""

    name: str
    command: Sequence[str]
    environ: Mapping[str, str]
    stdout: Path | None = None
    stderr: Path | None = None


class Child:
    """Keeps one process of a program running. `early_deaths` counts those in a row that did not live long."""

    def __init__(self, program: Program, report: Callable[[str], None]) -> None:
        self.name = program.name
        self._program = program
        self._report = report
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False
        self.early_deaths = 0

    async def keep_running(self) -> None:
        """Start the program, and again whenever it ends, until `stop`."""
        clock = asyncio.get_running_loop().time
        while not self._stopping:
            started = clock()
            self._process = await self._start()
            code = await self._process.wait()
            if self._stopping:
                return
            self.early_deaths = 0 if clock() - started > _STABLE_S else self.early_deaths + 1
            self._report(f"{self.name} ended ({_ending(code)}); it is started again")
            if self.early_deaths > 1:
                await asyncio.sleep(min(_FIRST_WAIT_S * 2**self.early_deaths, _LONGEST_WAIT_S))

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process lives."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal; from now on the program's end is final."""
        self._stopping = True
        self.send(number)

    async def _start(self) -> asyncio.subprocess.Process:
        program, parent = self._program, os.getpid()
        out = program.stdout.open("ab") if program.stdout else None
        err = program.stderr.open("ab") if program.stderr else None
        try:
            # A session of its own: the terminal's Ctrl-C reaches the parent alone, which then drains.
            return await asyncio.create_subprocess_exec(
                *program.command,
                env=dict(program.environ),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=lambda: _prepare(parent),
            )
        finally:
            for file in (out, err):
                if file is not None:
                    file.close()


def _prepare(parent: int) -> None:
    """In the child, before the program: end with the parent, and do not end at a reload that comes too early."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
