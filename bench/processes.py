"""Processes that are measured: started, waited for, weighed, and ended by their ids."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

START_S = 60.0


class NotRun(Exception):
    """Why something could not be measured."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process of our own, in a session of its own, with its log."""

    popen: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """End it, and what it started."""
        for number, wait in ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(self.popen.pid, number)
                self.popen.wait(wait)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue


def start(
    name: str, command: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Process:
    """Start a program; its log is `folder`/`name`.log. Raises NotRun when there is no such program."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / f"{name}.log"
    if shutil.which(command[0]) is None:
        raise NotRun(f"{Path(command[0]).name} is not installed")
    with log.open("wb") as file:
        popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environ or {})},
            cwd=cwd,
        )
    return Process(popen, log)


def free_port() -> int:
    """Return a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(process: Process, port: int, limit_s: float = START_S) -> None:
    """Wait until a process listens. Raises NotRun when it ends or takes too long."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if process.popen.poll() is not None:
            raise NotRun(f"it ended at its start: {last_line(process.log)}")
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise NotRun(f"it did not listen within {limit_s:.0f} s: {last_line(process.log)}")


def last_line(log: Path) -> str:
    """Return the last line of a log."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][-200:] if lines else "it said nothing"


def family(pid: int) -> Sequence[int]:
    """Return a process and all that it started."""
    found = [pid]
    for task in _tasks(pid):
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue
        for child in children:
            found += family(int(child))
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time of processes, all their threads together, to the nanosecond that the scheduler counts."""
    total = 0
    for pid in pids:
        for task in _tasks(pid):
            try:
                total += int((task / "schedstat").read_text().split()[0])
            except OSError:
                continue
    return total / 1e9


def rss_mb(pids: Iterable[int]) -> float:
    """Return the resident memory of processes."""
    total = 0
    for pid in pids:
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
        total += pages * os.sysconf("SC_PAGE_SIZE")
    return total / 1e6


def peak_rss_mb(pids: Iterable[int]) -> float:
    """Return the most memory that processes had since `reset_peak`."""
    total = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        total += int(status.partition("VmHWM:")[2].split()[0]) * 1024
    return total / 1e6


def reset_peak(pids: Iterable[int]) -> None:
    """Let the peak of memory begin anew."""
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def listens(pid: int) -> bool:
    """Say whether a process listens on TCP."""
    tables = [Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    table = [line.split() for lines in tables for line in lines]
    sockets = {f"socket:[{row[9]}]" for row in table if row[3] == "0A"}
    try:
        return any(os.readlink(fd) in sockets for fd in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False


def command_line(pid: int) -> str:
    """Return a process's command."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def _tasks(pid: int) -> Sequence[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
