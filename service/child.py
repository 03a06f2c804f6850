"""Child processes that are started again when they die, and never outlive their parent."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
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
    """What to run. Without a log file the child writes to its parent's stdout or stderr."""

    command: Sequence[str]
    environ: Mapping[str, str]
    stdout: Path | None = None
    stderr: Path | None = None


async def start(program: Program, stdin: int = DEVNULL) -> Process:
    """Start a program, in a session of its own: the terminal's Ctrl-C reaches the parent alone, which then drains."""
    parent = os.getpid()
    out = program.stdout.open("ab") if program.stdout else None
    err = program.stderr.open("ab") if program.stderr else None
    try:
        return await asyncio.create_subprocess_exec(
            *program.command,
            env=dict(program.environ),
            stdin=stdin,
            stdout=out,
            stderr=err,
            start_new_session=True,
            preexec_fn=lambda: _prepare(parent),
        )
    finally:
        for file in (out, err):
            if file is not None:
                file.close()


class Spares:
    """Starts a program that reads from stdin what to do; after `prepare`, one process ahead of need."""

    def __init__(self, program: Program, report: Callable[[str], None]) -> None:
        self._program = program
        self._report = report
        self._waiting: Process | None = None

    async def prepare(self) -> None:
        """Start a process that waits until it is taken. Where none can be started, what is needed is started then."""
        try:
            self._waiting = await start(self._program, PIPE)
        except OSError as error:
            self._report(f"nothing waits ahead of need: it cannot be started ({error.strerror})")

    async def take(self, order: str) -> Process:
        """Return a process that was given its order."""
        # Taken before anything is awaited: two workers may die at once.
        taken, self._waiting = self._waiting, None
        if taken is not None:
            await self.prepare()
        if taken is None or taken.returncode is not None:
            taken = await start(self._program, PIPE)
        assert taken.stdin is not None
        taken.stdin.write(f"{order}\n".encode())
        return taken

    async def close(self) -> None:
        """End the process that waits."""
        if self._waiting is not None and self._waiting.returncode is None:
            self._waiting.kill()
            await self._waiting.wait()


class Child:
    """Keeps one process running. `early_deaths` counts those in a row that did not live long, or not at all."""

    def __init__(self, name: str, begin: Callable[[], Awaitable[Process]], report: Callable[[str], None]) -> None:
        self.name = name
        self._begin = begin
        self._report = report
        self._process: Process | None = None
        self._stopping = False
        self._last_signal = signal.SIGTERM
        self.early_deaths = 0

    async def keep_running(self) -> None:
        """Start the process, and again whenever it ends or cannot be started, until `stop`."""
        clock = asyncio.get_running_loop().time
        while not self._stopping:
            started = clock()
            try:
                self._process = await self._begin()
            except OSError as error:
                end = f"cannot be started ({error.strerror}); it is tried again"
            else:
                if self._stopping:
                    self.send(self._last_signal)
                end = f"ended ({_ending(await self._process.wait())}); it is started again"
            if self._stopping:
                return
            self.early_deaths = 0 if clock() - started > _STABLE_S else self.early_deaths + 1
            self._report(f"{self.name} {end}")
            if self.early_deaths > 1:
                await asyncio.sleep(min(_FIRST_WAIT_S * 2**self.early_deaths, _LONGEST_WAIT_S))

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process lives."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal, to a process that is being started once it is there; from now on its end is final."""
        self._stopping = True
        self._last_signal = number
        self.send(number)


def _prepare(parent: int) -> None:
    """In the child, before the program: end with the parent, and do not end at a reload that comes too early."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
