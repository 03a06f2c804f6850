"""Runs the workers, with Envoy in front of them when asked: starts them, starts them again, reloads and drains them."""

from __future__ import annotations

import asyncio
import fcntl
import functools
import hashlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from service import catalogue, edge
from service.child import Child, Program, Spares, start
from service.config import MOST_WORKERS, Config

_ROOT = Path(__file__).resolve().parent.parent
_ENVOY = "Envoy"
_POLL_S = 0.05
_LONGEST_SOCKET = 107
"""Of a Unix socket's path, in bytes (sun_path in unix(7), less the zero at its end)."""
# So many short lives before everything was ready once: it will not get better.
_HOPELESS = 3
# Workers end by themselves within `server.drain`; this much later they are killed.
_DRAIN_MARGIN_S = 5.0
# Envoy may need so long to hand the last bytes to slow clients.
_FLUSH_S = 5.0

CURL = """\
curl {url}/v1/chat/completions -H {authorization} -H 'Content-Type: application/json' -d '{{
  "model": "{model}", "stream": false,
  "messages": [{{"role": "user", "content": "What is the current datetime in Europe/London?"}}],
  "tools": [{{"type": "gateway:datetime", "parameters": {{"timezone": "Europe/London"}}}}], "tool_choice": "auto"}}'"""


class StartError(Exception):
    """Why the gateway cannot start: sentences for the person who started it."""

    def __init__(self, *sentences: str) -> None:
        super().__init__("\n".join(sentences))


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says. None: the configuration file decides. Port 0: any free one."""

    environ: Mapping[str, str]
    config: str | None
    grpc_host: str | None
    grpc_port: int | None
    workers: int | None
    http_host: str
    http_port: int
    run_dir: str | None
    tls_cert: str | None
    tls_key: str | None
    cors_origins: Sequence[str]
    max_heap_bytes: int | None


def settings_from(environ: Mapping[str, str]) -> Settings:
    """Read the environment. Raises StartError naming each variable that is wrong."""
    mistakes: list[str] = []

    def number(name: str, low: int, high: int) -> int | None:
        text = environ.get(name, "").strip()
        if not text or (name == "GATEWAY_WORKERS" and text == "auto"):
            return None
        if text.isascii() and text.isdigit() and low <= int(text) <= high:
            return int(text)
        mistakes.append(f"{name}: a whole number from {low} to {high} is required, not {text!r}")
        return None

    http_port = number("HTTP_PORT", 0, 65535)
    settings = Settings(
        environ=environ,
        config=environ.get("GATEWAY_CONFIG") or None,
        grpc_host=environ.get("GRPC_HOST") or None,
        grpc_port=number("GRPC_PORT", 0, 65535),
        workers=number("GATEWAY_WORKERS", 1, MOST_WORKERS),
        http_host=environ.get("HTTP_HOST") or "127.0.0.1",
        http_port=8080 if http_port is None else http_port,
        run_dir=environ.get("GATEWAY_RUN_DIR") or None,
        tls_cert=environ.get("TLS_CERT") or None,
        tls_key=environ.get("TLS_KEY") or None,
        cors_origins=environ.get("CORS_ORIGINS", "").replace(",", " ").split(),
        max_heap_bytes=number("ENVOY_MAX_HEAP_BYTES", 1, 2**63 - 1),
    )
    if (settings.tls_cert is None) != (settings.tls_key is None):
        mistakes.append("TLS_CERT and TLS_KEY: both are required, or none")
    if mistakes:
        raise StartError(*mistakes)
    return settings


def load(settings: Settings) -> tuple[Config, bytes]:
    """Return the configuration and what it was read from. Raises StartError with every mistake in it."""
    try:
        content = catalogue.read(settings.config)
        return catalogue.check(content, settings.config, settings.environ), content
    except catalogue.ConfigError as error:
        raise StartError(*error.mistakes) from error


def worker_count(settings: Settings, config: Config, cpus: int) -> int:
    """Return how many workers there are: as many as was said, or one for each CPU."""
    said = settings.workers or config.server.workers
    return min(cpus, MOST_WORKERS) if said == "auto" else said


def claim(host: str, port: int, variable: str) -> int:
    """Return the port if it is free, or any free one for 0. Raises StartError naming the variable that sets it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            raise StartError(f"cannot listen on {host}:{port} ({error.strerror}); {variable} sets another") from error
        chosen: int = probe.getsockname()[1]
    return chosen


def take(run_dir: Path) -> TextIO:
    """Make the folder of a gateway's run, and take it: until the file that is returned is closed, no other may.

    Raises StartError.
    """
    try:
        # It holds a copy of the configuration, and with it secrets.
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (run_dir / "lock").open("w")
    except OSError as error:
        raise StartError(f"GATEWAY_RUN_DIR: {run_dir} cannot be used ({error.strerror})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.close()
        raise StartError(f"another gateway runs in {run_dir}; GATEWAY_RUN_DIR sets another folder") from error
    return lock


class Supervisor:
    """The processes of one gateway."""

    def __init__(self, settings: Settings, with_edge: bool) -> None:
        """Load the configuration and claim the ports. Raises StartError."""
        self._settings = settings
        config, content = load(settings)
        self._config = config
        self._host = settings.grpc_host or config.server.host
        first = config.server.port if settings.grpc_port is None else settings.grpc_port
        count = worker_count(settings, config, _cpus())
        self._http_port = claim(settings.http_host, settings.http_port, "HTTP_PORT") if with_edge else None
        offsets = range(count) if first else [0] * count
        self._ports = [claim(self._host, first + offset, "GRPC_PORT") for offset in offsets]
        # Relative: the path of a Unix socket has to be short.
        run_dir = settings.run_dir or _ROOT / ".run" / str(self._http_port or self._ports[0])
        self._run_dir = Path(os.path.relpath(run_dir))
        longest = edge.worker_socket(self._run_dir, count - 1)
        if with_edge and len(os.fsencode(longest)) > _LONGEST_SOCKET:
            text = f"its sockets' paths are longer than {_LONGEST_SOCKET} bytes: {longest}"
            raise StartError(f"GATEWAY_RUN_DIR: a shorter path is required, {text}")
        self._lock = take(self._run_dir)
        self._spares = self._make_spares()
        self._workers = [self._worker(place, port) for place, port in enumerate(self._ports)]
        self._envoy = self._make_envoy(self._http_port) if self._http_port else None
        self._children = [*self._workers, self._envoy] if self._envoy else self._workers
        self._write_snapshot(content)
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def run(self) -> int:
        """Serve until SIGTERM or SIGINT, drain, and return the exit code. Raises StartError when nothing comes up."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        self._forget()
        running = [asyncio.ensure_future(child.keep_running()) for child in self._children]
        try:
            if not await _sooner(self._until_ready(), self._stop.wait()):
                print(self._greeting(), flush=True)
                await self._spares.prepare()
                await self._stop.wait()
            return await _sooner(self._drain(running), self._force.wait())
        finally:
            self._spares.close()
            for child in self._children:
                child.stop(signal.SIGKILL)
            await asyncio.gather(*running)
            self._forget()
            self._snapshot.unlink(missing_ok=True)
            self._lock.close()

    async def _until_ready(self) -> None:
        while not await self._is_ready():
            hopeless = [child.name for child in self._children if child.early_deaths >= _HOPELESS]
            if hopeless:
                log = f"; {self._run_dir}/envoy.log says why" if hopeless[0] == _ENVOY else ""
                raise StartError(f"{hopeless[0]} does not stay up{log}")
            await asyncio.sleep(_POLL_S)

    async def _is_ready(self) -> bool:
        if self._envoy:
            return await edge.counter(self._admin_socket, "cluster.service.membership_healthy") == len(self._ports)
        return all([await _listens(_reachable(self._host), port) for port in self._ports])

    async def _drain(self, running: Sequence[asyncio.Future[None]]) -> None:
        """Let the workers finish what they have; until then Envoy tells newcomers to come back."""
        for worker in self._workers:
            worker.stop()
        await asyncio.wait(running[: len(self._workers)], timeout=self._config.server.drain + _DRAIN_MARGIN_S)
        if self._envoy:
            for _ in range(int(_FLUSH_S / _POLL_S)):
                if not await edge.counter(self._admin_socket, "http.edge.downstream_rq_active"):
                    break
                await asyncio.sleep(_POLL_S)
            self._envoy.stop()
            await asyncio.wait(running[-1:], timeout=_FLUSH_S)

    def _on_stop(self) -> None:
        """Drain at the first signal; end at once at the second."""
        (self._force if self._stop.is_set() else self._stop).set()

    def _reload(self) -> None:
        """Hand a good new configuration to the workers; a bad one changes nothing."""
        try:
            config, content = load(self._settings)
            self._write_snapshot(content)
        except (StartError, OSError) as error:
            report("the configuration is not reloaded; the old one goes on serving", str(error))
            return
        self._config = config
        for worker in self._workers:
            worker.send(signal.SIGHUP)

    def _write_snapshot(self, content: bytes) -> None:
        """Keep what was checked: a worker that is started again never reads a bad newer file."""
        if self._settings.config is not None:
            fresh = self._snapshot.with_suffix(".new")
            fresh.unlink(missing_ok=True)
            fresh.touch(mode=0o600, exist_ok=False)
            fresh.write_bytes(content)
            fresh.replace(self._snapshot)

    def _forget(self) -> None:
        """Delete what only workers that run at the same time have to tell each other."""
        self._limits_file.unlink(missing_ok=True)
        shutil.rmtree(self._sent_dir, ignore_errors=True)

    @property
    def _snapshot(self) -> Path:
        return self._run_dir / "config.yaml"

    @property
    def _limits_file(self) -> Path:
        return self._run_dir / "limits"

    @property
    def _sent_dir(self) -> Path:
        return self._run_dir / "sent"

    @property
    def _admin_socket(self) -> Path:
        return self._run_dir / "admin.sock"

    def _make_spares(self) -> Spares:
        # glibc keeps an arena for each thread, and large bodies would leave holes in all of them.
        environ = {
            "MALLOC_ARENA_MAX": "1",
            **self._settings.environ,
            "GATEWAY_LIMITS_FILE": str(self._limits_file),
        }
        if self._http_port is not None:
            # Other Envoys may have workers elsewhere, whose record would have to be the same.
            environ["GATEWAY_SENT_DIR"] = str(self._sent_dir)
            environ["GATEWAY_SOCKET_DIR"] = str(self._run_dir)
        environ.pop("GATEWAY_CONFIG", None)
        if self._settings.config is not None:
            environ["GATEWAY_CONFIG"] = str(self._snapshot)
        return Spares(Program((sys.executable, "-m", "service", "worker"), environ), report)

    def _worker(self, place: int, port: int) -> Child:
        order = f"{self._host}:{port} {place}"
        return Child(f"worker {place}", functools.partial(self._spares.take, order), report)

    def _make_envoy(self, port: int) -> Child:
        settings, config = self._settings, self._run_dir / "envoy.yaml"
        command = edge.command(config, max(1, _cpus() // 2))
        if command is None:
            raise StartError("Envoy is not installed; `make up` installs it")
        place = edge.Edge(
            host=settings.http_host,
            port=port,
            workers=[(_reachable(self._host), worker) for worker in self._ports],
            sockets=[edge.worker_socket(self._run_dir, place) for place in range(len(self._ports))],
            admin_socket=self._admin_socket,
            descriptor=_ROOT / "gen" / "gateway.binpb",
            tls_cert=settings.tls_cert,
            tls_key=settings.tls_key,
            cors_origins=settings.cors_origins,
            known_keys=any(key.local_only for key in self._config.keys),
            max_heap_bytes=settings.max_heap_bytes,
        )
        config.write_text(edge.render((_ROOT / "envoy" / "envoy.yaml").read_text(), place))
        logs = {"stdout": self._run_dir / "access.log", "stderr": self._run_dir / "envoy.log"}
        return Child(_ENVOY, functools.partial(start, Program(command, settings.environ, **logs)), report)

    def _greeting(self) -> str:
        workers = f"{len(self._ports)} worker{'s' if len(self._ports) > 1 else ''}"
        if self._http_port is None:
            return f"Chat Gateway is ready: {workers}, gRPC at {self._host}:{','.join(map(str, self._ports))}"
        scheme = "https" if self._settings.tls_cert else "http"
        url = f"{scheme}://{_reachable(self._settings.http_host)}:{self._http_port}"
        models, local_key = self._config.models, hashlib.sha256(b"sk-local").hexdigest()
        model = "local/simulator" if "local/simulator" in models else next(iter(models), "")
        closed = edge.on_loopback(self._settings.http_host, self._host)
        is_local = any(key.sha256 == local_key and (closed or not key.local_only) for key in self._config.keys)
        authorization = "'Authorization: Bearer sk-local'" if is_local else '"Authorization: Bearer $GATEWAY_KEY"'
        ready = f"Chat Gateway is ready at {url} ({workers}). Ctrl-C stops it."
        return f"{ready}\n\n{CURL.format(url=url, authorization=authorization, model=model)}\n"


def report(*sentences: str) -> None:
    """Tell the person who started the gateway."""
    print(*sentences, sep="\n", file=sys.stderr, flush=True)


async def _sooner(first: Coroutine[None, None, object], second: Coroutine[None, None, object]) -> bool:
    """Run both until one is done, and return whether that was only the second. Raises what the first raises."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if not task.done():
            task.cancel()
    if tasks[0].done():
        tasks[0].result()
        return False
    return True


async def _listens(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


def _reachable(host: str) -> str:
    """Return where to reach something that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "[::]": "[::1]", "::": "::1"}.get(host, host)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
