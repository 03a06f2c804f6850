"""Starts gateways and Envoys as their users do, and ends them by their process ids."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from service import edge

ROOT = Path(__file__).resolve().parent.parent.parent
START_S = 30.0
# What a developer's machine may have set, and tests must not see.
_FOREIGN = ("GATEWAY_", "GRPC_", "HTTP_", "TLS_", "CORS_", "ENVOY_", "OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_")


@dataclass(frozen=True, slots=True)
class Gateway:
    """A running gateway: supervisor, workers and Envoy."""

    url: str
    process: subprocess.Popen[str]
    run_dir: Path

    @property
    def workers(self) -> Mapping[int, int]:
        """Process id of each worker that listens, by its port."""
        listening = {port: pid for pid, _ in self._children("worker") for port in _ports(pid)}
        return dict(sorted(listening.items()))

    @property
    def grpc(self) -> Sequence[str]:
        """Address of each worker."""
        return [f"127.0.0.1:{port}" for port in self.workers]

    @property
    def envoy(self) -> int:
        """Envoy's process id."""
        return next(pid for pid, _ in self._children("--disable-hot-restart"))

    @property
    def log(self) -> str:
        """What supervisor and workers wrote to stderr."""
        return (self.run_dir / "stderr.log").read_text()

    def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_S)

    def _children(self, word: str) -> Sequence[tuple[int, Sequence[str]]]:
        commands = [(pid, _command(pid)) for pid in _children(self.process)]
        return [(pid, words) for pid, words in commands if word in words]


def _children(process: subprocess.Popen[str]) -> Sequence[int]:
    """Return the ids of the processes that a supervisor has started."""
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def _command(pid: int) -> Sequence[str]:
    """Return the words of a process's command line; none once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return ()


def _ports(pid: int) -> Iterator[int]:
    """Yield the ports that a process listens on. gRPC's sockets are IPv6 ones, also for 127.0.0.1."""
    try:
        links = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    except OSError:  # it is ending
        return
    for line in Path("/proc/net/tcp6").read_text().splitlines()[1:]:
        _, local, _, state, _, _, _, _, _, inode, *_ = line.split()
        if state == "0A" and f"socket:[{inode}]" in links:
            yield int(local.rpartition(":")[2], 16)


def start_gateway(run_dir: Path, config: str | None = None, environ: Mapping[str, str] | None = None) -> Gateway:
    """Start a gateway on free ports and wait until it is ready. `config` is YAML text."""
    process, line = _start_service(run_dir, config, {"HTTP_PORT": "0", **(environ or {})}, "--edge")
    return Gateway(line.partition("ready at ")[2].split()[0], process, run_dir)


def _start_service(
    run_dir: Path, config: str | None, environ: Mapping[str, str], *options: str
) -> tuple[subprocess.Popen[str], str]:
    """Start a supervisor on free ports; return it with the line that says it is ready."""
    settings = {"GRPC_PORT": "0", "GATEWAY_RUN_DIR": str(run_dir)}
    if config is not None:
        settings["GATEWAY_CONFIG"] = str(run_dir / "gateway.yaml")
        (run_dir / "gateway.yaml").write_text(config)
    with (run_dir / "stderr.log").open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", *options],
            cwd=ROOT,
            env={**clean_environ(), **settings, **environ},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if "Chat Gateway is ready" not in line:
        process.kill()
        raise AssertionError(f"the gateway did not start: {line}{(run_dir / 'stderr.log').read_text()}")
    return process, line


@dataclass(frozen=True, slots=True)
class Replica:
    """A running supervisor with one worker and no Envoy, as in a container."""

    port: int
    process: subprocess.Popen[str]

    @property
    def worker(self) -> int:
        """The process id of the worker that listens."""
        return next(pid for pid in _children(self.process) if self.port in _ports(pid))


def start_replica(run_dir: Path, config: str, environ: Mapping[str, str]) -> Replica:
    """Start a replica on a free port and wait until it is ready. `config` is YAML text."""
    process, line = _start_service(run_dir, config, {"GATEWAY_WORKERS": "1", **environ})
    return Replica(int(line.rpartition(":")[2]), process)


def clean_environ() -> Mapping[str, str]:
    """Return the environment without what configures a gateway."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}


@dataclass(frozen=True, slots=True)
class Envoy:
    """A running Envoy in front of workers that the test serves itself."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    run_dir: Path


def start_envoy(
    run_dir: Path, workers: Sequence[int], tls: tuple[Path, Path] | None = None, max_heap_bytes: int | None = None
) -> Envoy:
    """Start Envoy with the project's configuration in front of workers' ports, and wait until it answers."""
    port = free_port()
    place = edge.Edge(
        host="127.0.0.1",
        port=port,
        workers=[("127.0.0.1", worker) for worker in workers],
        admin_socket=run_dir / "admin.sock",
        descriptor=ROOT / "gen" / "gateway.binpb",
        tls_cert=str(tls[0]) if tls else None,
        tls_key=str(tls[1]) if tls else None,
        cors_origins=["https://chat.example"],
        max_heap_bytes=max_heap_bytes,
    )
    config = run_dir / "envoy.yaml"
    config.write_text(edge.render((ROOT / "envoy" / "envoy.yaml").read_text(), place))
    command = edge.command(config, 1)
    assert command is not None
    with (run_dir / "access.log").open("wb") as out, (run_dir / "envoy.log").open("wb") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
    url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    try:
        with httpx.Client(verify=False) as client:  # the test checks certificates, this waits for the port
            wait_until(lambda: _answers(client, f"{url}/healthz", bool(workers)), START_S)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return Envoy(url, port, process, run_dir)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _answers(client: httpx.Client, url: str, healthy: bool) -> bool:
    try:
        return client.get(url).is_success or not healthy
    except httpx.TransportError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for a condition and return the seconds it took. Raises AssertionError when time is up."""
    started = time.monotonic()
    while not condition():
        if time.monotonic() - started > seconds:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.02)
    return time.monotonic() - started
